//! The container image under podman: every command of docs/how-to/containers.md, and what the container may do.
//!
//! `-p` makes networks, so these run in the box that has none of the machine's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::systemctl::{checkout, output, property, systemctl};
use harness::{Kind, eventually, wasm};

use crate::guides::follow_with;

/// Where the image is made.
const FOLDER: &str = "/srv/image";

/// What a machine has that may do less than one's own: no cgroups with controllers of devices, no limits that are higher
/// than now, and no overlay over an overlay.
const CONTAINERS: &str = "[containers]\ncgroups = \"disabled\"\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=1024:4096\"]\n";
const STORAGE: &str = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n\
     graphroot = \"/var/lib/containers/storage\"\n";

/// The image, made of this build. One test at a time.
fn image() -> MutexGuard<'static, ()> {
    static ONCE: Mutex<bool> = Mutex::new(false);
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut done = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        fs::write("/etc/containers/containers.conf", CONTAINERS).expect("podman is installed (tools/setup tests)");
        fs::write("/etc/containers/storage.conf", STORAGE).unwrap();
        // The box has no settings of the kernel that can be changed; those of its own network may be. For systemd,
        // which starts podman, as well: so in its mount namespace, which is that of the tests.
        let mounts = "mkdir -p /run/all; mount -t proc proc /run/all; mount --bind /run/all/sys/net /proc/sys/net; \
                      umount /run/all; mount -t tmpfs tmpfs /var/lib/containers";
        output(Command::new("bash").args(["-euc", mounts]));
        let mut make = Command::new(checkout().join("packaging/image"));
        let archive = output(make.arg(FOLDER).env("SOURCE_DATE_EPOCH", "1700000000"));
        podman(&["load", "--quiet", "--input", archive.trim()]);
        *done = true;
    }
    alone
}

fn podman(arguments: &[&str]) -> String {
    output(Command::new("podman").args(arguments))
}

fn get(port: u16, query: &str) -> String {
    let url = format!("http://127.0.0.1:{port}/{query}");
    output(Command::new("curl").args(["-s", "--fail-with-body", "--max-time", "30", &url]))
}

/// `/proc/PID/status` of the first process of a container.
fn status_of(container: &str) -> String {
    let process = podman(&["inspect", "--format", "{{.State.Pid}}", container]);
    fs::read_to_string(format!("/proc/{}/status", process.trim())).unwrap()
}

#[test]
fn every_command_of_the_guide_to_containers_works() {
    let _alone = image();
    let _ports = crate::ports();
    follow_with("docs/how-to/containers.md", Path::new(FOLDER), &[]);
    let _ = fs::remove_dir_all("/srv/guests");
}

/// A socket, and a service that runs a container for it, as the shipped example does, with these options of podman more,
/// and this configuration. Returns the options.
fn start(name: &str, port: u16, options: &str, settings: &str) {
    let folder = format!("/srv/{name}");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/wasm-sock.toml"), settings).unwrap();
    let example = |unit: &str| fs::read_to_string(checkout().join("units/examples").join(unit)).unwrap();
    let socket = example("guests.socket").replace("8080", &port.to_string());
    let service = example("guests.service");
    let service = service.replace("--name guests", &format!("--name {name}"));
    let service = service.replace("--ignore guests", &format!("--ignore {name}"));
    let service = service.replace("/srv/guests", &folder).replace(
        "--read-only",
        &format!("--read-only {options} --volume {folder}/wasm-sock.toml:/etc/wasm-sock/wasm-sock.toml:ro"),
    );
    let system = Path::new("/etc/systemd/system");
    fs::write(system.join(format!("{name}.socket")), socket).unwrap();
    fs::write(system.join(format!("{name}.service")), service).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", &format!("{name}.socket")]);
}

#[test]
fn a_client_starts_a_container_that_has_no_rights_and_ends_when_it_is_idle() {
    let _alone = image();
    start("sleeper", 23_801, "", "[host]\nidle-timeout = \"1s\"\n");
    fs::copy(wasm(Kind::P2, "http-hello"), "/srv/sleeper/hello.wasm").unwrap();
    // The second one starts it again, with what the first one compiled.
    for _ in 0..2 {
        assert_eq!(property("sleeper.service", "ActiveState"), "inactive");
        assert_eq!(get(23_801, ""), "Hello, stranger!\n");
        let status = status_of("sleeper");
        for line in [
            "Uid:\t65532\t65532\t65532\t65532",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            // podman's, and the host's own.
            "Seccomp_filters:\t2",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        eventually("the container ends when it is idle", || {
            property("sleeper.service", "ActiveState") == "inactive"
        });
        assert_eq!(podman(&["ps", "--all", "--quiet", "--filter", "name=sleeper"]), "");
        assert_eq!(property("sleeper.socket", "ActiveState"), "active");
    }
    let log = output(Command::new("journalctl").args(["--output=cat", "--unit=sleeper.service"]));
    for word in ["not confined", "sandbox", "cannot keep", "Landlock"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    systemctl(&["stop", "sleeper.socket"]);
}

#[test]
fn a_guest_in_a_container_of_a_socket_reaches_out() {
    let _alone = image();
    let server = Command::new("python3")
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            "/srv/reacher",
            "23803",
        ])
        .spawn();
    let settings = "[handler.hello]\nallow-outbound = [\"127.0.0.1:23803\"]\n";
    start("reacher", 23_802, "", settings);
    // The machine's network stands for one that leads somewhere.
    let unit = "/etc/systemd/system/reacher.service";
    let text = fs::read_to_string(unit)
        .unwrap()
        .replace("--network none", "--network host");
    fs::write(unit, text).unwrap();
    systemctl(&["daemon-reload"]);
    fs::copy(wasm(Kind::P2, "http-fetch"), "/srv/reacher/hello.wasm").unwrap();
    fs::write("/srv/reacher/page", "a page\n").unwrap();
    eventually("the server listens", || {
        std::net::TcpStream::connect(("127.0.0.1", 23_803)).is_ok()
    });
    assert_eq!(get(23_802, "?http://127.0.0.1:23803/page"), "a page\n");
    // The way out has no sockets of the host: else it would keep the port.
    systemctl(&["stop", "reacher.socket", "reacher.service"]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", 23_802)).is_err());
    let _ = server.unwrap().kill();
}

#[test]
fn what_is_missing_in_a_container_is_named_with_the_way_out() {
    let _alone = image();
    let module = wasm(Kind::P2, "http-hello");
    let volume = format!("{}:/m.wasm:ro", module.display());
    let said = |options: &[&str], command: &[&str]| {
        let mut run = Command::new("podman");
        run.args(["run", "--rm", "--network", "none", "--volume", &volume]);
        run.args(options).arg("localhost/wasm-sock:latest").args(command);
        let result = run.output().unwrap();
        let said = String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned();
        (result.status.code(), said)
    };
    let (code, text) = said(
        &["--read-only", "--read-only-tmpfs=false"],
        &["run", "/m.wasm", "--listen", "8080"],
    );
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--tmpfs /tmp"), "{text}");
    let (code, text) = said(&[], &[]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("no handler has a `listen`"), "{text}");
    let (code, text) = said(&[], &["host"]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("no sockets were passed"), "{text}");
}
