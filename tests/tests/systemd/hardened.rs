//! Every kind of guest, in the service as it is shipped and with `units/hardened.conf`.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::systemctl::{Service, checkout, install, install_guest_of, output};
use harness::{Kind, curl};

/// Handlers by kind: a name, the world, the guest, and how it is asked.
const HANDLERS: [(&str, Kind, &str, Ask); 6] = [
    ("core", Kind::P1, "hello", Ask::Knock),
    ("command", Kind::P2, "hello", Ask::Knock),
    ("command-3", Kind::P3, "actor", Ask::Line),
    ("http", Kind::P2, "http-hello", Ask::Get),
    ("http-3", Kind::P3, "http-actor", Ask::Get),
    // This one is compiled at the first knock.
    ("source", Kind::P1, "hello", Ask::Knock),
];

#[derive(Clone, Copy)]
enum Ask {
    Knock,
    Line,
    Get,
}

fn every_guest_answers(prefix: &str, first_port: u16, options: &str, drop_in: Option<&str>) {
    install();
    let service = Service::shared(prefix, options);
    if let Some(text) = drop_in {
        service.drop_in("zz-hardened", text);
    }
    let names = HANDLERS.map(|(name, ..)| format!("{prefix}-{name}"));
    for (name, (handler, kind, guest, _)) in names.iter().zip(HANDLERS) {
        let extension = if handler == "source" { "wasm" } else { "cwasm" };
        install_guest_of(kind, &format!("{name}.{extension}"), guest);
    }
    let sockets = service.listen_all(&names, first_port);
    for ((_, _, _, ask), (socket, name)) in HANDLERS.into_iter().zip(sockets.iter().zip(&names)) {
        let answer = match ask {
            Ask::Knock => socket.address.knock().text(),
            Ask::Line => socket.address.ask("version\n").text(),
            Ask::Get => {
                let url = format!("http://127.0.0.1:{}/hello", socket.address.port());
                String::from_utf8_lossy(&curl(&[&url])).into_owned()
            }
        };
        let said = service.journal();
        assert!(!answer.is_empty(), "{name} said nothing; the log: {said:#?}");
    }
    let errors = service.journal_at(3);
    assert!(errors.is_empty(), "{errors:#?}");
    service.assert_never_failed();
}

#[test]
fn every_kind_of_guest_answers_in_the_shipped_service() {
    every_guest_answers("shipped", 22_100, "", None);
}

#[test]
fn every_kind_of_guest_answers_in_the_hardened_service() {
    every_guest_answers("hardened", 22_200, "", Some(&hardened()));
}

#[test]
fn every_kind_of_guest_answers_in_a_hardened_service_that_is_parked() {
    let options = "--when-idle park --idle-timeout 100ms";
    every_guest_answers("hardened-parked", 22_400, options, Some(&hardened()));
}

fn hardened() -> String {
    fs::read_to_string(checkout().join("units/hardened.conf")).expect("read the drop-in")
}

/// Tenths, as `systemd-analyze` takes a threshold: what docs/walls.md promises.
#[test]
fn the_exposure_of_the_services_is_what_is_promised() {
    install();
    let exposed = |unit: &str, most: &str| {
        let mut security = Command::new("systemd-analyze");
        let threshold = format!("--threshold={most}");
        security.args(["security", "--no-pager", &threshold, unit]);
        output(&mut security);
    };
    exposed("wasm-sock.service", "30");
    let hardened = Service::shared("exposure", "");
    hardened.drop_in("zz-hardened", &self::hardened());
    exposed(&hardened.unit, "8");
    assert!(Path::new("/usr/share/doc/wasm-sock/examples/hardened.conf").exists());
}
