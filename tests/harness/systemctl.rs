//! The real systemd of `tools/systemd-box`: wasm-sock installed as a user would, services and
//! sockets of a test's own, and what the journal says.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread;

use crate::artifacts::{Kind, wasm};
use crate::{Address, eventually};

const SYSTEM: &str = "/etc/systemd/system";

/// What the services of the tests have instead of `/var/lib/wasm-sock`, which is the guides'.
const STATE: &str = "/var/lib/wasm-sock-tests";

/// Where they look for guests.
pub const MODULES: &str = "/var/lib/wasm-sock-tests/modules";

/// The folder of the repository.
pub fn checkout() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in it").to_owned()
}

/// Installs wasm-sock, once.
///
/// # Panics
/// Outside of the box: nothing of this is meant for the machine itself.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let container = fs::read("/proc/1/environ").expect("read PID 1's environment");
        assert!(
            container.starts_with(b"container=systemd-box"),
            "these tests change the system they run on: start them with `make systemd`, in a box"
        );
        make(&["-s", "install", "PREFIX=/usr"]);
        fs::create_dir_all(MODULES).expect("make a folder");
    });
}

/// Runs make in the checkout.
pub fn make(arguments: &[&str]) {
    let mut command = Command::new("make");
    command.arg("-C").arg(checkout()).args(arguments);
    output(&mut command);
}

/// What a command prints. It has to succeed.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8_lossy(&stdout).into_owned()
}

#[track_caller]
pub fn systemctl<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    output(Command::new("systemctl").args(arguments))
}

/// Waits until journald has written all that it was sent. A test restarts it meanwhile.
#[track_caller]
pub fn sync_journal() {
    eventually("journald has written its lines", || {
        let sync = Command::new("journalctl").arg("--sync").output();
        sync.is_ok_and(|output| output.status.success())
    });
}

/// A property of a unit (`systemctl show`).
#[track_caller]
pub fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "-P", name, unit]).trim_end().to_owned()
}

/// A guest as module `NAME.wasm`, or compiled as `NAME.cwasm`.
pub fn install_guest(path: &str, guest: &str) {
    install_guest_of(Kind::P2, path, guest);
}

/// The same of any world.
pub fn install_guest_of(kind: Kind, path: &str, guest: &str) {
    let target = Path::new(MODULES).join(path);
    fs::create_dir_all(target.parent().expect("a folder")).expect("make a folder");
    let source = wasm(kind, guest);
    if path.ends_with(".cwasm") {
        let mut compile = Command::new("/usr/bin/wasm-sock");
        compile.arg("compile").arg(source).arg("-o").arg(target.as_os_str());
        output(&mut compile);
    } else {
        fs::copy(source, target).expect("install a guest");
    }
}

/// A service as it is installed, with options of a test's own for the host.
pub struct Service {
    pub unit: String,
}

impl Service {
    /// `wasm-sock@NAME.service`.
    pub fn of_template(name: &str, options: &str) -> Self {
        install();
        let service = Self {
            unit: format!("wasm-sock@{name}.service"),
        };
        service.override_start(options);
        service
    }

    /// `wasm-sock.service` under another name, as all tests run at the same time.
    pub fn shared(name: &str, options: &str) -> Self {
        install();
        let service = Self {
            unit: format!("{name}.service"),
        };
        let copy = Path::new(SYSTEM).join(&service.unit);
        fs::copy("/usr/lib/systemd/system/wasm-sock.service", copy).expect("copy the service");
        service.override_start(options);
        service
    }

    fn override_start(&self, options: &str) {
        // The system's own configuration and modules are what the guides write.
        let folders = format!(
            "Environment=STATE_DIRECTORY={STATE}\n\
             ConfigurationDirectory=\nConfigurationDirectory=wasm-sock/none\n"
        );
        let start = format!("ExecStart=\nExecStart=/usr/bin/wasm-sock host {options}\n");
        self.drop_in("folders", &format!("[Service]\n{folders}"));
        self.drop_in("options", &format!("[Service]\n{start}"));
    }

    /// A drop-in, read at once.
    pub fn drop_in(&self, name: &str, text: &str) {
        let folder = format!("{SYSTEM}/{}.d", self.unit);
        fs::create_dir_all(&folder).expect("make a folder");
        fs::write(format!("{folder}/{name}.conf"), text).expect("write a drop-in");
        systemctl(&["daemon-reload"]);
    }

