//! What services use, from their control groups (`cgroups(7)`): no service manager is asked.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use wasm_sock_stats::HostSnapshot;

/// What services use now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In bytes, page cache included, as `systemctl status` has it.
    pub memory: u64,
    /// CPU time of all processes, the host's own included, in microseconds.
    pub cpu_usec: u64,
}

/// Finds usages, each control group once.
#[derive(Default)]
pub struct Usages(HashMap<PathBuf, Option<Usage>>);

impl Usages {
    /// What the services of these hosts use together. `None`: there are none, or the control groups cannot be read.
    pub fn of(&mut self, hosts: &[HostSnapshot]) -> Option<Usage> {
        let groups: BTreeSet<PathBuf> = hosts.iter().filter_map(|host| group(host.pid)).collect();
        let usages = groups.into_iter().filter_map(|group| {
            let read = || usage(&group);
            *self.0.entry(group.clone()).or_insert_with(read)
        });
        usages.reduce(|all, one| Usage {
            memory: all.memory + one.memory,
            cpu_usec: all.cpu_usec + one.cpu_usec,
        })
    }
}

/// The control group of a process. `None`: it is gone, or there are no control groups of version 2.
fn group(pid: u32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

fn usage(group: &Path) -> Option<Usage> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let memory = read("memory.current").and_then(|text| text.trim().parse().ok());
    let cpu = read("cpu.stat").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        line.parse().ok()
    });
    // One of the controllers may not be enabled.
    (memory.is_some() || cpu.is_some()).then(|| Usage {
        memory: memory.unwrap_or_default(),
        cpu_usec: cpu.unwrap_or_default(),
    })
}
