//! The socket at which hosts connect: passed by systemd, or made at a path.

use crate::options::Options;
use rustix::fs::{Mode, stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use rustix::process::umask;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use wasm_sock_activation::{self as activation, ActivationError, Kind, Protocol};

/// How many hosts may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The listening socket.
pub struct Listener {
    pub fd: OwnedFd,
    /// The user that owns it in the file system, whose processes may ask for anything.
    pub owner: Option<u32>,
}

/// # Errors
/// When no socket was passed, it is of another kind, or none can be made at the path.
pub fn open(options: &Options) -> io::Result<Listener> {
    let fd = match (activation::sockets(), &options.listen) {
        (Ok(passed), _) => {
            let socket = passed.sockets.into_iter().next().ok_or(ActivationError::ZeroSockets);
            socket.map_err(io::Error::other)?.fd
        }
        (Err(ActivationError::NoSockets), Some(path)) => at(path)?,
        (Err(ActivationError::NoSockets), None) => {
            let why = "no socket was passed (start wasm-sock-egress.socket, or say --listen PATH)";
            return Err(io::Error::other(why));
        }
        (Err(error), _) => return Err(io::Error::other(error)),
    };
    match activation::kind(&fd) {
        Ok(Kind::Listener(Protocol::UnixPackets)) => {}
        _ => {
            return Err(io::Error::other(
                "the passed socket is of another kind (ListenSequentialPacket=/run/wasm-sock/egress)",
            ));
        }
    }
    rustix::io::ioctl_fionbio(&fd, true)?;
    let owner = path(&fd).and_then(|path| Some(stat(&path).ok()?.st_uid));
    Ok(Listener { fd, owner })
}

/// Only this user may connect.
fn at(path: &PathBuf) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let _ = rustix::fs::unlink(path);
    // There is one thread.
    let former = umask(Mode::RWXG | Mode::RWXO);
    let bound = SocketAddrUnix::new(path.as_path()).and_then(|address| bind(&fd, &address));
    umask(former);
    bound
        .and_then(|()| listen(&fd, BACKLOG))
        .map_err(|error| io::Error::other(format!("cannot listen at {}: {error}", path.display())))?;
    Ok(fd)
}

fn path(fd: impl AsFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(fd).ok()?).ok()?;
    Some(OsStr::from_bytes(address.path()?.to_bytes()).into())
}
