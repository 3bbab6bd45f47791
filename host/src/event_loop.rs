//! Registers descriptors with tokio's event loop (`AsyncFd`, `epoll(7)`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the event loop of the current thread, for reading and writing.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
pub fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and has one number, for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Like [`register`], for a descriptor that has several owners.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
pub fn register_shared(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: as above, for as long as one of its owners lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
