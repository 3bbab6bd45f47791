//! Capacity check (overcommitment): compares the sums of all limits with what the service (`MemoryMax=`,
//! `LimitNOFILE=`), the control group and the machine have.

use super::units::ServiceLimits;
use rustix::system::sysinfo;
use std::cmp::Reverse;
use std::fs;
use std::path::Path;
use wasm_sock_config::{HandlerConfig, HostConfig, RESERVED_DESCRIPTORS};

/// A service, and the handlers whose sockets start it.
pub struct ServiceHandlers<'a> {
    /// The service unit; empty: not known.
    pub name: &'a str,
    pub limits: ServiceLimits,
    pub handlers: Vec<(&'a str, &'a HandlerConfig)>,
    /// The number of its listening sockets, which need a descriptor each.
    pub sockets: u64,
}

/// What a service needs when all its handlers use all that their limits allow.
#[derive(Debug, PartialEq, Eq)]
struct Demand {
    /// In bytes.
    memory: u64,
    descriptors: u64,
    /// How `memory` is calculated, for the message: `dns 256 × 64MiB, hello 7 × 8MiB`.
    sum: String,
}

impl ServiceHandlers<'_> {
    fn demand(&self, host: &HostConfig, machine: u64) -> Demand {
        let mut handlers = self.handlers.clone();
        // The worst case: the handlers with most memory have all connections that the host may have.
        handlers.sort_by_key(|(_, handler)| Reverse(handler.limits.memory));
        let mut left = host.max_connections.map_or(u64::MAX, u64::from);
        let (mut memory, mut descriptors) = (0_u64, self.sockets + RESERVED_DESCRIPTORS as u64);
        let mut sum = Vec::new();
        for (name, handler) in handlers {
            let limits = &handler.limits;
            let count = u64::from(limits.max_connections).min(left);
            left -= count;
            memory = memory.saturating_add(limits.memory.saturating_mul(count));
            descriptors = descriptors.saturating_add(count.saturating_mul(handler.descriptors() as u64));
            sum.push(format!("{name} {count} × {}", about(limits.memory)));
        }
        Demand {
            memory: memory.min(host.max_memory.unwrap_or(machine)),
            descriptors,
            sum: sum.join(", "),
        }
    }
}

