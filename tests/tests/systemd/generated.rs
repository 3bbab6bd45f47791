//! A handler with `listen` is a service: its units are made by the generator, and do what people expect of units.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::handlers::Handler;
use harness::systemctl::{install, output, property, systemctl};
use harness::{Address, Destination, End, eventually};
use rustix::net::SocketAddrUnix;

const SYSTEM: &str = "/etc/systemd/system";

fn tcp(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

fn path(path: &str) -> SocketAddrUnix {
    SocketAddrUnix::new(path).unwrap()
}

#[track_caller]
fn echoes(address: &Address) {
    address.ask("hello\n").expect_whole("hello\n");
}

/// Whether a unit is known, from a file or generated.
fn exists(unit: &str) -> bool {
    property(unit, "LoadState") == "loaded"
}

#[test]
fn every_kind_of_address_is_answered() {
    let addresses = r#"["24000", "[::1]:24001", "udp:24000", "udp:[::1]:24001", "unix:/run/gen kinds/%n door",
        "unix:@gen-kinds", "packets:/run/gen-kinds.seq", "datagrams:/run/gen-kinds.dgram", "packets:@gen-packets"]"#;
    let unit = "wasm-sock@gen-kinds.socket";
    let _handler = Handler::started(
        "gen-kinds",
        &format!("listen = {addresses}"),
        &["wasm-sock@gen\\x2dkinds.socket"],
    );
    assert!(!exists(unit), "the name is not escaped");
    let listening = [
        "list-units",
        "--no-legend",
        "--plain",
        "wasm-sock@gen\\x2dkinds*.socket",
    ];
    eventually("all sockets listened", || systemctl(&listening).lines().count() == 9);
    echoes(&tcp(24_000));
    echoes(&Address::Tcp("[::1]:24001".parse().unwrap()));
    echoes(&Address::Unix("/run/gen kinds/%n door".into()));
    echoes(&Address::Abstract("gen-kinds".into()));
    for udp in ["127.0.0.1:24000", "[::1]:24001"] {
        let client = Destination::Udp(udp.parse().unwrap()).connect();
        assert_eq!(client.ask("datagram"), b"datagram", "{udp}");
    }
    let client = Destination::UnixDatagrams(path("/run/gen-kinds.dgram")).connect();
    assert_eq!(client.ask("datagram"), b"datagram");
    let abstract_name = SocketAddrUnix::new_abstract_name(b"gen-packets").unwrap();
    for packets in [path("/run/gen-kinds.seq"), abstract_name] {
        let client = Destination::UnixPackets(packets).connect();
        assert_eq!(client.ask("packet"), b"packet");
        client.finish();
        assert_eq!(client.packets(), (vec![], End::Closed));
    }
    // One process for all of them.
    let named = property("wasm-sock@gen\\x2dkinds.service", "TriggeredBy");
    assert_eq!(named.split_whitespace().count(), 9, "{named}");
}

#[test]
fn a_vsock_address_is_a_socket_of_virtual_machines() {
    let unit = "wasm-sock@gvsock.socket";
    let _handler = Handler::new("gvsock", "listen = 'vsock::24002'");
    systemctl(&["daemon-reload"]);
    assert_eq!(property(unit, "Listen"), "vsock::24002 (Stream)");
    let started = Command::new("systemctl").args(["start", unit]).output().unwrap();
    if !started.status.success() {
        harness::skip("this kernel has no vsock");
    }
}

#[test]
fn names_that_shells_and_unit_files_would_take_apart_are_handlers_as_any() {
    let names = [
        "-x",
        "--help",
        "a b",
        "a-b",
        "100%n",
        "a$HOME${PATH}",
        "a\"b'c`",
        "a\\x2db",
        "a@b",
        "a;b",
        "#a",
    ];
    let mut handlers = Vec::new();
    for (number, name) in names.iter().enumerate() {
        handlers.push(Handler::new(name, &format!("listen = '127.0.0.1:{}'", 24_010 + number)));
    }
    systemctl(&["daemon-reload"]);
    for (number, name) in (24_010..).zip(names) {
        let unit = output(Command::new("systemd-escape").args(["--template=wasm-sock@.socket", "--", name]));
        systemctl(&["start", unit.trim()]);
        assert_eq!(property(unit.trim(), "FileDescriptorName"), name);
        echoes(&tcp(number));
    }
}

