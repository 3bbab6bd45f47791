//! The fields of lines in the journal: what queries and dashboards rely on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use harness::systemctl::{
    MODULES, Service, Socket, install, install_guest, install_guest_of, output, sync_journal, systemctl,
};
use harness::{Address, Kind, eventually};

const SYSTEM: &str = "/etc/systemd/system";

/// A line of the journal, with its fields.
type Entry = BTreeMap<String, String>;

/// A service with these handlers: a name, the module of it, and settings.
fn service(name: &str, host: &str, handlers: &[(&str, &str, &str)]) -> Service {
    install();
    let mut config = format!("[host]\nidle-timeout = \"2s\"\n{host}\n");
    for (handler, module, settings) in handlers {
        config += &format!("[handler.{handler}]\nmodule = \"{module}\"\n{settings}\n");
    }
    let folder = format!("/etc/wasm-sock/{name}");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/wasm-sock.toml"), config).unwrap();
    Service::shared(name, &format!("--config {folder}/wasm-sock.toml"))
}

/// A service whose handler is an actor of this part.
fn actor(name: &str, part: &str, settings: &str) -> (Service, Socket) {
    install();
    let module = format!("{name}.cwasm");
    install_guest(&module, "actor");
    let args: Vec<&str> = part.split(' ').collect();
    let settings = format!("args = {args:?}\n{settings}");
    let service = service(name, "", &[(name, &module, &settings)]);
    let socket = service.listen(&format!("{name}.socket"), "");
    (service, socket)
}

/// The lines of these units.
fn entries(unit: &str) -> Vec<Entry> {
    sync_journal();
    let mut journal = Command::new("journalctl");
    journal.args(["-q", "-a", "-o", "json", "-t", "wasm-sock", "-u", unit]);
    let text = |value: serde_json::Value| value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    let entry = |line: &str| {
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).expect("a JSON object");
        fields.into_iter().map(|(name, value)| (name, text(value))).collect()
    };
    output(&mut journal).lines().map(entry).collect()
}

/// The records among them, when there are `count`.
#[track_caller]
fn records(unit: &str, count: usize) -> Vec<Entry> {
    let mut records = Vec::new();
    eventually(&format!("{unit} had {count} records"), || {
        records = entries(unit);
        records.retain(|entry| entry.contains_key("WASM_SOCK_OUTCOME"));
        records.len() >= count
    });
    assert_eq!(records.len(), count, "{records:#?}");
    records
}

/// A field with a number.
#[track_caller]
fn number(entry: &Entry, name: &str) -> u64 {
    let value = entry.get(name).unwrap_or_else(|| panic!("no {name} in {entry:#?}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}"))
}

#[track_caller]
fn expect(entry: &Entry, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        assert_eq!(
            entry.get(*name).map(String::as_str),
            Some(*value),
            "{name} of {entry:#?}"
        );
    }
}

#[test]
fn a_connection_has_one_record_and_all_of_its_lines_have_its_name() {
    let (service, socket) = actor("fields-stream", "log 3", "");
    let ports = [(), ()].map(|()| {
        let mut client = socket.address.connect();
        client.answer().expect_whole("ok\n");
        client.local_port()
    });
    let records = records(&service.unit, 2);
    assert_ne!(records[0]["WASM_SOCK_CONNECTION"], records[1]["WASM_SOCK_CONNECTION"]);
    let lines = entries(&service.unit);
    for (record, port) in records.iter().zip(ports) {
        let peer = format!("127.0.0.1:{port}");
        expect(
            record,
            &[
                ("SYSLOG_IDENTIFIER", "wasm-sock"),
                ("PRIORITY", "6"),
                ("_TRANSPORT", "journal"),
                ("_SYSTEMD_UNIT", &service.unit),
                ("WASM_SOCK_HANDLER", "fields-stream"),
                ("WASM_SOCK_PEER", &peer),
                ("WASM_SOCK_OUTCOME", "ok"),
                ("WASM_SOCK_EXIT_CODE", "0"),
                ("WASM_SOCK_BYTES_IN", "0"),
                ("WASM_SOCK_BYTES_OUT", "3"),
            ],
        );
        let [duration, first, cpu] =
            ["DURATION_USEC", "FIRST_BYTE_USEC", "CPU_USEC"].map(|name| number(record, &format!("WASM_SOCK_{name}")));
        assert!(0 < first && first <= duration && cpu > 0, "{record:#?}");
        assert!(number(record, "WASM_SOCK_MEMORY_PEAK") > 1 << 20, "{record:#?}");
        let message = &record["MESSAGE"];
        assert!(
            message.starts_with(&format!("fields-stream {peer}: served (")),
            "{message}"
        );
        let id = &record["WASM_SOCK_CONNECTION"];
        let said: Vec<&Entry> = lines
            .iter()
            .filter(|line| line.get("WASM_SOCK_CONNECTION") == Some(id))
            .filter(|line| line.get("WASM_SOCK_STREAM").is_some_and(|stream| stream == "stderr"))
            .collect();
        let said: Vec<&str> = said.iter().map(|line| line["MESSAGE"].as_str()).collect();
        assert_eq!(said, [0, 1, 2].map(|n| format!("fields-stream {peer}: line {n}")));
    }
}

