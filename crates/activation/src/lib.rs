//! Socket activation: the sockets that the service manager (systemd, inetd) passed, with their names
//! (`sd_listen_fds(3)`).

use listenfd::ListenFd;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use thiserror::Error;

/// The name `sd_listen_fds_with_names(3)` gives to a descriptor that came without one.
const UNNAMED: &str = "unknown";

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// `close_range(2)`: do not close, set close-on-exec.
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// One socket that systemd (or another activator) opened for us.
#[derive(Debug)]
pub struct Socket {
    /// `FileDescriptorName=`, or the name of the socket unit where the unit sets none.
    pub name: String,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
    /// Is a client or a datagram pending already?
    pub ready: bool,
}

/// The sockets that were passed, and the descriptors that `LISTEN_FDS` counts but that are not open.
#[derive(Debug)]
pub struct Passed {
    pub sockets: Vec<Socket>,
    pub not_open: Vec<(String, SocketError)>,
    /// Were they passed by the variables of `sd_listen_fds(3)`, and not as standard input?
    pub is_listed: bool,
}

/// The kind of a socket: listener, connection or datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A listening socket, at which connections are accepted.
    Listener(Protocol),
    /// A connection that the parent process has accepted (`Accept=yes`, inetd).
    Connection(Protocol),
    /// A UDP socket.
    Udp,
    /// A Unix datagram socket.
    UnixDatagrams,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over IPv4, IPv6 or both.
    Tcp,
    /// A Unix stream socket.
    Unix,
    /// A Unix socket of packets (`ListenSequentialPacket=`).
    UnixPackets,
    /// A stream between a virtual machine and its host (`vsock(7)`).
    Vsock,
}

/// Why the environment does not tell which sockets to serve.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ActivationError {
    #[error(
        "no sockets were passed (LISTEN_FDS is not set). The host is started by a .socket unit: `systemctl start NAME.socket`; \
         to try a guest without systemd: `systemd-socket-activate -l 7777 --fdname=NAME wasm-sock host --module FILE`"
    )]
    NoSockets,
    #[error("LISTEN_FDS=0: the service manager passed no sockets; the service has to be started by its .socket unit")]
    ZeroSockets,
    #[error(
        "LISTEN_PID={listen_pid} is another process, this one is {pid}: the sockets were passed to that one (was the host started through a shell or a wrapper? let it `exec wasm-sock`; through an init of a container, such as tini? leave out `--init`, so that wasm-sock is the first process)"
    )]
    OtherProcess { listen_pid: String, pid: u32 },
    #[error("LISTEN_FDS={0:?} is not a number of sockets")]
    BadCount(String),
    #[error("LISTEN_FDS={count} but this process may have {limit} descriptors: raise LimitNOFILE= in the service")]
    TooMany { count: usize, limit: u64 },
    #[error(
        "LISTEN_FDS={count} but LISTEN_FDNAMES={names:?} has {found} names: one name for each socket, separated by colons"
    )]
    NameCount { count: usize, names: String, found: usize },
}

/// Why a descriptor cannot be served. The other descriptors are served.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SocketError {
    #[error("descriptor {fd} is not open, though LISTEN_FDS counts it")]
    NotOpen { fd: RawFd },
    #[error("descriptor {fd} is not a socket: {ADVICE}")]
    NotASocket { fd: RawFd },
    #[error("{what} has neither connections nor datagrams for a guest to answer: {ADVICE}")]
    Unsupported { what: &'static str },
}

/// Advice about the sockets that can be served.
const ADVICE: &str = "use ListenStream=, ListenDatagram= or ListenSequentialPacket= in the .socket unit";

/// The three variables of `sd_listen_fds(3)`, and the process ID that they are compared with.
///
/// The values are not parsed, so that an error can show them.
#[derive(Debug, Default, Clone)]
pub struct ListenVariables {
    pub listen_fds: Option<String>,
    pub listen_pid: Option<String>,
    pub listen_fdnames: Option<String>,
    /// The ID of this process.
    pub pid: u32,
}

impl ListenVariables {
    /// The environment of this process.
    pub fn current() -> Self {
        let read = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            listen_fds: read("LISTEN_FDS"),
            listen_pid: read("LISTEN_PID"),
            listen_fdnames: read("LISTEN_FDNAMES"),
            pid: std::process::id(),
        }
    }

    /// The names of the passed sockets, in the order of their descriptors.
    ///
    /// # Errors
    /// When the variables contradict each other, or were meant for another process.
    pub fn names(&self) -> Result<Vec<String>, ActivationError> {
        let listen_fds = self.listen_fds.as_deref().ok_or(ActivationError::NoSockets)?;
        let count: usize = listen_fds
            .parse()
            .map_err(|_| ActivationError::BadCount(listen_fds.to_owned()))?;
        if let Some(listen_pid) = self.listen_pid.as_deref().filter(|pid| !pid.is_empty())
            && listen_pid.parse() != Ok(self.pid)
        {
            return Err(ActivationError::OtherProcess {
                listen_pid: listen_pid.to_owned(),
                pid: self.pid,
            });
        }
        if count == 0 {
            return Err(ActivationError::ZeroSockets);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit
            && count as u64 > limit
        {
            return Err(ActivationError::TooMany { count, limit });
        }
        let Some(joined) = self.listen_fdnames.as_deref() else {
            return Ok(vec![UNNAMED.to_owned(); count]);
        };
        let names: Vec<String> = joined.split(':').map(str::to_owned).collect();
        if names.len() != count {
            return Err(ActivationError::NameCount {
                count,
                names: joined.to_owned(),
                found: names.len(),
            });
        }
        Ok(names)
    }
}

