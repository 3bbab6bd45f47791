//! A connection starts the host; without connections the host exits.

use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::systemctl::{MODULES, Service, install, install_guest, output};
use rustix::fs::inotify;

#[test]
fn a_template_instance_wakes_answers_and_is_gone_when_idle() {
    install();
    install_guest("lonely.wasm", "hello");
    let service = Service::of_template("lonely", "--idle-timeout 300ms");
    let socket = service.listen("wasm-sock@lonely.socket", "");
    for _ in 0..3 {
        assert!(service.is_asleep());
        let answer = socket.address.knock().text();
        assert!(answer.contains("knock on lonely over TCP"), "{answer:?}");
        service.wait_until_asleep();
    }
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn of_thirty_sockets_of_one_service_only_those_that_are_used_have_their_module_opened() {
    install();
    let folder = Path::new(MODULES).join("thirty");
    let names: Vec<String> = (0..30).map(|number| format!("thirty-{number}")).collect();
    install_guest("thirty/thirty-0.cwasm", "hello");
    for name in &names[1..] {
        let copy = folder.join(format!("{name}.cwasm"));
        fs::copy(folder.join("thirty-0.cwasm"), copy).unwrap();
    }
    let config = "/etc/wasm-sock/thirty/wasm-sock.toml";
    fs::create_dir_all("/etc/wasm-sock/thirty").unwrap();
    let host = format!("[host]\nidle-timeout = \"500ms\"\nmodules = {folder:?}\n");
    fs::write(config, host).unwrap();
    let service = Service::shared("thirty", &format!("--config {config}"));
    let sockets = service.listen_all(&names, 21_000);

    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &folder, inotify::WatchFlags::OPEN).unwrap();
    assert!(service.is_asleep());
    for used in [3, 14, 29, 14] {
        let answer = sockets[used].address.knock().text();
        assert!(answer.contains(&format!("on {} over", names[used])), "{answer:?}");
    }
    assert!(service.process().is_some());
    service.wait_until_asleep();
    assert!(sockets[14].address.knock().text().starts_with("Hello"));
    service.wait_until_asleep();

    let opened = opened(&watch);
    let used = [3, 14, 29].map(|number| format!("{}.cwasm", names[number]));
    assert_eq!(opened, used.into());
    service.assert_never_failed();
    for socket in &sockets {
        socket.assert_open();
    }
}

#[test]
fn the_host_of_the_shipped_service_has_confined_itself() {
    install();
    install_guest("walled.cwasm", "hello");
    let service = Service::of_template("walled", "");
    let socket = service.listen("wasm-sock@walled.socket", "");
    let before = service.property("LimitCORE");
    assert_ne!(before, "0", "the unit forbids core dumps itself");
    assert!(socket.address.knock().text().starts_with("Hello"));
    let process = service.process().expect("it is awake");
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
    let (status, limits) = (read("status"), read("limits"));
    for line in ["NoNewPrivs:\t1\n", "Seccomp:\t2\n"] {
        assert!(status.contains(line), "{line:?} is not in {status}");
    }
    let core = limits.lines().find(|line| line.contains("core file"));
    let core: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    let missing = service.journal();
    let missing: Vec<&String> = missing.iter().filter(|l| l.contains("not confined")).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The names of the files that were opened since the watch began.
fn opened(watch: &impl std::os::fd::AsFd) -> BTreeSet<String> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut names = BTreeSet::new();
    while let Ok(event) = events.next() {
        if let Some(name) = event.file_name() {
            names.insert(name.to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn the_name_of_a_socket_unit_or_of_its_descriptor_is_the_name_of_the_handler() {
    install();
    install_guest("named-a.cwasm", "hello");
    install_guest("named-b.cwasm", "hello");
    let service = Service::shared("names", "--idle-timeout 1s");
    // systemd starts no socket for a service that runs: all sockets first.
    let unit = service.listen("named-a.socket", "");
    let descriptor = service.listen("whatever.socket", "FileDescriptorName=named-b");
    let twice = service.listen(
        "another.socket",
        "FileDescriptorName=named-a\nListenStream=127.0.0.1:21900",
    );
    for (socket, name) in [(unit, "named-a"), (descriptor, "named-b"), (twice, "named-a")] {
        let answer = socket.address.knock().text();
        assert!(answer.contains(&format!("on {name} over")), "{answer:?}");
    }
    let second = harness::Address::Tcp(([127, 0, 0, 1], 21_900).into());
    assert!(second.knock().text().contains("on named-a over"));
}

#[test]
fn whoever_knocks_around_an_idle_exit_is_answered() {
    install();
    install_guest("race.cwasm", "hello");
    let service = Service::of_template("race", "--idle-timeout 20ms");
    let socket = service.listen("wasm-sock@race.socket", "");
    let mut processes = BTreeSet::new();
    for knock in 0..300 {
        let answer = socket.address.knock();
        assert!(answer.text().starts_with("Hello"), "knock {knock}: {answer:?}");
        processes.extend(service.process());
        // From well before the exit to well after it, a little later each time.
        thread::sleep(Duration::from_micros(15_000 + (knock * 50)));
    }
    assert!(processes.len() > 10, "the host hardly ever left: {processes:?}");
    service.wait_until_asleep();
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn without_an_idle_time_every_connection_starts_a_host_and_the_socket_survives() {
    install();
    install_guest("hasty.cwasm", "hello");
    let service = Service::of_template("hasty", "--idle-timeout 0");
    let socket = service.listen("wasm-sock@hasty.socket", "");
    for knock in 0..100 {
        let answer = socket.address.knock();
        assert!(answer.text().starts_with("Hello"), "knock {knock}: {answer:?}");
    }
    service.wait_until_asleep();
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn a_unix_socket_is_open_to_its_user_only() {
    install();
    install_guest("private.cwasm", "hello");
    let service = Service::shared("private", "--idle-timeout 1s");
    let path = Path::new("/run/wasm-sock-private/door");
    let socket = service.listen_unix(
        "private.socket",
        path,
        "SocketUser=daemon\nSocketMode=0600\nDirectoryMode=0755",
    );
    let (daemon, nobody) = (1, 65534);
    let knock = |user: u32| {
        let mut nc = Command::new("nc");
        nc.args(["-N", "-U"]).arg(path).stdin(Stdio::null()).uid(user);
        nc
    };
    let refused = knock(nobody).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && why.contains("Permission denied"),
        "{why:?}"
    );
    assert!(service.is_asleep(), "a client that may not connect started the host");
    let answer = output(&mut knock(daemon));
    assert!(answer.starts_with("Hello, user 1 in process"), "{answer:?}");
    socket.assert_open();
}
