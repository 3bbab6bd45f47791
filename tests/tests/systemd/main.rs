//! Under a real systemd, as its PID 1 in the throw-away machine of `tools/systemd-box`:
//! `make systemd` runs these.

#[path = "systemd/accepted.rs"]
mod accepted;
#[path = "systemd/activation.rs"]
mod activation;
#[path = "systemd/failures.rs"]
mod failures;
#[path = "systemd/guides.rs"]
mod guides;
#[path = "systemd/hardened.rs"]
mod hardened;
#[path = "systemd/installation.rs"]
mod installation;
#[path = "systemd/reports.rs"]
mod reports;
#[path = "systemd/stopping.rs"]
mod stopping;

/// Guides and the demonstration use the same ports: one at a time.
static PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn ports() -> std::sync::MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