/// Takes the passed sockets over. Their [`kind`] is not determined yet: for a thousand sockets that would take longer
/// than answering the first connection.
///
/// # Errors
/// See [`ActivationError`].
pub fn sockets() -> Result<Passed, ActivationError> {
    let names = ListenVariables::current().names()?;
    let mut listen_fd = ListenFd::from_env();
    let mut fds: Vec<RawFd> = Vec::with_capacity(names.len());
    fds.extend((0..names.len()).filter_map(|index| listen_fd.take_raw_fd(index).ok().flatten()));
    let mut passed = Passed {
        sockets: Vec::with_capacity(fds.len()),
        not_open: Vec::new(),
        is_listed: true,
    };
    for (name, (fd, events)) in names.into_iter().zip(states(&fds)) {
        if events & libc::POLLNVAL != 0 {
            passed.not_open.push((name, SocketError::NotOpen { fd }));
            continue;
        }
        // SAFETY: by sd_listen_fds(3) this process owns the descriptor, it is open, and `take_raw_fd` returned it
        // only once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        passed.sockets.push(Socket {
            name,
            fd,
            ready: events & libc::POLLIN != 0,
        });
    }
    Ok(passed)
}

/// The name systemd gives to a connection that it accepted (`systemd.socket(5)`).
const ACCEPTED: &str = "connection";

/// The connection on standard input, as inetd, xinetd, tcpserver and `StandardInput=socket` pass it; or a listening
/// or datagram socket, as with inetd's `wait`. `None` when it is neither.
///
/// It is moved away from the standard descriptors, so that closing it closes the connection. Also returns whether
/// standard error was the connection, too, so that nothing may be written there.
pub fn standard_input() -> Option<(Passed, bool)> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    sockopt::socket_type(&stdin).ok()?;
    let identity = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|file| (file.st_dev, file.st_ino));
    let connection = identity(stdin.as_fd());
    let standard = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let was_connection = standard.map(|fd| identity(fd) == connection);
    let fd = rustix::io::fcntl_dupfd_cloexec(&stdin, FIRST).ok()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null").ok()?;
    if was_connection[0] {
        dup2_stdin(&nowhere).ok()?;
    }
    if was_connection[1] {
        dup2_stdout(&nowhere).ok()?;
    }
    if was_connection[2] {
        dup2_stderr(&nowhere).ok()?;
    }
    let socket = Socket {
        name: ACCEPTED.to_owned(),
        fd,
        ready: true,
    };
    let passed = Passed {
        sockets: vec![socket],
        not_open: Vec::new(),
        is_listed: false,
    };
    Some((passed, was_connection[2]))
}

/// The readiness of all descriptors, by one call of `poll(2)`. A second call makes them close-on-exec, so that the
/// compiler does not inherit them.
fn states(fds: &[RawFd]) -> Vec<(RawFd, libc::c_short)> {
    let entry = |&fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let last = FIRST + fds.len() as RawFd - 1;
    // SAFETY: poll(2) writes only to the entries that it is given; close_range(2) with CLOSE_RANGE_CLOEXEC only sets
    // a flag. If poll fails, no socket is served first; if close_range fails, the compiler inherits the descriptors.
    unsafe {
        libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0);
        libc::syscall(libc::SYS_close_range, FIRST, last, CLOSE_RANGE_CLOEXEC);
    }
    entries.iter().map(|entry| (entry.fd, entry.revents)).collect()
}

/// The name of the handler for a socket's name.
///
/// systemd names a descriptor after its socket unit when the unit has no `FileDescriptorName=`
/// (`systemd.socket(5)`): `hello.socket` is handler `hello`, and so is `wasm-sock@hello.socket`.
pub fn handler_name(socket_name: &str) -> &str {
    let Some(unit) = socket_name.strip_suffix(".socket") else {
        return socket_name;
    };
    match unit.split_once('@') {
        Some((_, instance)) if !instance.is_empty() => instance,
        _ => unit,
    }
}

/// Determines the kind of a socket with getsockopt(2).
///
/// # Errors
/// See [`SocketError`].
pub fn kind(fd: impl AsFd) -> Result<Kind, SocketError> {
    let number = fd.as_fd().as_raw_fd();
    let socket_type = match sockopt::socket_type(&fd) {
        Ok(socket_type) => socket_type,
        Err(Errno::BADF) => return Err(SocketError::NotOpen { fd: number }),
        Err(_) => return Err(SocketError::NotASocket { fd: number }),
    };
    let family = sockopt::socket_domain(&fd).unwrap_or(AddressFamily::UNSPEC);
    let protocol = match (socket_type, family) {
        (SocketType::DGRAM, AddressFamily::INET | AddressFamily::INET6) => return Ok(Kind::Udp),
        (SocketType::DGRAM, AddressFamily::UNIX) => return Ok(Kind::UnixDatagrams),
        (SocketType::STREAM, AddressFamily::INET | AddressFamily::INET6) => Protocol::Tcp,
        (SocketType::STREAM, AddressFamily::UNIX) => Protocol::Unix,
        (SocketType::STREAM, AddressFamily::VSOCK) => Protocol::Vsock,
        (SocketType::SEQPACKET, AddressFamily::UNIX) => Protocol::UnixPackets,
        (_, AddressFamily::NETLINK) => {
            let what = "a netlink socket";
            return Err(SocketError::Unsupported { what });
        }
        _ => {
            let what = "a socket of this type";
            return Err(SocketError::Unsupported { what });
        }
    };
    match sockopt::socket_acceptconn(&fd) {
        Ok(true) => Ok(Kind::Listener(protocol)),
        _ => Ok(Kind::Connection(protocol)),
    }
}

#[cfg(test)]
mod tests;
