//! The filter of system calls (`seccomp(2)`), one of those that `build.rs` made.

use super::needs::Needs;
use libc::{sock_filter, sock_fprog};
use std::io;
use wasm_sock_seccomp::lists::VARIANTS;

static FILTERS: [&[sock_filter]; VARIANTS.len()] = include!(concat!(env!("OUT_DIR"), "/filters.rs"));

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Which of [`VARIANTS`] a process needs.
pub fn variant(needs: &Needs) -> usize {
    match (&needs.compiler, needs.ports.is_empty(), needs.names) {
        (Some(_), ..) => 3,
        (None, true, _) => 0,
        (None, false, false) => 1,
        (None, false, true) => 2,
    }
}

/// Filters the system calls of this thread, and of those it starts.
///
/// # Errors
/// What the kernel cannot do.
pub fn restrict(needs: &Needs) -> Result<(), String> {
    let filter = FILTERS[variant(needs)];
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
