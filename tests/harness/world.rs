//! A test's own folders, configuration and sockets.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Once};

use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, listen, socket_with,
    sockopt,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::artifacts;
use crate::{Address, Destination, Egress, Host, Kind, Launch};

/// systemd's `Backlog=` (systemd.socket(5)).
const BACKLOG: i32 = 4096;

/// Descriptors of sockets are kept from here on, out of the way of those that a host gets.
const KEPT_FROM: i32 = 6000;

/// A test that measures how long something takes is alone; the others share the machine. A lock of a file (flock(2)),
/// because test crates run side by side (`tools/run-tests`). It is not fair: who wants to be alone waits until no other
/// test is left to run.
pub struct Turn {
    _locked: File,
}

impl Turn {
    pub fn shared() -> Self {
        Self::take(File::lock_shared)
    }

    pub fn alone() -> Self {
        Self::take(File::lock)
    }

    fn take(lock: fn(&File) -> io::Result<()>) -> Self {
        let path = artifacts::build_folder().join("tests.lock");
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        lock(&file).unwrap_or_else(|error| panic!("lock {}: {error}", path.display()));
        Self { _locked: file }
    }
}

/// A socket that a host is started with.
#[derive(Clone)]
pub(crate) struct Passed {
    pub name: String,
    /// `None`: a number that is counted, but not open.
    pub fd: Option<Arc<OwnedFd>>,
}

/// Everything that a test has to itself. One a thread at a time.
pub struct World {
    pub kind: Kind,
    folder: TempDir,
    sockets: RefCell<Vec<Passed>>,
    _turn: Turn,
}

impl World {
    /// A world in which handlers are guests of `kind`.
    pub fn new(kind: Kind) -> Self {
        Self::build(kind, Turn::shared())
    }

    /// A world while no other test has one, for one that measures how long something takes.
    pub fn alone(kind: Kind) -> Self {
        Self::build(kind, Turn::alone())
    }

    fn build(kind: Kind, turn: Turn) -> Self {
        allow_many_descriptors();
        eprintln!("with {kind:?} guests:");
        let folder = tempfile::Builder::new()
            .prefix("wasm-sock-test-")
            .tempdir()
            .expect("make a folder");
        for name in ["config/handlers.d", "state/modules", "cache", "run"] {
            fs::create_dir_all(folder.path().join(name)).expect("make a folder");
        }
        Self {
            kind,
            folder,
            sockets: RefCell::default(),
            _turn: turn,
        }
    }

    /// A file or folder of this world: `config`, `state`, `cache` and `run` are there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the module folder.
    pub fn module(&self, name: &str) -> PathBuf {
        self.path("state/modules").join(name)
    }

    /// Installs `guest`, compiled, as the module of `handler`.
    pub fn install(&self, handler: &str, guest: &str) -> PathBuf {
        let path = self.module(&format!("{handler}.cwasm"));
        fs::copy(artifacts::cwasm(self.kind, guest), &path).expect("install a module");
        path
    }

    /// Installs `guest` as the toolchain made it.
    pub fn install_wasm(&self, handler: &str, guest: &str) -> PathBuf {
        let path = self.module(&format!("{handler}.wasm"));
        fs::copy(artifacts::wasm(self.kind, guest), &path).expect("install a module");
        path
    }

    /// Compiles `wasm` into the module folder, as `NAME.cwasm`.
    pub fn compile(&self, wasm: &[u8], name: &str) -> PathBuf {
        let source = self.path(&format!("run/{name}.wasm"));
        fs::write(&source, wasm).expect("write a module");
        let artifact = self.module(&format!("{name}.cwasm"));
        artifacts::compile(&source, &artifact);
        artifact
    }

    /// A handler that plays `part` (`big 1000`); `settings` are more lines of its table.
    pub fn actor(&self, handler: &str, part: &str, settings: &str) {
        if !self.module("actor.cwasm").exists() {
            self.install("actor", "actor");
        }
        let args: Vec<&str> = part.split(' ').collect();
        self.configure(&format!(
            "[handler.{handler}]\nmodule = \"actor.cwasm\"\nargs = {args:?}\n{settings}\n"
        ));
    }

    /// A handler that sends back what comes.
    pub fn echo(&self, handler: &str) {
        match self.kind {
            Kind::P3 => self.actor(handler, "echo", ""),
            Kind::P1 | Kind::P2 => drop(self.install(handler, "echo")),
        }
    }

    /// A TCP port that an actor with this part answers, of the same name.
    pub fn actor_port(&self, handler: &str, part: &str, settings: &str) -> Address {
        self.actor(handler, part, settings);
        self.tcp(handler)
    }

    /// Starts `wasm-sock-egress`, for guests that reach out.
    pub fn egress(&self) -> Egress {
        self.egress_by(&artifacts::egress())
    }

    /// Starts it by another program, which passes its arguments on.
    pub fn egress_by(&self, program: &Path) -> Egress {
        Egress::start(self.folder.path(), program)
    }

    /// Adds to `wasm-sock.toml`.
    pub fn configure(&self, text: &str) {
        let path = self.path("config/wasm-sock.toml");
        let file = File::options().create(true).append(true).open(path);
        let mut file = file.expect("open the configuration");
        file.write_all(text.as_bytes()).expect("configure");
    }

    /// Passes a listening TCP socket of 127.0.0.1 with this name.
    pub fn tcp(&self, name: &str) -> Address {
        self.pass_tcp(name, Ipv4Addr::LOCALHOST.into())
    }

    pub fn tcp6(&self, name: &str) -> Address {
        self.pass_tcp(name, Ipv6Addr::LOCALHOST.into())
    }

