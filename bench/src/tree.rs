//! What a process costs together with all that it has started.

use crate::Result;
use crate::process::Process;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Proportional set size of the whole tree, in bytes (`proc_pid_smaps(5)`).
pub fn pss(process: &Process) -> Result<f64> {
    let mut total = 0.0;
    for pid in members(process.pid)? {
        // It may have ended meanwhile.
        let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let line = rollup.lines().find(|line| line.starts_with("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        total += kib.ok_or("no PSS")?.parse::<f64>()? * 1024.0;
    }
    Ok(total)
}

/// CPU time of the whole tree so far, those included that have ended and were waited for.
pub fn cpu_time(process: &Process) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for pid in members(process.pid)? {
        if let (Some(own), Some(stat)) = (own_cpu_time(pid), stat(pid)) {
            total += own + stat.ended;
        }
    }
    Ok(total)
}

/// All threads of one process, to the nanosecond (`clock_getcpuclockid(3)`).
fn own_cpu_time(pid: i32) -> Option<Duration> {
    // SAFETY: both write to what they are given, and are told when the process is gone.
    unsafe {
        let mut clock = 0;
        if libc::clock_getcpuclockid(pid, &mut clock) != 0 {
            return None;
        }
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::clock_gettime(clock, &mut time) != 0 {
            return None;
        }
        Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

/// What we read in `/proc/PID/stat` (`proc_pid_stat(5)`).
struct Stat {
    parent: i32,
    /// CPU time of the children that it has waited for.
    ended: Duration,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may have anything in it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        // Ticks are 10 ms on Linux, whatever the kernel's own are.
        ended: Duration::from_millis((ticks(13)? + ticks(14)?) * 10),
    })
}

/// The process, its children, their children.
fn members(root: i32) -> Result<Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Program, spawn};

    #[test]
    fn a_tree_has_the_children_of_its_root() {
        let program = Program::new(["/bin/sh", "-c", "sleep 60 & sleep 60; true"]);
        let process = spawn(&program).unwrap();
        let deadline = std::time::Instant::now() + crate::PATIENCE;
        while members(process.pid).unwrap().len() < 3 {
            assert!(std::time::Instant::now() < deadline, "the shell starts two");
        }
        assert!(pss(&process).unwrap() > 4096.0);
        assert!(cpu_time(&process).unwrap() > Duration::ZERO);
    }

    #[test]
    fn time_of_children_that_ended_is_counted() {
        let spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let script = format!("sh -c '{spin}'; sleep 60; true");
        let process = spawn(&Program::new(["/bin/sh", "-c", &script])).unwrap();
        let deadline = std::time::Instant::now() + crate::PATIENCE;
        while stat(process.pid).unwrap().ended == Duration::ZERO {
            assert!(std::time::Instant::now() < deadline, "the loop ends");
        }
        assert!(cpu_time(&process).unwrap() >= Duration::from_millis(10));
    }
}
