//! The programs that start a host for each connection, as Debian packages them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::artifacts::{unpacked, wasm_sock};
use crate::{Address, Destination, World, eventually};

/// Below those that the kernel gives out.
const PORT: u16 = 27_777;

/// One of these programs. It is told to stop when this is dropped.
pub struct Inetd {
    child: Child,
    log: PathBuf,
    /// Where connections are answered.
    pub address: Address,
    ip: Ipv4Addr,
}

impl Inetd {
    /// OpenBSD's: a host for each connection, and one that waits for all datagrams.
    pub fn openbsd(world: &World, arguments: &[&str]) -> Self {
        let ip = own_address();
        let user = user();
        let host = format!("{} wasm-sock {}", wasm_sock().display(), arguments.join(" "));
        let services = [("dgram", "udp", "wait"), ("stream", "tcp", "nowait")];
        let lines = services
            .map(|(socket, protocol, wait)| format!("{ip}:{PORT} {socket} {protocol} {wait} {user} {host}\n"));
        let config = world.path("run/inetd.conf");
        fs::write(&config, lines.concat()).expect("configure");
        let inetd = unpacked("usr/sbin/inetd");
        let mut command = if rustix::process::geteuid().is_root() {
            // It would leave its process number where the machine's own inetd does.
            let mut command = Command::new("unshare");
            let script = "mount -t tmpfs none /run && exec \"$@\"";
            command.args(["--mount", "sh", "-c", script, "sh"]).arg(inetd);
            command
        } else {
            Command::new(inetd)
        };
        command.arg("-i").arg(config);
        Self::start(world, command, ip)
    }

    /// As [`Self::openbsd`].
    pub fn xinetd(world: &World, arguments: &[&str]) -> Self {
        let ip = own_address();
        let user = user();
        let (server, arguments) = (wasm_sock(), arguments.join(" "));
        let services = [("dgram", "udp", "yes"), ("stream", "tcp", "no")];
        let services = services.map(|(socket, protocol, wait)| {
            format!(
                "service {protocol}\n{{\n\
                 type = UNLISTED\n\
                 socket_type = {socket}\nprotocol = {protocol}\nwait = {wait}\n\
                 bind = {ip}\nport = {PORT}\n\
                 user = {user}\nserver = {}\nserver_args = {arguments}\n\
                 cps = 1000 1\ninstances = UNLIMITED\nper_source = UNLIMITED\n}}\n",
                server.display()
            )
        });
        let config = world.path("run/xinetd.conf");
        fs::write(&config, services.concat()).expect("configure");
        let mut command = Command::new(unpacked("usr/sbin/xinetd"));
        command.args(["-dontfork", "-filelog", "/dev/stderr", "-f"]);
        command.arg(config).arg("-pidfile").arg(world.path("run/xinetd.pid"));
        Self::start(world, command, ip)
    }

    /// That of ucspi-tcp: a host for each connection.
    pub fn tcpserver(world: &World, arguments: &[&str]) -> Self {
        let ip = own_address();
        let mut command = Command::new("tcpserver");
        command.args(["-R", "-H", "-l", "0", &ip.to_string(), &PORT.to_string()]);
        command.arg(wasm_sock()).args(arguments);
        Self::start(world, command, ip)
    }

    /// That of s6, for a Unix socket: a host for each connection.
    pub fn s6(world: &World, arguments: &[&str]) -> Self {
        let path = world.path("run/ipcserver");
        let mut command = Command::new("s6-ipcserver");
        command.arg(&path).arg(wasm_sock()).args(arguments);
        let mut server = Self::spawn(world, command, own_address());
        server.address = Address::Unix(path);
        eventually("s6-ipcserver listens", || server.address.try_connect().is_ok());
        server
    }

    fn start(world: &World, command: Command, ip: Ipv4Addr) -> Self {
        let datagrams = !command.get_program().eq("tcpserver");
        let server = Self::spawn(world, command, ip);
        eventually("the server listens", || {
            is_open("tcp", ip) && (!datagrams || is_open("udp", ip))
        });
        server
    }

    fn spawn(world: &World, mut command: Command, ip: Ipv4Addr) -> Self {
        let log = world.path("run/inetd.log");
        let stderr = File::create(&log).expect("make a log");
        for (name, folder) in [
            ("CONFIGURATION_DIRECTORY", "config"),
            ("STATE_DIRECTORY", "state"),
            ("CACHE_DIRECTORY", "cache"),
        ] {
            command.env(name, world.path(folder));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            log,
            address: Address::Tcp((ip, PORT).into()),
            ip,
        }
    }

    /// Where datagrams are answered.
    pub fn datagrams(&self) -> Destination {
        Destination::Udp(SocketAddr::from((self.ip, PORT)))
    }

    /// What it and its hosts said, if it was not to the client.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("read a log")
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        // Not all of them take their hosts along.
        let own = Pid::from_child(&self.child);
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let hosts = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for process in hosts.filter_map(Pid::from_raw).chain([own]) {
            // It may have ended by itself.
            let _ = kill_process(process, Signal::TERM);
        }
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server and its hosts said:\n{}", self.log());
        }
    }
}

/// One of 127.0.0.0/8 that nobody else uses.
fn own_address() -> Ipv4Addr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 0x80, low, NUMBER.fetch_add(1, Relaxed))
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("run id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Is the port of this address open (`proc_pid_net(5)`)?
fn is_open(protocol: &str, ip: Ipv4Addr) -> bool {
    let sockets = fs::read_to_string(format!("/proc/net/{protocol}")).expect("read /proc");
    let address = format!(": {:08X}:{PORT:04X} ", u32::from_ne_bytes(ip.octets()));
    sockets.contains(&address)
}