#[test]
fn a_shared_process_serves_all_handlers_that_share_it() {
    let _shared = crate::shared();
    let units = ["wasm-sock@gshared1.socket", "wasm-sock@gshared2.socket"];
    let _one = Handler::new("gshared1", "listen = '24030'\nprocess = 'shared'");
    let _two = Handler::started("gshared2", "listen = '24031'\nprocess = 'shared'", &units);
    echoes(&tcp(24_030));
    let process = property("wasm-sock.service", "MainPID");
    echoes(&tcp(24_031));
    assert_eq!(property("wasm-sock.service", "MainPID"), process);
    assert_ne!(process, "0");
}

#[test]
fn each_connection_may_have_a_process_of_its_own() {
    let socket = "wasm-sock-gconnection.socket";
    let _handler = Handler::started(
        "gconnection",
        "listen = ['127.0.0.1:24032', '127.0.0.1:24033']\nprocess = 'connection'",
        &[socket, "wasm-sock-gconnection:127.0.0.1:24033.socket"],
    );
    for port in [24_032, 24_033] {
        let mut first = tcp(port).connect();
        let mut second = tcp(port).connect();
        first.send("first\n");
        assert_eq!(first.line(), "first");
        second.send("second\n");
        assert_eq!(second.line(), "second");
        let list = [
            "list-units",
            "--no-legend",
            "--plain",
            "wasm-sock-gconnection*@*.service",
        ];
        assert_eq!(systemctl(&list).lines().count(), 2, "{}", systemctl(&list));
        for client in [&mut first, &mut second] {
            client.finish();
            client.answer().expect_whole("");
        }
        let all = [
            "list-units",
            "--all",
            "--no-legend",
            "--plain",
            "wasm-sock-gconnection*@*.service",
        ];
        eventually("no instance was left", || systemctl(&all).is_empty());
    }
    assert_eq!(property(socket, "NAccepted"), "2");
}

#[test]
fn the_settings_of_a_socket_are_systemds() {
    let lines = "listen = ['unix:/run/gen-options/door', '127.0.0.1:24034']\n\
         socket = { user = 'daemon', group = 'daemon', mode = '0600', directory-mode = '0711', backlog = 7, \
         free-bind = true, no-delay = true, keep-alive = true, symlinks = ['/run/gen-options/a \"%n\" link'] }";
    let _handler = Handler::started("goptions", lines, &["wasm-sock@goptions.socket"]);
    let modes = ["--format=%U %G %a", "/run/gen-options/door", "/run/gen-options"];
    assert_eq!(
        output(Command::new("stat").args(modes)),
        "daemon daemon 600\nroot root 711\n"
    );
    let (daemon, nobody) = (1, 65_534);
    let knock = |user: u32, path: &str| {
        let mut nc = Command::new("nc");
        nc.args(["-N", "-U", path])
            .stdin(Stdio::null())
            .uid(user)
            .output()
            .unwrap()
    };
    assert!(knock(daemon, "/run/gen-options/door").status.success());
    assert!(knock(daemon, "/run/gen-options/a \"%n\" link").status.success());
    let refused = knock(nobody, "/run/gen-options/door");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("Permission denied"), "{why}");
    let port = "wasm-sock@goptions:127.0.0.1:24034.socket";
    let expected = [
        ("FreeBind", "yes"),
        ("NoDelay", "yes"),
        ("KeepAlive", "yes"),
        ("Backlog", "7"),
    ];
    for (name, value) in expected {
        assert_eq!(property(port, name), value, "{name}");
    }
    systemctl(&["stop", "wasm-sock@goptions.socket"]);
    assert!(
        !Path::new("/run/gen-options/door").exists(),
        "the file of a stopped socket"
    );
    assert_ne!(
        property(port, "ActiveState"),
        "active",
        "the first address stands for all"
    );
}

#[test]
fn a_socket_beside_the_statistics_keeps_its_owner() {
    let door = "/run/wasm-sock/gen-owner";
    let lines = format!("listen = ['unix:{door}', '24035']\nsocket = {{ user = 'daemon', mode = '0600' }}");
    let _handler = Handler::started("gowner", &lines, &["wasm-sock@gowner.socket"]);
    echoes(&Address::Unix(door.into()));
    let owner = output(Command::new("stat").args(["--format=%U %a", door, "/run/wasm-sock"]));
    assert_eq!(owner, "daemon 600\nwasm-sock 755\n");
}

