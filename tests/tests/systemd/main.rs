//! Under a real systemd, as its PID 1 in the throw-away machine of `tools/systemd-box`:
//! `make systemd` runs these.

mod activation;
mod containers;
mod exec;
mod failures;
mod generated;
mod generated_for_users;
mod generator;
mod guides;
mod handover;
mod hardened;
mod install;
mod installation;
mod journal_and_notify;
mod journal_fields;
mod keyvalue;
mod list_and_status;
mod metrics;
mod outbound;
mod package;
mod package_outgoing;
mod parked;
mod reload;
mod scale_out;
mod schedules;
mod secrets;
mod socket_types;
mod stopping;

/// Guides and the demonstration use the same ports: one at a time.
static PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn ports() -> std::sync::MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `wasm-sock.service` is one for all handlers that share it: one test at a time.
static SHARED: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn shared() -> std::sync::MutexGuard<'static, ()> {
    SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