/// Warnings about services that may need more than they can have.
pub fn warnings(services: &[ServiceHandlers<'_>], host: &HostConfig) -> Vec<String> {
    let machine = machine_memory();
    let available = cgroup_memory().map_or(machine, |limit| limit.min(machine));
    exceeded(services, host, machine, available)
}

/// The warnings for a machine with so many bytes of memory, of which `available` to the control group.
fn exceeded(services: &[ServiceHandlers<'_>], host: &HostConfig, machine: u64, available: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    let (mut all, mut sums) = (0_u64, Vec::new());
    for service in services {
        let demand = service.demand(host, machine);
        all = all.saturating_add(demand.memory);
        let subject = match service.name {
            "" => String::new(),
            name => format!("{name}: "),
        };
        if let Some(most) = service.limits.memory.filter(|most| *most < demand.memory) {
            warnings.push(format!(
                "{subject}guests may have {} ({}), MemoryMax= is {}: beyond it the kernel kills the host, and with it all guests (set `max-memory` in [host] below it)",
                about(demand.memory),
                demand.sum,
                about(most)
            ));
        }
        let descriptors = service.limits.descriptors;
        if let Some(most) = descriptors.filter(|most| *most < demand.descriptors) {
            warnings.push(format!(
                "{subject}connections may need {} descriptors, LimitNOFILE= is {most}: clients will wait (raise it, or lower `max-connections`)",
                demand.descriptors
            ));
        }
        sums.push(demand.sum);
    }
    if all > available {
        let owner = if available < machine {
            "this control group"
        } else {
            "this machine"
        };
        warnings.push(format!(
            "all guests together may have {} ({}), {owner} has {} (lower `memory`, `max-connections`, or `max-memory` in [host])",
            about(all),
            sums.join("; "),
            about(available)
        ));
    }
    warnings
}

/// Memory of this machine, in bytes (`sysinfo(2)`).
fn machine_memory() -> u64 {
    let info = sysinfo();
    (info.totalram as u64).saturating_mul(info.mem_unit.into())
}

/// A number of bytes for people, rounded to one decimal: `7.8GiB`.
fn about(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB")] {
        if bytes >> shift > 0 {
            let value = format!("{:.1}", bytes as f64 / (1_u64 << shift) as f64);
            return format!("{}{unit}", value.trim_end_matches(".0"));
        }
    }
    format!("{}KiB", bytes >> 10)
}

/// The lowest `memory.max` of the control groups of this process, in bytes (`cgroups(7)`, version 2).
fn cgroup_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |group: &Path| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    Path::new(group).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_sock_config::Limits;

    const GIB: u64 = 1 << 30;

    fn handler(memory: u64, max_connections: u32) -> HandlerConfig {
        HandlerConfig {
            limits: Limits {
                memory,
                max_connections,
                ..Limits::default()
            },
            ..HandlerConfig::default()
        }
    }

    fn service<'a>(limits: ServiceLimits, handlers: &[(&'a str, &'a HandlerConfig)]) -> ServiceHandlers<'a> {
        ServiceHandlers {
            name: "wasm-sock.service",
            limits,
            handlers: handlers.to_vec(),
            sockets: 2,
        }
    }

    fn infinite() -> HostConfig {
        HostConfig {
            max_memory: Some(u64::MAX),
            ..HostConfig::default()
        }
    }

    #[test]
    fn memory_is_shown_in_round_numbers() {
        let shown = [512 << 10, 64 << 20, 8_327_200_768, 1 << 44].map(about);
        assert_eq!(shown, ["512KiB", "64MiB", "7.8GiB", "16TiB"]);
    }

    #[test]
    fn what_all_may_have_is_the_sum_within_the_limits_of_the_host() {
        let (small, large) = (handler(GIB, 10), handler(4 * GIB, 3));
        let service = service(ServiceLimits::default(), &[("small", &small), ("large", &large)]);
        let demand = |host: &HostConfig| service.demand(host, 64 * GIB).memory;
        assert_eq!(demand(&infinite()), 22 * GIB);
        assert_eq!(
            demand(&HostConfig {
                max_connections: Some(5),
                ..infinite()
            }),
            14 * GIB
        );
        assert_eq!(
            demand(&HostConfig {
                max_memory: Some(GIB),
                ..infinite()
            }),
            GIB
        );
        let sum = service.demand(&infinite(), 0).sum;
        assert_eq!(sum, "large 3 × 4GiB, small 10 × 1GiB");
    }

    #[test]
    fn without_max_memory_a_service_may_have_what_the_machine_has() {
        let large = handler(4 * GIB, 100);
        let service = service(ServiceLimits::default(), &[("large", &large)]);
        let warnings = exceeded(&[service], &HostConfig::default(), 8 * GIB, 8 * GIB);
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn limits_beyond_the_service_and_the_machine_give_warnings_with_their_numbers() {
        let large = handler(4 * GIB, 100);
        let limits = ServiceLimits {
            memory: Some(GIB),
            descriptors: Some(64),
        };
        let warnings = exceeded(&[service(limits, &[("large", &large)])], &infinite(), 8 * GIB, 8 * GIB);
        let expected = [
            ["guests may have 400GiB", "large 100 × 4GiB", "MemoryMax= is 1GiB"],
            ["may need 126 descriptors", "LimitNOFILE= is 64", "`max-connections`"],
            ["together may have 400GiB", "this machine has 8GiB", "`max-memory`"],
        ];
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, texts) in warnings.iter().zip(expected) {
            for text in texts {
                assert!(warning.contains(text), "{text:?} is not in: {warning}");
            }
        }
    }
}