#[test]
fn a_guest_that_traps_has_a_backtrace_and_one_that_fails_an_exit_code() {
    install();
    // Names are a guest's to choose, and have no lines.
    let module = r#"(module
        (func (@name "evil\nPRIORITY=0\n") unreachable)
        (func $caller call 0)
        (func (export "_start") call $caller))"#;
    let path = Path::new(MODULES).join("fields-trap.wasm");
    fs::create_dir_all(MODULES).unwrap();
    fs::write(&path, wat::parse_str(module).unwrap()).unwrap();
    let service = service("fields-trap", "", &[("fields-trap", "fields-trap.wasm", "")]);
    let socket = service.listen("fields-trap.socket", "");
    socket.address.knock().expect_reset_after("");
    let record = &records(&service.unit, 1)[0];
    expect(record, &[("PRIORITY", "3"), ("WASM_SOCK_OUTCOME", "trap")]);
    let backtrace = "#0 evil\\x0aPRIORITY=0\\x0a (function 0)\n#1 caller (function 1)\n#2 (function 2)";
    expect(record, &[("WASM_SOCK_BACKTRACE", backtrace)]);
    let message = &record["MESSAGE"];
    assert!(message.contains(", in evil") && !message.contains('\n'), "{message}");

    let (service, socket) = actor("fields-exit", "exit 1", "");
    socket.address.knock();
    let record = &records(&service.unit, 1)[0];
    let expected = [
        ("PRIORITY", "4"),
        ("WASM_SOCK_OUTCOME", "exit"),
        ("WASM_SOCK_EXIT_CODE", "1"),
    ];
    expect(record, &expected);
    assert!(!record.contains_key("WASM_SOCK_BACKTRACE"));
}

#[test]
fn the_limit_that_ended_a_guest_is_the_outcome() {
    for (name, part, limit, outcome) in [
        ("fields-cpu", "spin", "cpu-time = \"100ms\"", "cpu-time"),
        ("fields-timeout", "wait-eof", "timeout = \"100ms\"", "timeout"),
        ("fields-idle", "wait-eof", "idle-connection-timeout = \"200ms\"", "idle"),
        ("fields-memory", "allocate-trap", "memory = \"16MiB\"", "memory"),
        ("fields-output", "big 1000000", "max-output = \"10KiB\"", "output"),
    ] {
        let (service, socket) = actor(name, part, limit);
        let mut client = socket.address.connect();
        client.answer();
        let record = &records(&service.unit, 1)[0];
        expect(record, &[("WASM_SOCK_OUTCOME", outcome), ("PRIORITY", "3")]);
    }
}

