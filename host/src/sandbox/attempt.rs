//! What somebody would try who got out of a guest, for the tests: only in a debug build.

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use wasmtime::PoolingAllocationConfig;

/// Is the attempt to be made without the sandbox, to see that it is the sandbox which refuses it?
pub fn without_sandbox() -> bool {
    std::env::var_os("WASM_SOCK_UNCONFINED").is_some()
}

/// What the kernel is to be said to lack.
pub fn missing() -> Option<String> {
    std::env::var("WASM_SOCK_MISSING").ok()
}

/// Tries what `$WASM_SOCK_ATTEMPT` names, `what:object`, and ends the process: 0 when it worked,
/// the number of the error when it did not.
pub fn from_environment() {
    let Ok(attempt) = std::env::var("WASM_SOCK_ATTEMPT") else {
        return;
    };
    let (what, object) = attempt.split_once(':').unwrap_or((&attempt, ""));
    let code = match attempt_to(what, object) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(i32::from(u8::MAX)),
    };
    std::process::exit(code);
}

fn attempt_to(what: &str, object: &str) -> io::Result<()> {
    match what {
        "read" => File::open(object).map(drop),
        "write" => File::create(object).map(drop),
        "list" => std::fs::read_dir(object).map(drop),
        "connect" => TcpStream::connect(object).map(drop),
        "listen" => TcpListener::bind(object).map(drop),
        "unix" => UnixDatagram::unbound()?.send_to(b"x", object).map(drop),
        "execute" => Command::new(object).status().map(drop),
        "signal" => {
            let process = object.parse().ok().and_then(rustix::process::Pid::from_raw);
            let process = process.ok_or(io::ErrorKind::InvalidInput)?;
            // SAFETY: tgkill(2) has no conditions, and signal 0 only asks whether it could be sent.
            let result = unsafe { libc::syscall(libc::SYS_tkill, process.as_raw_nonzero(), 0) };
            if result == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }
        "map" => map(ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC).map(drop),
        "protect" => protect(MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC),
        "run-written" => protect(MprotectFlags::READ | MprotectFlags::EXEC),
        "pagemap" => match PoolingAllocationConfig::is_pagemap_scan_available() {
            true => Ok(()),
            false => Err(io::ErrorKind::Unsupported.into()),
        },
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn protect(flags: MprotectFlags) -> io::Result<()> {
    let page = map(ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: the page is new, and nobody uses it.
    Ok(unsafe { mprotect(page, 4096, flags) }?)
}

fn map(protection: ProtFlags) -> io::Result<*mut std::ffi::c_void> {
    // SAFETY: it is a new page, wherever the kernel likes.
    Ok(unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }?)
}
