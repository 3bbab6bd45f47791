//! Under a real systemd, as its PID 1 in the throw-away machine of `tools/systemd-box`:
//! `make systemd` runs these.

mod activation;
mod failures;
mod guides;
mod hardened;
mod installation;
mod journal_and_notify;
mod journal_fields;
mod socket_types;
mod stopping;

/// Guides and the demonstration use the same ports: one at a time.
static PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn ports() -> std::sync::MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
