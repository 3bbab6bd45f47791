//! Who asks: user and process at the other end of the socket (`SO_PEERCRED`, `unix(7)`), and the unit of that process.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use wasm_sock_units::unescape;

/// For which handlers a process may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// For this one: it is that handler's own service.
    Handler(String),
    /// For any.
    Any,
}

impl Peer {
    pub fn may_ask_for(&self, handler: &str) -> bool {
        match self {
            Self::Handler(own) => own == handler,
            Self::Any => true,
        }
    }
}

/// The peer of a connection. `owner` is the user that owns the listening socket.
///
/// # Errors
/// When it is of another user, or its unit cannot be found out.
pub fn of(connection: impl AsFd, owner: Option<u32>) -> io::Result<Peer> {
    let credentials = socket_peercred(&connection)?;
    let user = credentials.uid.as_raw();
    if user != 0 && user != geteuid().as_raw() && Some(user) != owner {
        let why = format!("user {user} may not connect (allowed: root, and the user of the hosts)");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let pid = credentials.pid.as_raw_nonzero();
    let handle = process_handle(&connection);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // Else another process may have got its number.
    if handle.is_some_and(|handle| has_ended(&handle)) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(of_control_groups(&groups))
}

/// `SO_PEERPIDFD` (Linux 6.5).
fn process_handle(connection: impl AsFd) -> Option<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut length = size_of_val(&fd) as libc::socklen_t;
    // SAFETY: getsockopt(2) writes a number of that length.
    let result = unsafe {
        let socket = connection.as_fd().as_raw_fd();
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    // SAFETY: it is a new descriptor.
    (result == 0 && fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn has_ended(process: &OwnedFd) -> bool {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The peer by the control groups of its process, `/proc/PID/cgroup` (`cgroups(7)`). The innermost service of wasm-sock
/// counts: a process cannot leave it.
fn of_control_groups(text: &str) -> Peer {
    let paths = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        matches!(controllers, "" | "name=systemd").then_some(path)
    });
    let handler = paths.flat_map(|path| path.rsplit('/')).find_map(handler_of);
    handler.map_or(Peer::Any, Peer::Handler)
}

/// The handler of `wasm-sock@NAME.service`, `wasm-sock-exec@NAME.service`, and `wasm-sock-NAME@CONNECTION.service` or
/// `wasm-sock-NAME:ADDRESS@CONNECTION.service` (`process = "connection"`).
fn handler_of(unit: &str) -> Option<String> {
    let (template, instance) = unit.strip_suffix(".service")?.split_once('@')?;
    let name = match template {
        "wasm-sock" | "wasm-sock-exec" => instance,
        "wasm-sock-handover" => return None,
        template => template.strip_prefix("wasm-sock-")?.split(':').next()?,
    };
    // What cannot be read is the name of no handler.
    Some(unescape(name).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(name: &str) -> Peer {
        Peer::Handler(name.into())
    }

    #[test]
    fn a_service_asks_for_its_own_handler_only() {
        for (groups, peer) in [
            (
                "0::/system.slice/system-wasm\\x2dsock.slice/wasm-sock@hello.service\n",
                handler("hello"),
            ),
            ("0::/system.slice/wasm-sock-exec@a\\x2db.service\n", handler("a-b")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/wasm-sock@x.service\n",
                handler("x"),
            ),
            (
                "0::/system.slice/wasm-sock@a.service/wasm-sock@b.service\n",
                handler("b"),
            ),
            ("0::/system.slice/wasm-sock@a.service/sub/group\n", handler("a")),
            (
                "12:cpu:/x\n1:name=systemd:/system.slice/wasm-sock@a.service\n0::/\n",
                handler("a"),
            ),
            ("0::/system.slice/wasm-sock@\\xff.service\n", handler("")),
            ("0::/system.slice/wasm-sock-a\\x2db@3-12-0.service\n", handler("a-b")),
            ("0::/system.slice/wasm-sock-a:7001@3-12-0.service\n", handler("a")),
            ("0::/system.slice/other@a.service\n", Peer::Any),
            ("0::/system.slice/wasm-sock.service\n", Peer::Any),
            ("0::/user.slice/user-1000.slice/session-1.scope\n", Peer::Any),
            ("1:cpu:/wasm-sock@a.service\n", Peer::Any),
            ("", Peer::Any),
        ] {
            assert_eq!(of_control_groups(groups), peer, "{groups}");
        }
        assert!(handler("a").may_ask_for("a") && !handler("a").may_ask_for("b"));
        assert!(!handler("").may_ask_for("b") && Peer::Any.may_ask_for("b"));
    }
}
