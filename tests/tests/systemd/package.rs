//! The Debian package and the archive with an install script, in a box of their own: installation, upgrade and removal
//! are the machine's. One at a time.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::systemctl::{checkout, output, systemctl};
use harness::{Kind, eventually, wasm};

/// One of these tests at a time, on a machine whose packages may start and stop services.
pub fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // Images of containers have it: there, packages start and stop nothing.
    let _ = fs::remove_file("/usr/sbin/policy-rc.d");
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

const PORT: u16 = 23_700;

/// The package of this build with a revision, in a folder.
pub fn package(folder: &Path, revision: &str) -> PathBuf {
    let mut command = Command::new(checkout().join("packaging/deb"));
    command
        .args(["-r", revision])
        .arg(folder)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("COMPRESSION", "1");
    PathBuf::from(output(&mut command).trim())
}

pub fn dpkg(arguments: &[&str]) -> String {
    let mut command = Command::new("dpkg");
    output(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

pub fn installed(package: &Path) {
    dpkg(&["--install", package.to_str().unwrap()]);
}

fn wasm_sock(arguments: &[&str]) -> String {
    output(Command::new("/usr/bin/wasm-sock").args(arguments))
}

/// Sends a line to the handler `echo`, and waits for the whole answer.
fn knock(line: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
    stream.write_all(line.as_bytes()).map_err(failed)?;
    stream.shutdown(std::net::Shutdown::Write).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    (answer == line)
        .then_some(())
        .ok_or_else(|| format!("{line:?} was answered by {answer:?}"))
}

/// What there is of wasm-sock on the machine: files below these folders, by name, users and groups.
fn traces() -> String {
    let mut find = Command::new("find");
    find.args(["/etc", "/usr", "/var", "/run", "-xdev"]);
    find.args([
        "(",
        "-path",
        "/run/systemd/units",
        "-o",
        "-path",
        "/var/lib/dpkg",
        "-o",
        "-path",
        "/var/lib/containers",
        "-o",
        "-path",
        "/var/log",
        ")",
    ]);
    find.args(["-prune", "-o", "-name", "*wasm-sock*", "-print"]);
    let Output { stdout, .. } = find.output().unwrap();
    String::from_utf8_lossy(&stdout).into_owned() + &users()
}

/// Those that a package has made, and their groups.
fn users() -> String {
    let lines = |database: &str| {
        let mut getent = Command::new("getent");
        let Output { stdout, .. } = getent
            .args([database, "wasm-sock", "wasm-sock-egress"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&stdout).into_owned()
    };
    lines("passwd") + &lines("group")
}

/// Clients that knock all the time; returns how many were answered, and what happened to the others.
fn under_load(change: impl FnOnce()) -> (u32, Vec<String>) {
    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let failures = thread::scope(|scope| {
        let client = |number: u32| {
            let (done, answered) = (&done, &answered);
            move || {
                let mut failures = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    match knock(&format!("client {number}\n")) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(why) => failures.push(why),
                    }
                }
                failures
            }
        };
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(client(number))).collect();
        eventually("the clients are answered", || answered.load(Ordering::Relaxed) > 100);
        change();
        let before = answered.load(Ordering::Relaxed);
        eventually("the clients are answered after it", || {
            answered.load(Ordering::Relaxed) > before + 100
        });
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    (answered.into_inner(), failures)
}

fn host() -> String {
    systemctl(&["show", "--property=MainPID", "--value", "wasm-sock@parrot.service"])
}

fn version() -> String {
    dpkg(&["--status", "wasm-sock"])
        .lines()
        .find(|line| line.starts_with("Version: "))
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_package_is_installed_upgraded_downgraded_removed_and_purged() {
    let _machine = machine();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (package(folder.path(), "1"), package(folder.path(), "2"));
    assert_eq!(traces(), "", "before");

    installed(&first);
    let user = UserWithSocket::new();
    let man = output(Command::new("man").args(["-w", "wasm-sock-install", "wasm-sock.toml"]));
    assert!(man.contains("/usr/share/man/man5/wasm-sock.toml.5.gz"), "{man}");
    assert_eq!(
        systemctl(&["list-units", "--plain", "--no-legend", "--state=failed", "wasm-sock*"]),
        ""
    );
    let echo = wasm(Kind::P1, "echo");
    let install = [
        "install",
        echo.to_str().unwrap(),
        "--name",
        "parrot",
        "--listen",
        &PORT.to_string(),
        "--no-knock",
    ];
    wasm_sock(&install);
    knock("hello\n").expect("the first knock");
    let file = fs::read_to_string("/etc/wasm-sock/handlers.d/parrot.toml").unwrap();
    assert!(
        file.starts_with("#:schema /usr/share/wasm-sock/handler.schema.json\n"),
        "{file}"
    );

    for (package, revision) in [(&second, "2"), (&first, "1")] {
        let before = host();
        let (answered, failures) = under_load(|| installed(package));
        assert_eq!(
            failures,
            [""; 0],
            "of {answered} clients while {} was installed",
            package.display()
        );
        assert!(version().ends_with(&format!("-{revision}")), "{}", version());
        assert_ne!(host(), before, "the host is of the new version");
    }

    fs::write("/var/lib/wasm-sock/state/kept", "data")
        .or_else(|_| {
            fs::create_dir_all("/var/lib/wasm-sock/state")?;
            fs::write("/var/lib/wasm-sock/state/kept", "data")
        })
        .unwrap();
    by_hand();
    dpkg(&["--remove", "wasm-sock"]);
    assert!(knock("gone\n").is_err(), "the socket of a removed package");
    assert_eq!(user.socket(), "inactive\n", "a user's own socket");
    let left = systemctl(&[
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "wasm-sock*",
        "by-hand.socket",
    ]);
    let active = left.lines().filter(|line| line.contains(" active "));
    assert_eq!(active.collect::<Vec<_>>(), [""; 0], "units of a removed package");
    for kept in ["/etc/wasm-sock/handlers.d/parrot.toml", "/var/lib/wasm-sock/state/kept"] {
        assert!(Path::new(kept).exists(), "{kept}");
    }
    assert!(
        traces().lines().all(|trace| !trace.starts_with("/usr/")),
        "{}",
        traces()
    );

    // The handler that is still configured listens again, without a word.
    installed(&second);
    let start = Instant::now();
    knock("again\n").unwrap_or_else(|why| panic!("after {:?}: {why}", start.elapsed()));

    // What a guest has written into a folder that it was granted.
    fs::create_dir_all("/opt/granted").unwrap();
    fs::write("/opt/granted/of-a-guest", "").unwrap();
    output(Command::new("chown").args(["wasm-sock", "/opt/granted/of-a-guest"]));
    let grants =
        "[handler.writer]\ndirs = [{ host = \"/opt/granted\", guest = \"/data\", access = \"read-write\" }]\n";
    fs::write("/etc/wasm-sock/handlers.d/writer.toml", grants).unwrap();
    let said = output(Command::new("bash").args(["-c", "dpkg --purge wasm-sock 2>&1"]));
    assert!(
        said.contains("the user wasm-sock stays, who has /opt/granted/of-a-guest"),
        "{said}"
    );
    assert_eq!(users().lines().count(), 2, "wasm-sock and its group: {}", users());
    fs::remove_file("/etc/systemd/system/by-hand.socket").unwrap();
    assert!(knock("gone\n").is_err(), "the socket of a purged package");

    fs::remove_dir_all("/opt/granted").unwrap();
    installed(&first);
    dpkg(&["--purge", "wasm-sock"]);
    assert_eq!(traces(), "", "after a purge");
}

/// A user whose own service manager has a socket of wasm-sock.
struct UserWithSocket(String);

impl UserWithSocket {
    fn new() -> Self {
        output(Command::new("useradd").args(["-m", "neighbour"]));
        let id = output(Command::new("id").args(["-u", "neighbour"])).trim().to_owned();
        systemctl(&["start", &format!("user@{id}.service")]);
        let user = Self(id);
        let unit = "[Socket]\nListenStream=127.0.0.1:23703\n";
        fs::write("/run/systemd/user/wasm-sock@mine.socket", unit)
            .or_else(|_| {
                fs::create_dir_all("/run/systemd/user")?;
                fs::write("/run/systemd/user/wasm-sock@mine.socket", unit)
            })
            .unwrap();
        user.systemctl(&["daemon-reload"]);
        user.systemctl(&["start", "wasm-sock@mine.socket"]);
        fs::remove_file("/run/systemd/user/wasm-sock@mine.socket").unwrap();
        assert_eq!(user.socket(), "active\n");
        user
    }

    fn socket(&self) -> String {
        self.systemctl(&["show", "--property=ActiveState", "--value", "wasm-sock@mine.socket"])
    }

    fn systemctl(&self, arguments: &[&str]) -> String {
        let manager = format!("{}@", self.0);
        systemctl(&[&["--user", "--machine", &manager], arguments].concat())
    }
}

/// From the package to the first answer.
#[test]
fn the_first_page_of_the_book_needs_no_file_of_the_source() {
    let _machine = machine();
    let folder = tempfile::tempdir().unwrap();
    installed(&package(folder.path(), "1"));
    crate::guides::follow("docs/start.md", folder.path());
    dpkg(&["--purge", "wasm-sock"]);
}

#[test]
fn an_archive_is_installed_by_its_script_and_removed() {
    let _machine = machine();
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(checkout().join("packaging/tarball"));
    make.env("SOURCE_DATE_EPOCH", "1700000000").env("COMPRESSION", "1");
    let archive = output(make.arg(folder.path()));
    output(
        Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(["-xf", archive.trim()]),
    );
    let unpacked = archive.trim().trim_end_matches(".tar.xz").to_owned();
    let script = |arguments: &[&str]| output(Command::new(format!("{unpacked}/install.sh")).args(arguments));
    assert_eq!(traces(), "", "before");

    script(&[]);
    let echo = wasm(Kind::P1, "echo");
    let port = PORT.to_string();
    let mut install = Command::new("/usr/local/bin/wasm-sock");
    output(install.args([
        "install",
        echo.to_str().unwrap(),
        "--name",
        "parrot",
        "--listen",
        &port,
        "--no-knock",
    ]));
    knock("hello\n").expect("the first knock");
    let (answered, failures) = under_load(|| drop(script(&[])));
    assert_eq!(failures, [""; 0], "of {answered} clients while it was installed again");

    script(&["--uninstall"]);
    assert!(knock("gone\n").is_err(), "the socket of what was removed");
    let left = traces();
    let others = left.lines().filter(|line| {
        ![
            "/etc/wasm-sock",
            "/var/",
            "/run/wasm-sock",
            "wasm-sock:",
            "wasm-sock-egress:",
        ]
        .iter()
        .any(|kept| line.starts_with(kept))
    });
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    assert!(Path::new("/etc/wasm-sock/handlers.d/parrot.toml").exists());
    for folder in [
        "/etc/wasm-sock",
        "/var/lib/wasm-sock",
        "/var/cache/wasm-sock",
        "/run/wasm-sock",
    ] {
        let _ = fs::remove_dir_all(folder);
    }
    // In a place that systemd does not know, its own path is in the units.
    script(&["/opt/wasm-sock"]);
    let unit = fs::read_to_string("/opt/wasm-sock/lib/systemd/system/wasm-sock@.service").unwrap();
    assert!(unit.contains("ExecStart=/opt/wasm-sock/bin/wasm-sock host\n"), "{unit}");
    script(&["--uninstall", "/opt/wasm-sock"]);
    let left = output(Command::new("find").args(["/opt/wasm-sock", "-type", "f"]));
    assert_eq!(left, "");
    for folder in ["/etc/wasm-sock", "/var/lib/wasm-sock", "/run/wasm-sock"] {
        let _ = fs::remove_dir_all(folder);
    }
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let refused = |why: &str| {
        let mut install = Command::new(format!("{unpacked}/install.sh"));
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        let result = install.arg("/opt/wasm-sock").env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(!result.status.success() && said.contains(why), "{said}");
        assert!(!Path::new("/opt/wasm-sock/bin/wasm-sock").exists());
    };
    for (tool, printed, why) in [
        ("uname", "riscv64", "and this machine is riscv64: take the one for it"),
        (
            "systemd-sysusers",
            "systemd 251 (251.1-1)",
            "systemd has to be 252 or newer, and is 251",
        ),
    ] {
        let tool = tools.join(tool);
        fs::write(&tool, format!("#!/bin/sh\necho '{printed}'\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        refused(why);
        fs::remove_file(tool).unwrap();
    }
    let file = Path::new(&unpacked).join("files/bin/wasm-sock");
    fs::write(&file, "damaged").unwrap();
    refused("bin/wasm-sock: FAILED");
    for user in ["wasm-sock", "wasm-sock-egress"] {
        output(Command::new("userdel").arg(user));
    }
}

/// A socket unit that an administrator wrote for the shared service.
fn by_hand() {
    let unit = "[Socket]\nListenStream=23701\nFileDescriptorName=parrot\nService=wasm-sock.service\n";
    fs::write("/etc/systemd/system/by-hand.socket", unit).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", "by-hand.socket"]);
    // systemd loads the service with it.
    assert_eq!(systemctl(&["is-active", "by-hand.socket"]), "active\n");
}
