//! What `wasm-sock list`, `status` and `logs` tell of handlers whose hosts come, go, and are killed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::eventually;
use harness::systemctl::{Service, install, install_guest, output, systemctl};
use serde_json::Value;

/// The options for a host whose handlers are actors, each with a part.
fn options(name: &str, handlers: &[(&str, &str)], idle_timeout: &str) -> String {
    install();
    install_guest("actor.cwasm", "actor");
    let mut config = format!("[host]\nidle-timeout = \"{idle_timeout}\"\n");
    for (handler, part) in handlers {
        let args: Vec<&str> = part.split(' ').collect();
        config += &format!("[handler.{handler}]\nmodule = \"actor.cwasm\"\nargs = {args:?}\n");
    }
    let folder = format!("/etc/wasm-sock/{name}");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/wasm-sock.toml"), config).unwrap();
    format!("--config {folder}/wasm-sock.toml")
}

fn wasm_sock(arguments: &[&str]) -> String {
    output(Command::new("/usr/bin/wasm-sock").args(arguments))
}

/// What `list --json` tells of all handlers, by their names.
fn list() -> BTreeMap<String, Value> {
    let text = wasm_sock(&["list", "--json"]);
    let handlers = text.lines().map(|line| {
        let handler: Value = serde_json::from_str(line).expect("a line of JSON");
        (handler["handler"].as_str().expect("a name").to_owned(), handler)
    });
    handlers.collect()
}

fn number(handler: &Value, name: &str) -> u64 {
    handler[name].as_u64().unwrap_or_else(|| panic!("{name} in {handler}"))
}

#[test]
fn counters_survive_a_host_that_is_killed_and_what_it_had_in_flight_counts_as_killed_once() {
    let service = Service::of_template("killed", &options("killed", &[("killed", "wait-eof")], "30s"));
    let socket = service.listen("wasm-sock@killed.socket", "");
    for round in 1..=3 {
        let served = socket.address.connect();
        served.finish();
        served.second().answer();
        let clients: Vec<_> = (0..4).map(|_| socket.address.connect()).collect();
        eventually("four were in flight", || number(&list()["killed"], "in_flight") == 4);
        let awake = &list()["killed"];
        assert_eq!(awake["state"], "awake");
        assert_eq!(awake["pids"], serde_json::json!([service.process().unwrap()]));
        assert_eq!(awake["outcomes"]["killed"], 4 * (round - 1));

        systemctl(&["kill", "--signal=KILL", &service.unit]);
        eventually("they counted as killed", || {
            list()["killed"]["outcomes"]["killed"] == 4 * round
        });
        let killed = &list()["killed"];
        assert_eq!(
            (number(killed, "served"), number(killed, "failed")),
            (5 * round, 4 * round),
            "{killed}"
        );
        assert_eq!(killed["outcomes"]["ok"], round);
        drop(clients);
    }
}

#[test]
fn connections_that_systemd_accepts_are_counted_together() {
    let options = options("parallel", &[("connection", "wait-eof")], "0");
    let service = Service::shared("wasm-sock-parallel@", &options);
    let socket = service.listen("wasm-sock-parallel.socket", "Accept=yes\nMaxConnections=100");
    let clients: Vec<_> = (0..40).map(|_| socket.address.connect()).collect();
    eventually("forty were in flight, each in a host of its own", || {
        let handlers = list();
        let handler = handlers.get("connection");
        handler.is_some_and(|handler| {
            number(handler, "in_flight") == 40 && handler["pids"].as_array().is_some_and(|pids| pids.len() == 40)
        })
    });
    for mut client in clients {
        client.finish();
        client.answer().expect_whole("eof\n");
    }
    eventually("all have been served, and no host is left", || {
        let handler = &list()["connection"];
        handler["outcomes"]["ok"] == 40 && handler["pids"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(list()["connection"]["outcomes"]["killed"], 0);
}

#[test]
fn status_tells_what_there_is_to_tell_of_a_handler() {
    let options = options("told", &[("told", "trap-early")], "1s");
    let service = Service::of_template("told", &options);
    let socket = service.listen("wasm-sock@told.socket", "");
    socket.address.knock();
    service.wait_until_asleep();
    let status = wasm_sock(&["status", "told"]);
    let address = format!("127.0.0.1:{}", socket.address.port());
    for text in [
        "told: asleep\n",
        &format!("Listens: {address}\n"),
        "Socket: wasm-sock@told.socket (active)\n",
        "activations: 1\n",
        "1 trap\n",
    ] {
        assert!(status.contains(text), "{text:?} is not in {status}");
    }
    let json: Value = serde_json::from_str(&wasm_sock(&["status", "told", "--json"])).unwrap();
    assert_eq!(
        (&json["state"], &json["served"], &json["failed"]),
        (&"asleep".into(), &1.into(), &1.into())
    );
    assert_eq!(json["addresses"], serde_json::json!([address]));

    let unknown = Command::new("/usr/bin/wasm-sock")
        .args(["status", "no-such"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(
        said.starts_with("wasm-sock: no handler of the system (see --user) has the name \"no-such\""),
        "{said}"
    );
}

#[test]
fn a_socket_that_systemd_has_closed_is_off() {
    let service = Service::of_template("closed", &options("closed", &[("closed", "version")], "1s"));
    let socket = service.listen("wasm-sock@closed.socket", "");
    assert_eq!(list()["closed"]["state"], "asleep");
    systemctl(&["stop", &socket.unit]);
    assert_eq!(list()["closed"]["state"], "off");
}

#[test]
fn handlers_of_a_service_that_has_no_room_for_counters_are_served_all_the_same() {
    let options = options("uncounted", &[("uncounted", "version")], "1s");
    let service = Service::of_template("uncounted", &options);
    let socket = service.listen("wasm-sock@uncounted.socket", "");
    let full = "/run/wasm-sock-full";
    fs::create_dir(full).unwrap();
    output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k,mode=777", "tmpfs", full]));
    fs::write(format!("{full}/file"), [1; 4096]).unwrap();
    for (place, why) in [
        ("/proc/no-such-place", "No such file or directory"),
        ("/sys", "Read-only file system"),
        (full, "No space left on device"),
    ] {
        service.drop_in("place", &format!("[Service]\nEnvironment=RUNTIME_DIRECTORY={place}\n"));
        socket.address.connect().answer().expect_whole("version 1\n");
        eventually(&format!("a warning told of {place}"), || {
            let warnings = service.journal_at(4);
            let begin = format!("nothing is counted: {place}/stats");
            warnings
                .iter()
                .any(|line| line.starts_with(&begin) && line.contains(why))
        });
        service.wait_until_asleep();
    }
    service.assert_never_failed();
}

#[test]
fn a_thousand_handlers_are_listed_at_once() {
    let service = Service::shared("thousand", &options("thousand", &[], "1s"));
    let names: Vec<String> = (0..1_000).map(|number| format!("thousand-{number}")).collect();
    service.listen_all(&names, 30_000);
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let text = wasm_sock(&["list"]);
        times.push(start.elapsed());
        let listed = text.lines().filter(|line| line.starts_with("thousand-")).count();
        assert_eq!(listed, 1_000);
    }
    let time = harness::median(times);
    // Or each `daemon-reload` of later tests would read a thousand units.
    systemctl(&["stop", "thousand-*.socket"]);
    eprintln!("`wasm-sock list` of 1,000 handlers took {time:?} (the promise is 100 ms)");
    assert!(time < Duration::from_secs(5), "{time:?}");
}