    /// A TCP socket that starts this service; `settings` are more lines of its `[Socket]`.
    pub fn listen(&self, socket: &str, settings: &str) -> Socket {
        static PORT: AtomicU16 = AtomicU16::new(20_000);
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, PORT.fetch_add(1, Relaxed)).into();
        self.listen_at(socket, &address.to_string(), settings, Address::Tcp(address))
    }

    /// A Unix socket that starts this service.
    pub fn listen_unix(&self, socket: &str, path: &Path, settings: &str) -> Socket {
        let address = Address::Unix(path.to_owned());
        self.listen_at(socket, &path.display().to_string(), settings, address)
    }

    fn listen_at(&self, socket: &str, at: &str, settings: &str, address: Address) -> Socket {
        let socket = self.write_socket(socket, at, settings, address);
        systemctl(&["daemon-reload"]);
        systemctl(&["start", &socket.unit]);
        socket
    }

    /// Many TCP sockets at once, one for each name.
    pub fn listen_all(&self, names: &[String], first_port: u16) -> Vec<Socket> {
        let sockets: Vec<Socket> = (first_port..)
            .zip(names)
            .map(|(port, name)| {
                let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
                let unit = format!("{name}.socket");
                self.write_socket(&unit, &address.to_string(), "", Address::Tcp(address))
            })
            .collect();
        systemctl(&["daemon-reload"]);
        let units: Vec<&str> = sockets.iter().map(|socket| socket.unit.as_str()).collect();
        systemctl(&[&["start"], units.as_slice()].concat());
        sockets
    }

    fn write_socket(&self, unit: &str, at: &str, settings: &str, address: Address) -> Socket {
        let text = format!(
            "[Socket]\nListenStream={at}\nService={}\nTriggerLimitIntervalSec=0\n{settings}\n",
            self.unit
        );
        fs::write(format!("{SYSTEM}/{unit}"), text).expect("write a socket unit");
        Socket {
            unit: unit.to_owned(),
            address,
        }
    }

    pub fn property(&self, name: &str) -> String {
        property(&self.unit, name)
    }

    /// The host's process, while there is one.
    pub fn process(&self) -> Option<u32> {
        let pid = self.property("MainPID").parse().expect("a process's number");
        (pid != 0).then_some(pid)
    }

    /// No process of this service is left: it has no control group.
    pub fn is_asleep(&self) -> bool {
        self.property("ActiveState") == "inactive" && self.property("ControlGroup").is_empty()
    }

    #[track_caller]
    pub fn wait_until_asleep(&self) {
        eventually(&format!("{} fell asleep", self.unit), || self.is_asleep());
    }

    /// It has never failed, and whenever it ended, it was with exit code 0.
    #[track_caller]
    pub fn assert_never_failed(&self) {
        let state = ["Result", "NRestarts", "ExecMainStatus"].map(|name| (name, self.property(name)));
        let well = [("Result", "success"), ("NRestarts", "0"), ("ExecMainStatus", "0")];
        assert_eq!(state, well.map(|(name, value)| (name, value.to_owned())));
    }

    /// What the host said, a line each.
    pub fn journal(&self) -> Vec<String> {
        self.journal_with(&[])
    }

    /// What the host said at one level (3 error, 4 warning, 6 information).
    pub fn journal_at(&self, level: u8) -> Vec<String> {
        self.journal_with(&["-p", &format!("{level}..{level}")])
    }

    fn journal_with(&self, more: &[&str]) -> Vec<String> {
        sync_journal();
        let mut command = Command::new("journalctl");
        command
            .args(["-q", "-o", "cat", "-t", "wasm-sock", "-u", &self.unit])
            .args(more);
        output(&mut command).lines().map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = ["-q", "-o", "short-precise", "-n", "40", "-u", &self.unit];
            let journal = Command::new("journalctl").args(journal).output();
            let lines = journal.map(|output| output.stdout).unwrap_or_default();
            let lines = String::from_utf8_lossy(&lines);
            eprintln!("the journal of {}:\n{lines}", self.unit);
        }
    }
}

/// A socket unit.
pub struct Socket {
    pub unit: String,
    pub address: Address,
}

impl Socket {
    /// Does systemd wait for somebody to knock, or is the host there to answer?
    #[track_caller]
    pub fn assert_open(&self) {
        let state = property(&self.unit, "SubState");
        let open = ["listening", "running"].contains(&state.as_str());
        assert!(open, "{} is {state}", self.unit);
    }
}
