//! Sandbox escape attempts for the tests: what an attacker would try who has escaped from a guest. Only in debug
//! builds.

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, openat2};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::net::{SendFlags, Shutdown, SocketType, sockopt};
use std::fs::File;
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use wasmtime::PoolingAllocationConfig;

/// Is the attempt made without the sandbox, to show that it is the sandbox that refuses it?
pub fn without_sandbox() -> bool {
    std::env::var_os("WASM_SOCK_UNCONFINED").is_some()
}

/// A feature that the kernel is reported to lack.
pub fn missing() -> Option<String> {
    std::env::var("WASM_SOCK_MISSING").ok()
}

/// Tries the action in `$WASM_SOCK_ATTEMPT` (`ACTION:OBJECT`), and ends the process: with 0 when it succeeded, with
/// the error number when it failed.
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
        "continue" => {
            let process = object.parse().ok().and_then(rustix::process::Pid::from_raw);
            let process = process.ok_or(io::ErrorKind::InvalidInput)?;
            Ok(rustix::process::kill_process(process, rustix::process::Signal::CONT)?)
        }
        "map" => map(ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC).map(drop),
        "protect" => protect(MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC),
        "run-written" => protect(MprotectFlags::READ | MprotectFlags::EXEC),
        "pagemap" => match PoolingAllocationConfig::is_pagemap_scan_available() {
            true => Ok(()),
            false => Err(io::ErrorKind::Unsupported.into()),
        },
        "open-beneath" => open_beneath(object),
        "fast-open" => fast_open(object),
        "run-memory" => run_memory(object),
        "reach-out" => {
            let address = rustix::net::SocketAddrUnix::new(object)?;
            Ok(rustix::net::connect(way_out()?, &address)?)
        }
        "close-the-way-out" => {
            let number = way_out()?.as_raw_fd();
            // SAFETY: nothing uses it: the process ends.
            called(unsafe { libc::close(number) }.into())
        }
        "abstract" => {
            let name = SocketAddr::from_abstract_name(object)?;
            UnixDatagram::unbound()?.send_to_addr(b"x", &name).map(drop)
        }
        "call" => {
            let number = object.parse().map_err(io::Error::other)?;
            // SAFETY: its arguments are invalid, so that it has no effect.
            called(unsafe { libc::syscall(number, -1, 0, 0, 0, 0, 0) })
        }
        "dumpable" => {
            // SAFETY: prctl(2) is given numbers only.
            called(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }.into())
        }
        "type-into-terminal" => {
            // SAFETY: ioctl(2) reads one byte.
            called(unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) }.into())
        }
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The socket to `wasm-sock-egress`: the one of packets that is not connected.
fn way_out() -> io::Result<BorrowedFd<'static>> {
    // SAFETY: those that are not open are found out.
    let all = (3..64).map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let is_it = |fd: &BorrowedFd<'_>| {
        matches!(sockopt::socket_type(fd), Ok(SocketType::SEQPACKET)) && rustix::net::getpeername(fd).is_err()
    };
    Ok(all.into_iter().find(is_it).ok_or(rustix::io::Errno::BADF)?)
}

fn called(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Opens a file with `openat2(2)`.
fn open_beneath(path: &str) -> io::Result<()> {
    let (flags, resolve) = (OFlags::RDONLY, ResolveFlags::NO_MAGICLINKS);
    openat2(CWD, path, flags, Mode::empty(), resolve).map(drop)?;
    Ok(())
}

/// Connects the listening socket that was passed: stops listening, and sends with TCP Fast Open (`tcp(7)`).
fn fast_open(address: &str) -> io::Result<()> {
    let address: SocketAddrV4 = address.parse().map_err(io::Error::other)?;
    // SAFETY: systemd's first socket, which is open.
    let socket = unsafe { BorrowedFd::borrow_raw(3) };
    rustix::net::shutdown(socket, Shutdown::Both)?;
    let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
    rustix::net::sendto(socket, b"x", flags, &address)?;
    Ok(())
}

/// Runs a copy of a program in a memfd (memfd_create(2)).
fn run_memory(program: &str) -> io::Result<()> {
    let mut copy = File::from(memfd_create(c"program", MemfdFlags::empty())?);
    io::copy(&mut File::open(program)?, &mut copy)?;
    let name = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Command::new(name).status().map(drop)
}

fn protect(flags: MprotectFlags) -> io::Result<()> {
    let page = map(ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: the page is new, and not in use.
    Ok(unsafe { mprotect(page, 4096, flags) }?)
}

fn map(protection: ProtFlags) -> io::Result<*mut std::ffi::c_void> {
    // SAFETY: it is a new page, at an address that the kernel chooses.
    Ok(unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }?)
}
