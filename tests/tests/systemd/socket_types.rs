//! Sockets of every other sort: connections that systemd accepted, datagrams, packets, abstract names.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::systemctl::{MODULES, Service, Socket, install, install_guest, output, sync_journal, systemctl};
use harness::{Address, Destination, End, eventually};
use rustix::net::SocketAddrUnix;

const SYSTEM: &str = "/etc/systemd/system";

/// Starts a socket unit of this name with these lines.
fn socket(name: &str, lines: &str, address: Address) -> Socket {
    let unit = format!("{name}.socket");
    let text = format!("[Socket]\n{lines}\nTriggerLimitIntervalSec=0\n");
    fs::write(format!("{SYSTEM}/{unit}"), text).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", &unit]);
    Socket { unit, address }
}

fn tcp(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

fn udp(ip: &str, port: u16) -> Destination {
    Destination::Udp((ip.parse::<std::net::IpAddr>().unwrap(), port).into())
}

/// The service of which `Accept=yes` makes an instance for each connection, with these lines added.
fn accepting(name: &str, part: &str, lines: &str) -> Service {
    install();
    install_guest("actor.cwasm", "actor");
    let folder = format!("/etc/wasm-sock/{name}");
    fs::create_dir_all(&folder).unwrap();
    let args: Vec<&str> = part.split(' ').collect();
    let config = format!(
        "[host]\nmodules = \"{MODULES}\"\n\
         [handler.connection]\nmodule = \"actor.cwasm\"\nargs = {args:?}\n"
    );
    fs::write(format!("{folder}/wasm-sock.toml"), config).unwrap();
    let service = Service {
        unit: format!("{name}@.service"),
    };
    let shipped = "/usr/lib/systemd/system/wasm-sock@.service";
    fs::copy(shipped, Path::new(SYSTEM).join(&service.unit)).unwrap();
    let folders = format!("ConfigurationDirectory=\nConfigurationDirectory=wasm-sock/{name}");
    service.drop_in("test", &format!("[Service]\n{folders}\n{lines}\n"));
    service
}

/// The lines of all instances that have this identifier in the journal.
fn journal_of_instances(name: &str) -> String {
    sync_journal();
    let unit = format!("{name}@*.service");
    let journal = ["-q", "-o", "cat", "-t", "wasm-sock", "-u", &unit];
    output(std::process::Command::new("journalctl").args(journal))
}

/// No instance is left, running or failed.
fn expect_no_instances(name: &str) {
    let pattern = format!("{name}@*.service");
    let list = ["list-units", "--all", "--no-legend", "--plain", &pattern];
    eventually("all instances were gone", || systemctl(&list).is_empty());
}

/// Guests behind `socket` know who calls.
fn knows_who_calls(socket: &Socket) {
    for _ in 0..10 {
        let mut client = socket.address.connect();
        let answer = client.answer();
        let (local, remote) = (socket.address.port(), client.local_port());
        let expected = format!(
            "PROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={remote}\n\
             TCPLOCALIP=127.0.0.1\nTCPLOCALPORT={local}\n\
             TCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={remote}\nWASM_SOCK_NAME=connection\n"
        );
        assert!(answer.text().starts_with(&expected), "{answer:?}");
        assert_eq!(answer.end, End::Closed);
    }
}

#[test]
fn each_connection_that_systemd_accepts_has_a_host_of_its_own() {
    accepting("accepting", "env", "");
    let lines = "ListenStream=127.0.0.1:23000\nAccept=yes";
    let socket = socket("accepting", lines, tcp(23_000));
    knows_who_calls(&socket);
    expect_no_instances("accepting");
    let served = journal_of_instances("accepting").matches(": served (").count();
    assert_eq!(served, 10);
    socket.assert_open();
}

#[test]
fn a_host_that_systemd_gives_a_connection_ends_well_though_its_guest_traps() {
    accepting("broken-off", "trap", "");
    let lines = "ListenStream=127.0.0.1:23001\nAccept=yes";
    let socket = socket("broken-off", lines, tcp(23_001));
    for _ in 0..5 {
        socket.address.knock().expect_reset_after("before\n");
    }
    // One that had failed would stay for somebody to look at.
    expect_no_instances("broken-off");
    socket.assert_open();
}

#[test]
fn standard_input_may_be_the_connection() {
    let start = format!(
        "ExecStart=\nExecStart=/usr/bin/wasm-sock host --module {MODULES}/actor.cwasm\n\
         StandardInput=socket"
    );
    accepting("stdin", "env", &start);
    let lines = "ListenStream=127.0.0.1:23002\nAccept=yes";
    let socket = socket("stdin", lines, tcp(23_002));
    knows_who_calls(&socket);
    expect_no_instances("stdin");
    socket.assert_open();
}

/// With `StandardInput=socket`, standard error is the connection, too, unless it is said otherwise.
#[test]
fn what_a_guest_says_on_a_standard_error_that_is_the_connection_is_in_the_journal() {
    let start = format!(
        "ExecStart=\nExecStart=/usr/bin/wasm-sock host --module {MODULES}/actor.cwasm\n\
         StandardInput=socket\nStandardOutput=socket\nStandardError=socket"
    );
    accepting("noisy", "stderr", &start);
    let lines = "ListenStream=127.0.0.1:23003\nAccept=yes";
    let socket = socket("noisy", lines, tcp(23_003));
    let mut client = socket.address.connect();
    client.answer().expect_whole("ok\n");
    let caller = format!("connection 127.0.0.1:{}: ", client.local_port());
    drop(client);
    expect_no_instances("noisy");
    let journal = journal_of_instances("noisy");
    for said in ["first line", "latin-1: caf\u{fffd}", "partial last line"] {
        let line = format!("{caller}{said}\n");
        assert!(journal.contains(&line), "no {line:?} in {journal}");
    }
    assert!(journal.contains(&format!("{caller}served (")), "{journal}");
}

#[test]
fn standard_input_may_listen() {
    install();
    install_guest("listening.cwasm", "echo");
    let service = Service::shared(
        "listening",
        &format!("--module {MODULES}/listening.cwasm --idle-timeout 300ms"),
    );
    service.drop_in("stdin", "[Service]\nStandardInput=socket\nStandardError=journal\n");
    let socket = service.listen("listening.socket", "");
    for _ in 0..3 {
        socket.address.ask("ping").expect_whole("ping");
        service.wait_until_asleep();
    }
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn datagrams_wake_the_host_and_are_answered_from_where_they_were_sent() {
    install();
    install_guest("mail.cwasm", "echo");
    let service = Service::shared("mail", "--idle-timeout 300ms");
    let path = "/run/wasm-sock-mail";
    let lines = format!("Service=mail.service\nListenDatagram=23004\nListenDatagram={path}\nListenDatagram=@mail");
    let socket = socket("mail", &lines, tcp(0));
    let unix = SocketAddrUnix::new(path).unwrap();
    let named = SocketAddrUnix::new_abstract_name(b"mail").unwrap();
    for destination in [
        udp("127.0.0.1", 23_004),
        udp("127.0.0.2", 23_004),
        udp("::1", 23_004),
        Destination::UnixDatagrams(unix),
        Destination::UnixDatagrams(named),
    ] {
        assert!(service.is_asleep());
        // Its client hears nobody but this address.
        let client = destination.connect();
        assert_eq!(client.ask("first"), b"first", "{destination:?}");
        assert_eq!(client.ask("second"), b"second", "{destination:?}");
        service.wait_until_asleep();
    }
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn datagrams_around_an_idle_exit_are_answered() {
    install();
    install_guest("ticks.cwasm", "echo");
    let service = Service::shared("ticks", "--idle-timeout 20ms");
    let lines = "Service=ticks.service\nListenDatagram=127.0.0.1:23005";
    let socket = socket("ticks", lines, tcp(0));
    let client = udp("127.0.0.1", 23_005).connect();
    for tick in 0..300 {
        let question = tick.to_string();
        assert_eq!(client.ask(&question), question.as_bytes());
        // From well before the exit to well after it, a little later each time.
        thread::sleep(Duration::from_micros(15_000 + (tick * 50)));
    }
    service.wait_until_asleep();
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn packets_and_abstract_names_are_served() {
    install();
    install_guest("parcels.cwasm", "echo");
    let service = Service::shared("parcels", "--idle-timeout 300ms");
    let path = "/run/wasm-sock-parcels";
    let lines = format!(
        "Service=parcels.service\nListenSequentialPacket={path}\nListenSequentialPacket=@parcels.packets\nListenStream=@parcels"
    );
    let stream = Address::Abstract("parcels".to_owned());
    let socket = socket("parcels", &lines, stream);
    for name in [
        SocketAddrUnix::new(path).unwrap(),
        SocketAddrUnix::new_abstract_name(b"parcels.packets").unwrap(),
    ] {
        let client = Destination::UnixPackets(name).connect();
        assert_eq!(client.ask("one"), b"one");
        assert_eq!(client.ask("two"), b"two");
        client.finish();
        assert_eq!(client.packets(), (vec![], End::Closed));
        drop(client);
        service.wait_until_asleep();
    }
    socket.address.ask("ping").expect_whole("ping");
    service.wait_until_asleep();
    service.assert_never_failed();
    socket.assert_open();
}

/// Datagrams for a guest that cannot answer them do not wear the socket out.
fn survives_datagrams(name: &str, port: u16, reason: &str) {
    let service = Service::shared(name, "--idle-timeout 3s");
    let lines = format!("Service={name}.service\nListenDatagram=127.0.0.1:{port}");
    let socket = socket(name, &lines, tcp(0));
    let client = udp("127.0.0.1", port).connect();
    client.send("lost");
    eventually("it was logged", || !service.journal_at(3).is_empty());
    let process = service.process().expect("the host stays until it is idle");
    for _ in 0..50 {
        client.send("lost");
    }
    let errors = service.journal_at(3);
    assert_eq!(errors.len(), 1, "one line for one problem: {errors:#?}");
    assert!(errors[0].contains(reason), "{errors:?}");
    assert_eq!(service.process(), Some(process), "the host did not stay");
    let run = service.property("InvocationID");
    service.wait_until_asleep();
    client.expect_nothing();
    // Nothing is left in the socket that would have started another.
    assert_eq!(service.property("InvocationID"), run);
    service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn datagrams_for_an_http_guest_leave_the_socket_alive() {
    install();
    install_guest("web.cwasm", "http-actor");
    survives_datagrams("web", 23_006, "an HTTP guest cannot answer datagrams");
}

#[test]
fn datagrams_for_a_missing_module_leave_the_socket_alive() {
    install();
    survives_datagrams("nobody", 23_007, "put one of them there");
}