#[test]
fn each_request_of_a_connection_has_a_record() {
    install();
    install_guest("fields-http.cwasm", "http-actor");
    let service = service(
        "fields-http",
        "",
        &[("fields-http", "fields-http.cwasm", "max-body = \"1KiB\"")],
    );
    let socket = service.listen("fields-http.socket", "");
    let mut http = socket.address.http();
    http.get("/stderr?said").expect(200, "ok\n");
    http.get("/status?404").expect_status(404);
    http.post("/echo", vec![b'x'; 2000]).expect_status(413);
    drop(http);
    socket.address.get("/trap").expect_status(500);
    let records = records(&service.unit, 4);
    let id = &records[0]["WASM_SOCK_CONNECTION"];
    for (record, (request, method, path, status, outcome)) in records.iter().zip([
        ("1", "GET", "/stderr", "200", "ok"),
        ("2", "GET", "/status", "404", "ok"),
        ("3", "POST", "/echo", "413", "bad-request"),
        ("1", "GET", "/trap", "500", "trap"),
    ]) {
        expect(
            record,
            &[
                ("WASM_SOCK_REQUEST", request),
                ("WASM_SOCK_METHOD", method),
                ("WASM_SOCK_PATH", path),
                ("WASM_SOCK_STATUS", status),
                ("WASM_SOCK_OUTCOME", outcome),
            ],
        );
        assert!(number(record, "WASM_SOCK_DURATION_USEC") > 0);
        assert_eq!(&record["WASM_SOCK_CONNECTION"] == id, path != "/trap");
    }
    assert!(
        records[3]["WASM_SOCK_BACKTRACE"].contains("(function "),
        "{:#?}",
        records[3]
    );
    let lines = entries(&service.unit);
    let said = lines
        .iter()
        .find(|line| line.contains_key("WASM_SOCK_STREAM"))
        .expect("a line of the guest");
    expect(said, &[("WASM_SOCK_CONNECTION", id), ("WASM_SOCK_REQUEST", "1")]);
}

#[test]
fn a_datagram_has_a_record() {
    install();
    install_guest("fields-datagram.cwasm", "echo");
    let service = service(
        "fields-datagram",
        "",
        &[("fields-datagram", "fields-datagram.cwasm", "")],
    );
    let path = Path::new("/run/fields-datagram.sock");
    let lines = format!(
        "[Socket]\nListenDatagram={}\nFileDescriptorName=fields-datagram\nService={}\n",
        path.display(),
        service.unit
    );
    fs::write(format!("{SYSTEM}/fields-datagram.socket"), lines).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", "fields-datagram.socket"]);
    let own = "/run/fields-datagram-client.sock";
    let client = UnixDatagram::bind(own).unwrap();
    fs::set_permissions(own, fs::Permissions::from_mode(0o777)).unwrap();
    client.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    client.send_to(b"ping", path).unwrap();
    let mut answer = [0; 100];
    assert_eq!(client.recv(&mut answer).unwrap(), 4);
    let expected = [
        ("WASM_SOCK_OUTCOME", "ok"),
        ("WASM_SOCK_PEER", own),
        ("WASM_SOCK_BYTES_IN", "4"),
        ("WASM_SOCK_BYTES_OUT", "4"),
    ];
    let record = &records(&service.unit, 1)[0];
    expect(record, &expected);
    assert!(record.contains_key("WASM_SOCK_CONNECTION"));
}

