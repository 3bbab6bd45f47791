//! The schedules of handlers: whether systemd understands them.

use std::process::{Command, Stdio};
use wasm_sock_config::Config;
use wasm_sock_units::timer_name;

/// The table of timers.
pub fn rows(config: &Config) -> Vec<[String; 3]> {
    let mut rows = vec![["TIMER", "RUNS", "HANDLER"].map(String::from)];
    for (name, handler) in config.handlers.iter().filter(|(_, handler)| handler.enabled) {
        if !handler.schedule.calendar.is_empty() {
            rows.push([timer_name(name), handler.schedule.calendar.join(", "), name.clone()]);
        }
    }
    rows
}

/// Calendar words that systemd does not understand: it ignores them, and the whole timer if it understands none.
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let all = config.handlers.values().flat_map(|handler| &handler.schedule.calendar);
    if are_understood(all.map(String::as_str)) {
        return problems;
    }
    for (name, handler) in &config.handlers {
        let events = &handler.schedule.calendar;
        let wrong: Vec<&String> = events
            .iter()
            .filter(|event| !are_understood([event.as_str()]))
            .collect();
        let timer = match wrong.len() == events.len() {
            true => "has no timer",
            false => "runs at the other times only",
        };
        for event in wrong {
            problems.push(format!(
                "{name}: schedule: systemd does not understand {event:?}, and the handler {timer} (see \
                 systemd.time(7); to try: systemd-analyze calendar {event:?})"
            ));
        }
    }
    problems
}

/// systemd is asked, because nothing else reads its calendar in the same way. Where it cannot be asked, yes.
fn are_understood<'a>(events: impl IntoIterator<Item = &'a str>) -> bool {
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        return true;
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["calendar", "--"]).args(events).stdin(Stdio::null());
    analyze.stdout(Stdio::null()).stderr(Stdio::null());
    match analyze.status() {
        Ok(status) => status.code() != Some(1),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_asked_for_its_calendar() {
        assert!(are_understood(["daily", "Mon *-*-* 03:00", "*:0/15"]));
        assert!(!are_understood(["daily", "dayly"]));
        assert!(are_understood([]));
    }
}
