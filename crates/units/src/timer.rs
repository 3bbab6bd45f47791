//! Timer units: systemd.timer(5).

use std::time::Duration;

use wasm_sock_config::HandlerConfig;

use crate::{Installation, Unit, exec_name, head, timer_name, value, way_out, word};

/// The timer of a handler with a schedule, and a drop-in with what the schedule passes to a run. None without one.
///
/// systemd starts a service that runs already no second time, so runs do not overlap.
pub(crate) fn units(handler: &str, config: &HandlerConfig, installation: Installation<'_>) -> Vec<Unit> {
    let schedule = &config.schedule;
    if schedule.calendar.is_empty() || schedule.has_mistake {
        return Vec::new();
    }
    let service = exec_name(handler);
    let mut text = head(&format!("Schedule of handler {handler}"), config, installation);
    text += &way_out(config);
    text += "\n[Timer]\n";
    for event in &schedule.calendar {
        text += &format!("OnCalendar={}\n", value(event));
    }
    if schedule.jitter != Duration::ZERO {
        text += &format!("RandomizedDelaySec={}us\n", schedule.jitter.as_micros());
    }
    if schedule.persistent {
        text += "Persistent=yes\n";
    }
    text += &format!("Unit={service}\n");
    let timer = Unit {
        name: timer_name(handler),
        text,
        wanted_by: Some("timers.target"),
    };
    let mut units = vec![timer];
    let mut options = String::new();
    if schedule.path != "/" {
        options += &format!(" --path {}", word(&schedule.path));
    }
    if let Some(input) = &schedule.input {
        options += &format!(" --input {}", word(&input.display().to_string()));
    }
    if !options.is_empty() {
        let program = installation.prefix.join("bin/wasm-sock");
        let program = word(&program.display().to_string());
        units.push(Unit {
            name: format!("{service}.d/schedule.conf"),
            text: format!(
                "# Made by wasm-sock-generator: `schedule-path` and `schedule-input` of the handler.\n\n[Service]\n\
                 ExecStart=\nExecStart=:{program} exec{options} -- {}\n",
                word(handler)
            ),
            wanted_by: None,
        });
    }
    units
}
