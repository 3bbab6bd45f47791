//! Seccomp: installs a filter of system calls (seccomp(2)), one of those that `build.rs` compiled with
//! `wasm-sock-seccomp`.

use super::needs::Needs;
use libc::{sock_filter, sock_fprog};
use std::borrow::Cow;
use std::io;
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

/// Filters the system calls of this thread, and of those it starts (`SECCOMP_SET_MODE_FILTER`, which needs
/// `no_new_privs`). `egress` is the descriptor that may be connected.
///
/// # Errors
/// Says that they are not filtered, and why: the kernel was built without `CONFIG_SECCOMP_FILTER`, or a filter that
/// this process runs under refuses seccomp(2).
pub fn restrict(needs: &Needs, egress: Option<RawFd>) -> Result<(), String> {
    let mut filter = Cow::Borrowed(FILTERS[variant(needs) as usize]);
    if let Some(number) = egress {
        for step in filter.to_mut().iter_mut().filter(|step| step.k == EGRESS_SOCKET) {
            step.k = number as u32;
        }
    }
    let program = sock_fprog {
        len: filter.len() as libc::c_ushort,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: seccomp(2) reads the program, which is as long as it says.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    match result {
        0 => Ok(()),
        _ => Err(format!(
            "system calls are not filtered ({})",
            io::Error::last_os_error()
        )),
    }
}