#[test]
fn what_a_guest_says_is_never_a_field() {
    install();
    install_guest_of(Kind::P3, "fields-hostile.cwasm", "actor");
    let hostile = r"args = ['stderr', '''one
PRIORITY=0
WASM_SOCK_HANDLER=other
MESSAGE
_SYSTEMD_UNIT=other.service''']";
    let service = service(
        "fields-hostile",
        "",
        &[("fields-hostile", "fields-hostile.cwasm", hostile)],
    );
    let socket = service.listen("fields-hostile.socket", "");
    socket.address.knock();
    records(&service.unit, 1);
    let lines = entries(&service.unit);
    for line in &lines {
        assert_ne!(line["PRIORITY"], "0", "{line:#?}");
        assert_eq!(line["_SYSTEMD_UNIT"], service.unit);
        assert_eq!(line["WASM_SOCK_HANDLER"], "fields-hostile");
    }
    for said in [
        "one",
        "PRIORITY=0",
        "WASM_SOCK_HANDLER=other",
        "MESSAGE",
        "_SYSTEMD_UNIT=other.service",
    ] {
        let is_said = |line: &Entry| line["MESSAGE"].ends_with(&format!(": {said}"));
        assert!(lines.iter().any(is_said), "no {said:?} in {lines:#?}");
    }
}

#[test]
fn a_handler_says_which_of_its_connections_are_logged() {
    install();
    install_guest("fields-log.cwasm", "actor");
    let handler = |name, args, log| (name, "fields-log.cwasm", format!("args = {args}\n{log}"));
    let failing = r#"["exit", "1"]"#;
    let handlers = [
        handler("sampled", r#"["log", "1"]"#, "log-sample = 4"),
        handler("sampled-failing", failing, "log-sample = 4"),
        handler("quiet", r#"["log", "1"]"#, r#"log = "failures""#),
        handler("quiet-failing", failing, r#"log = "failures""#),
        handler("silent", r#"["log", "1"]"#, r#"log = "none""#),
        handler("silent-failing", failing, r#"log = "none""#),
        handler("last", failing, ""),
    ];
    let handlers: Vec<(&str, &str, &str)> = handlers
        .iter()
        .map(|(name, module, settings)| (*name, *module, settings.as_str()))
        .collect();
    let service = service("fields-log", "", &handlers);
    for (name, ..) in &handlers {
        let socket = service.listen(&format!("{name}.socket"), "");
        for _ in 0..10 {
            socket.address.knock();
        }
        if *name != "last" {
            // A socket can be started only while its service is not running.
            service.wait_until_asleep();
        }
    }
    // Of ten, the first, the fifth and the ninth; or all of those that failed.
    let all = records(&service.unit, 3 + 10 + 10 + 10);
    let of = |name: &str| all.iter().filter(|record| record["WASM_SOCK_HANDLER"] == name).count();
    let counts: Vec<usize> = handlers.iter().map(|(name, ..)| of(name)).collect();
    assert_eq!(counts, [3, 10, 0, 10, 0, 0, 10]);
    for record in &all {
        let sample = record.get("WASM_SOCK_SAMPLE").map(String::as_str);
        let expected = (record["WASM_SOCK_HANDLER"] == "sampled").then_some("4");
        assert_eq!(sample, expected, "{record:#?}");
    }
    // What guests say is always logged.
    let lines = entries(&service.unit);
    for name in ["sampled", "quiet", "silent"] {
        let is_said = |line: &&Entry| line["WASM_SOCK_HANDLER"] == name && line.contains_key("WASM_SOCK_STREAM");
        let said = lines.iter().filter(|line| line.contains_key("WASM_SOCK_HANDLER"));
        assert_eq!(said.filter(is_said).count(), 10, "{name}");
    }
}

#[test]
fn lines_go_on_when_journald_is_restarted() {
    let (service, socket) = actor("fields-restart", "version", "");
    socket.address.knock();
    records(&service.unit, 1);
    let process = service.process().expect("a host");
    systemctl(&["restart", "systemd-journald.service"]);
    socket.address.knock().expect_whole("version 1\n");
    socket.address.knock().expect_whole("version 1\n");
    assert_eq!(service.process(), Some(process));
    records(&service.unit, 3);
}

/// journald finds the unit of a line by the process that sent it, which is gone right after its last line.
#[test]
fn no_line_of_a_host_that_exits_at_once_lacks_its_unit() {
    install();
    install_guest("fields-last.cwasm", "echo");
    let module = format!("{MODULES}/fields-last.cwasm");
    let options = format!("--module {module} --idle-timeout 0");
    let service = Service::shared("fields-last", &options);
    let socket = service.listen("fields-last.socket", "");
    for _ in 0..60 {
        socket.address.ask("ping").expect_whole("ping");
        service.wait_until_asleep();
    }
    records(&service.unit, 60);

    let unit = "fields-accept@.service";
    let text = format!("[Service]\nExecStart=/usr/bin/wasm-sock host --module {module}\n");
    fs::write(format!("{SYSTEM}/{unit}"), text).unwrap();
    let lines = "[Socket]\nListenStream=127.0.0.1:23100\nAccept=yes\nTriggerLimitIntervalSec=0\nMaxConnections=300\n";
    fs::write(format!("{SYSTEM}/fields-accept.socket"), lines).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", "fields-accept.socket"]);
    let address = Address::Tcp(([127, 0, 0, 1], 23_100).into());
    for _ in 0..200 {
        address.ask("ping").expect_whole("ping");
    }
    records("fields-accept@*.service", 200);
}
