//! What concerns the service: its user's rights, and its times.

use super::{folders, units as known};
use crate::installation::program;
use crate::installation::scope::Scope;
use std::process::Command;
use wasm_sock_config::{HandlerConfig, Process};
use wasm_sock_units::service_name;

/// The problems of a handler's schedule, and of its folders for the service's user.
pub fn problems(name: &str, config: &HandlerConfig, scope: &Scope) -> Vec<String> {
    let systemd = &scope.systemd;
    let mut problems = Vec::new();
    for calendar in &config.schedule.calendar {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["calendar", "--", calendar]);
        let result = program::run(&mut analyze, "", &systemd.interrupts);
        problems.extend(result.err().map(|why| {
            let why = why.lines().next().unwrap_or_default().to_owned();
            format!("schedule: {why} (see systemd.time(7); try: systemd-analyze calendar daily)")
        }));
    }
    // The service for a connection is made by the generator, with the user of the others.
    let service = match config.process {
        Process::Connection => service_name(name, Process::Own),
        process => service_name(name, process),
    };
    let user = match known::user_of(systemd, &service) {
        Ok(Some(user)) => user,
        Ok(None) => {
            problems.push(format!(
                "{service} is not installed (install all of wasm-sock: `make install`)"
            ));
            return problems;
        }
        Err(why) => return vec![why],
    };
    if config.dirs.is_empty() {
        return problems;
    }
    if systemd.user || user.user.is_empty() || !rustix::process::geteuid().is_root() {
        problems.extend(folders::problems(&config.dirs, None));
        return problems;
    }
    match folders::User::find(&user.user, &user.group, &user.groups, &systemd.interrupts) {
        Ok(user) => problems.extend(folders::problems(&config.dirs, Some(&user))),
        Err(why) => problems.push(format!(
            "the service's user: {why} (install all of wasm-sock: `make install`)"
        )),
    }
    problems
}