    /// As `ListenStream=PORT` does: IPv6 and IPv4 through one socket. Returned is the port.
    pub fn dual_stack(&self, name: &str) -> u16 {
        self.pass_tcp(name, Ipv6Addr::UNSPECIFIED.into()).port()
    }

    fn pass_tcp(&self, name: &str, ip: IpAddr) -> Address {
        let fd = new_socket(&ip, SocketType::STREAM);
        listen(&fd, BACKLOG).expect("listen");
        let address = address_of(&fd);
        self.pass(name, fd);
        Address::Tcp(address)
    }

    /// Passes a listening Unix socket.
    pub fn unix(&self, name: &str) -> Address {
        let path = self.path(&format!("run/{name}.sock"));
        self.pass_unix(name, &unix_path(&path), SocketType::STREAM);
        Address::Unix(path)
    }

    /// Passes a listening Unix socket with an abstract name.
    pub fn abstract_unix(&self, name: &str) -> Address {
        let abstract_name = self.abstract_name(name);
        self.pass_unix(name, &unix_abstract(&abstract_name), SocketType::STREAM);
        Address::Abstract(abstract_name)
    }

    /// Passes a listening Unix socket of packets (`ListenSequentialPacket=`).
    pub fn packets(&self, name: &str) -> Destination {
        let address = unix_path(&self.path(&format!("run/{name}.packets")));
        self.pass_unix(name, &address, SocketType::SEQPACKET);
        Destination::UnixPackets(address)
    }

    /// Passes a Unix socket of datagrams.
    pub fn unix_datagrams(&self, name: &str) -> Destination {
        let address = unix_path(&self.path(&format!("run/{name}.datagrams")));
        self.pass_unix(name, &address, SocketType::DGRAM);
        Destination::UnixDatagrams(address)
    }

    /// Passes a Unix socket of datagrams with an abstract name.
    pub fn abstract_datagrams(&self, name: &str) -> Destination {
        let address = unix_abstract(&self.abstract_name(&format!("{name}.datagrams")));
        self.pass_unix(name, &address, SocketType::DGRAM);
        Destination::UnixDatagrams(address)
    }

    fn abstract_name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn pass_unix(&self, name: &str, address: &SocketAddrUnix, socket_type: SocketType) {
        let fd = socket_with(AddressFamily::UNIX, socket_type, SocketFlags::CLOEXEC, None);
        let fd = fd.expect("make a socket");
        bind(&fd, address).expect("bind");
        if socket_type != SocketType::DGRAM {
            listen(&fd, BACKLOG).expect("listen");
        }
        self.pass(name, fd);
    }

    /// Passes a UDP socket of 127.0.0.1.
    pub fn udp(&self, name: &str) -> Destination {
        self.udp_at(name, "127.0.0.1")
    }

    /// Passes a UDP socket of this address: `0.0.0.0` is all of IPv4, `::` all of both.
    pub fn udp_at(&self, name: &str, ip: &str) -> Destination {
        let ip: IpAddr = ip.parse().expect("an address");
        let fd = new_socket(&ip, SocketType::DGRAM);
        let address = address_of(&fd);
        self.pass(name, fd);
        Destination::Udp(address)
    }

    /// Passes any descriptor with this name.
    pub fn pass(&self, name: &str, fd: impl Into<OwnedFd>) {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd.into(), KEPT_FROM).expect("dup");
        self.sockets.borrow_mut().push(Passed {
            name: name.to_owned(),
            fd: Some(Arc::new(fd)),
        });
    }

    /// Counts a descriptor that is not open.
    pub fn pass_nothing(&self, name: &str) {
        self.sockets.borrow_mut().push(Passed {
            name: name.to_owned(),
            fd: None,
        });
    }

    /// Takes back what was passed last.
    pub fn take(&self) -> OwnedFd {
        let passed = self.sockets.borrow_mut().pop().and_then(|last| last.fd);
        Arc::into_inner(passed.expect("a descriptor was passed")).expect("no host has it")
    }

    /// Starts the host, and keeps nothing of what was passed: whatever it closes is closed.
    pub fn hand_over(&self, arguments: &[&str]) -> Host {
        let host = self.start(arguments);
        self.sockets.borrow_mut().clear();
        host
    }

    /// The host, as systemd would start it, with all sockets passed so far.
    pub fn launch(&self) -> Launch {
        Launch::new(self.folder.path(), self.sockets.borrow().clone())
    }

    /// Starts the host with these arguments.
    pub fn start(&self, arguments: &[&str]) -> Host {
        self.launch().args(arguments).start()
    }
}

fn unix_path(path: &Path) -> SocketAddrUnix {
    SocketAddrUnix::new(path).expect("a short path")
}

fn unix_abstract(name: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a short name")
}

fn new_socket(ip: &IpAddr, socket_type: SocketType) -> OwnedFd {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket_with(family, socket_type, SocketFlags::CLOEXEC, None).expect("make a socket");
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false).expect("set IPV6_V6ONLY");
    }
    bind(&fd, &SocketAddr::new(*ip, 0)).expect("bind");
    fd
}

fn address_of(fd: &OwnedFd) -> SocketAddr {
    let address: SocketAddrAny = getsockname(fd).expect("getsockname");
    address.try_into().expect("an internet address")
}

/// A thousand sockets, each with its descriptor here, are more than the usual limit allows.
fn allow_many_descriptors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("raise the limit of descriptors");
    });
}

/// Runs `wasm-sock` with these arguments to its end.
pub fn run(arguments: &[&str]) -> Output {
    run_in(Path::new("/"), arguments, &[])
}

/// Runs `wasm-sock` in a folder, with nothing but these variables in its environment.
pub fn run_in(folder: &Path, arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
    Command::new(artifacts::wasm_sock())
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("run wasm-sock")
}
