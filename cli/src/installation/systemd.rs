//! systemd's manager: `systemctl` and `journalctl` of the system, or of a user.

use super::interrupt::Interrupts;
use super::program;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What a change asks of systemd. A trait, so that tests can have each of these fail.
pub trait Manager {
    /// Reads all units again, and runs the generators.
    ///
    /// # Errors
    /// What systemd says; the same for the others.
    fn daemon_reload(&self) -> Result<(), String>;
    /// Starts units, and waits until they are started.
    fn start(&self, units: &[String]) -> Result<(), String>;
    /// Stops units, and waits until they are stopped. Units that are not loaded are no error.
    fn stop(&self, units: &[String]) -> Result<(), String>;
    /// Has a running service read its settings again.
    fn reload(&self, service: &str) -> Result<(), String>;
    /// Those of the units that are active, or become or cease to be so.
    fn active(&self, units: &[String]) -> Result<BTreeSet<String>, String>;
    /// Removes what systemd keeps of timers that are stopped: when they ran last (`Persistent=`, `systemd.timer(5)`).
    fn clean(&self, units: &[String]);
    /// Forgets that units have failed.
    fn reset_failed(&self, units: &[String]);
}

/// The manager of the system, or of the user who runs this.
#[derive(Debug, Clone)]
pub struct Systemd {
    /// Of a user?
    pub user: bool,
    pub interrupts: Interrupts,
}

impl Systemd {
    /// `systemctl`, with the options that a program needs: no pager, no question.
    fn systemctl(&self, verb: &str) -> Command {
        let mut command = Command::new("systemctl");
        // Messages are compared and copied: in English.
        command.env("LC_ALL", "C");
        if self.user {
            command.arg("--user");
        }
        command.args(["--no-pager", "--no-ask-password", verb]);
        command
    }

    fn run(&self, verb: &str, units: &[String], what: &str) -> Result<String, String> {
        let mut command = self.systemctl(verb);
        command.arg("--").args(units);
        program::run(&mut command, what, &self.interrupts)
    }

    /// Properties of units and of patterns of units (`systemctl show`), a map for each unit that is there.
    ///
    /// # Errors
    /// When no manager answers.
    pub fn show(&self, properties: &str, units: &[String]) -> Result<Vec<BTreeMap<String, Vec<String>>>, String> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.systemctl("show");
        command.arg(format!("--property={properties}")).arg("--").args(units);
        let text = program::run(&mut command, "asking systemd", &self.interrupts)?;
        Ok(paragraphs(&text))
    }

    /// The environment that the manager gives to services.
    ///
    /// # Errors
    /// When no manager answers.
    pub fn environment(&self) -> Result<BTreeMap<String, String>, String> {
        let mut command = self.systemctl("show-environment");
        let text = program::run(&mut command, "asking systemd", &self.interrupts)?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The last `most` lines that units logged at `priority` (as `journalctl -p` takes it) since a moment (seconds since
    /// 1970); none if the journal cannot be read.
    pub fn log(&self, units: &[String], priority: &str, since: f64, most: u32) -> Vec<String> {
        let mut command = Command::new("journalctl");
        if self.user {
            command.arg("--user");
        }
        command.args(["--quiet", "--no-pager", "--output=cat"]);
        command.arg(format!("--priority={priority}"));
        command
            .arg(format!("--since=@{since:.6}"))
            .arg(format!("--lines={most}"));
        for unit in units {
            command.arg("--unit").arg(unit);
        }
        let text = program::run(&mut command, "reading the journal", &self.interrupts).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Manager for Systemd {
    fn daemon_reload(&self) -> Result<(), String> {
        self.run("daemon-reload", &[], "systemd reads its units")?;
        Ok(())
    }

    fn start(&self, units: &[String]) -> Result<(), String> {
        if units.is_empty() {
            return Ok(());
        }
        let began = now();
        let what = format!("starting {}", listed(units));
        let failed = |why: String| {
            let said = self.log(units, "warning", began, 3);
            let said = said.iter().map(|line| format!("\n  {line}"));
            format!("cannot start {}: {why}{}", listed(units), said.collect::<String>())
        };
        self.run("start", units, &what).map_err(failed)?;
        Ok(())
    }

    fn stop(&self, units: &[String]) -> Result<(), String> {
        // systemctl fails when one of them is not loaded.
        let active: Vec<String> = self.active(units)?.into_iter().collect();
        if active.is_empty() {
            return Ok(());
        }
        let what = format!("stopping {} (open connections may take a while)", listed(&active));
        let failed = |why| format!("cannot stop {}: {why}", listed(&active));
        self.run("stop", &active, &what).map_err(failed)?;
        Ok(())
    }

    fn reload(&self, service: &str) -> Result<(), String> {
        let began = now();
        let units = [service.to_owned()];
        let failed = |why| {
            let said = self.log(&units, "err", began, 5);
            let said = said.iter().map(|line| format!("\n  {line}"));
            format!("cannot reload {service}: {why}{}", said.collect::<String>())
        };
        self.run("reload", &units, &format!("reloading {service}"))
            .map_err(failed)?;
        Ok(())
    }

    fn active(&self, units: &[String]) -> Result<BTreeSet<String>, String> {
        let shown = self.show("Id,ActiveState", units)?;
        let value = |unit: &BTreeMap<String, Vec<String>>, name: &str| unit.get(name)?.first().cloned();
        let active = shown.iter().filter(|unit| {
            let state = value(unit, "ActiveState");
            !matches!(state.as_deref(), None | Some("inactive" | "failed"))
        });
        Ok(active.filter_map(|unit| value(unit, "Id")).collect())
    }

    fn clean(&self, units: &[String]) {
        for unit in units.iter().filter(|unit| unit.ends_with(".timer")) {
            let mut command = self.systemctl("clean");
            command.args(["--what=state", "--", unit]);
            // It fails when the timer is not loaded, and then keeps nothing.
            let _ = program::run(&mut command, "", &self.interrupts);
        }
    }

    fn reset_failed(&self, units: &[String]) {
        for unit in units {
            // It fails for each that is not loaded.
            let _ = self.run("reset-failed", std::slice::from_ref(unit), "");
        }
    }
}

/// Units for a message.
fn listed(units: &[String]) -> String {
    match units {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// Parses the output of `systemctl show`: a paragraph for each unit, a line for each value of a property.
fn paragraphs(text: &str) -> Vec<BTreeMap<String, Vec<String>>> {
    let mut units = Vec::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let mut unit: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
            unit.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        units.push(unit);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_may_have_several_values() {
        let units = paragraphs("Id=a.socket\nListen=1 (Stream)\nListen=2 (Stream)\n\nId=b.socket\nListen=\n");
        assert_eq!(units.len(), 2);
        assert_eq!(units[0]["Listen"], ["1 (Stream)", "2 (Stream)"]);
        assert_eq!(units[1]["Id"], ["b.socket"]);
    }
}