#[test]
fn a_unit_tells_where_it_comes_from_and_when_its_file_has_changed() {
    let unit = "wasm-sock@gsource.socket";
    let handler = Handler::started("gsource", "listen = '24036'", &[unit]);
    let file = handler.file();
    assert_eq!(property(unit, "SourcePath"), file.to_str().unwrap());
    let text = systemctl(&["cat", unit]);
    assert!(text.contains(&format!("Edit {}", file.display())), "{text}");
    assert_eq!(property(unit, "NeedDaemonReload"), "no");
    // systemd compares whole microseconds; a file system may count in ticks.
    let changed = || {
        handler.configure("listen = '24036' # again");
        property(unit, "NeedDaemonReload") == "yes"
    };
    eventually("systemd saw that the file is newer", changed);
}

#[test]
fn a_disabled_handler_has_no_units_and_none_that_are_left() {
    let unit = "wasm-sock@gdisabled.socket";
    let handler = Handler::started("gdisabled", "listen = '24037'", &[unit]);
    echoes(&tcp(24_037));
    systemctl(&["stop", unit]);
    handler.configure("listen = '24037'\nenabled = false\nschedule = 'daily'");
    systemctl(&["daemon-reload"]);
    for unit in [unit, "wasm-sock@gdisabled.timer"] {
        assert!(!exists(unit), "{unit}");
    }
    assert!(tcp(24_037).try_connect().is_err());
}

#[test]
fn units_that_people_wrote_win_and_masked_ones_stay_masked() {
    let unit = "wasm-sock@gwritten.socket";
    let written = Path::new(SYSTEM).join(unit);
    fs::write(&written, "[Socket]\nListenStream=127.0.0.1:24039\n").unwrap();
    let masked = "wasm-sock@gmasked.socket";
    systemctl(&["mask", masked]);
    let _written = Handler::new("gwritten", "listen = '24038'");
    let _masked = Handler::new("gmasked", "listen = '24040'");
    systemctl(&["daemon-reload"]);
    assert_eq!(property(unit, "FragmentPath"), written.to_str().unwrap());
    assert_eq!(property(unit, "Listen"), "127.0.0.1:24039 (Stream)");
    assert_eq!(property(masked, "LoadState"), "masked");
    // A unit that is not enabled must not be started at the next boot because of another file.
    for name in [unit, masked] {
        let link = format!("/run/systemd/generator/sockets.target.wants/{name}");
        assert!(Path::new(&link).symlink_metadata().is_err(), "{link}");
    }
    fs::remove_file(&written).unwrap();
    systemctl(&["unmask", masked]);
    systemctl(&["daemon-reload"]);
    for name in [unit, masked] {
        assert!(
            property(name, "FragmentPath").starts_with("/run/systemd/generator/"),
            "{name}"
        );
        let link = format!("/run/systemd/generator/sockets.target.wants/{name}");
        assert!(fs::metadata(&link).is_ok(), "{link} leads to the unit");
    }
}

#[test]
fn a_drop_in_changes_a_generated_unit() {
    let unit = "wasm-sock@gdropin.socket";
    let handler = Handler::new("gdropin", "listen = '24041'");
    let folder = format!("{SYSTEM}/{unit}.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        format!("{folder}/more.conf"),
        "[Socket]\nListenStream=127.0.0.1:24042\nPriority=3\n",
    )
    .unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", unit]);
    for port in [24_041, 24_042] {
        echoes(&tcp(port));
    }
    assert_eq!(property(unit, "Priority"), "3");
    let text = systemctl(&["cat", unit]);
    assert!(
        text.contains("# /run/systemd/generator/") && text.contains("more.conf"),
        "{text}"
    );
    drop(handler);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_handler_with_another_mistake_has_its_sockets_and_says_what_is_wrong() {
    install();
    for (number, mistake) in ["memory = '1KiB'", "memory = 16MiB", "colour = 'red'"]
        .iter()
        .enumerate()
    {
        let (name, port) = (format!("gbroken{number}"), 24_043 + number as u16);
        let units = [format!("wasm-sock@{name}.socket")];
        let units = [units[0].as_str()];
        let _handler = Handler::started(&name, &format!("listen = '{port}'\n{mistake}"), &units);
        let answer = tcp(port).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text();
        assert!(
            answer.starts_with("HTTP/1.1 503 ") || answer.is_empty(),
            "{mistake}: {answer}"
        );
        let journal = || {
            output(Command::new("journalctl").arg("--sync"));
            let unit = format!("wasm-sock@{name}.service");
            output(Command::new("journalctl").args(["-q", "-o", "cat", "-u", &unit]))
        };
        eventually("the log told the mistake", || {
            journal().contains("there is a mistake in /etc/wasm-sock/handlers.d/")
        });
    }
}
