//! Hands a filter to the kernel.

use libc::{sock_filter, sock_fprog};
use std::io;

/// Filters the system calls of this thread, and of those it starts (`SECCOMP_SET_MODE_FILTER` of seccomp(2), which
/// needs `no_new_privs`).
///
/// # Errors
/// The kernel was built without `CONFIG_SECCOMP_FILTER`, or a filter that this process runs under refuses seccomp(2).
pub fn install(filter: &[sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: filter.len() as libc::c_ushort,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: seccomp(2) reads the program, which is as long as it says.
    match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
