//! What services use, from their control groups (`cgroups(7)`): no service manager is asked.

use std::collections::{BTreeMap, HashMap};
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
pub struct Usages(HashMap<PathBuf, Usage>);

impl Usages {
    /// What the services of these hosts use together. `None`: there are none, or they cannot be looked at.
    pub fn of(&mut self, hosts: &[HostSnapshot]) -> Option<Usage> {
        let mut groups: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
        for host in hosts {
            if let Some(group) = group(host.pid) {
                groups.entry(group).or_default().push(host.pid);
            }
        }
        let usages = groups.into_iter().map(|(group, pids)| {
            let read = || usage(&group, &pids);
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

fn usage(group: &Path, pids: &[u32]) -> Usage {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let memory = read("memory.current").and_then(|text| text.trim().parse().ok());
    let cpu = read("cpu.stat").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        line.parse().ok()
    });
    Usage {
        // Without the memory controller (`DefaultMemoryAccounting=`), the hosts' own.
        memory: memory.unwrap_or_else(|| pids.iter().filter_map(|pid| resident(*pid)).sum()),
        cpu_usec: cpu.unwrap_or_default(),
    }
}

/// The resident memory of a process, in bytes (`proc_pid_statm(5)`).
fn resident(pid: u32) -> Option<u64> {
    let sizes = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
