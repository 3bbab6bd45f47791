//! Seccomp: installs a filter of system calls (seccomp(2)), one of those that `build.rs` compiled with
//! `wasm-sock-seccomp`.

use super::needs::Needs;
use libc::sock_filter;
use std::borrow::Cow;
use std::os::fd::RawFd;
use wasm_sock_seccomp::Variant;
use wasm_sock_seccomp::lists::EGRESS_SOCKET;

/// One filter for each of [`Variant::ALL`], in that order.
static FILTERS: [&[sock_filter]; Variant::ALL.len()] = include!(concat!(env!("OUT_DIR"), "/filters.rs"));

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The filter with the fewest system calls that suffices for these needs.
pub fn variant(needs: &Needs) -> Variant {
    match (&needs.compiler, needs.reaches_out) {
        (Some(_), _) => Variant::Compile,
        (None, true) => Variant::ReachOut,
        (None, false) => Variant::Serve,
    }
}

/// Filters the system calls of this thread, and of those it starts. `egress` is the descriptor that may be connected.
///
/// # Errors
/// Says that they are not filtered, and why ([`wasm_sock_seccomp::install`]).
pub fn restrict(needs: &Needs, egress: Option<RawFd>) -> Result<(), String> {
    let mut filter = Cow::Borrowed(FILTERS[variant(needs) as usize]);
    if let Some(number) = egress {
        for step in filter.to_mut().iter_mut().filter(|step| step.k == EGRESS_SOCKET) {
            step.k = number as u32;
        }
    }
    wasm_sock_seccomp::install(&filter).map_err(|error| format!("system calls are not filtered ({error})"))
}
