//! Guests that reach out: `wasm-sock-egress.socket`, and who may ask for what.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use harness::systemctl::{checkout, install, output, property, systemctl};
use harness::{Address, Kind, eventually, wasm};

const SYSTEM: &str = "/etc/systemd/system";

/// One of these tests at a time: there is one `wasm-sock-egress.service`.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    install();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that tells each client a secret.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"secret\n");
        }
    });
    address
}

/// Installs a handler that connects to the server, and may.
fn install_handler(name: &str, port: u16, server: SocketAddr) -> Address {
    let (server, listen) = (server.to_string(), port.to_string());
    let mut command = Command::new("/usr/bin/wasm-sock");
    command
        .arg("install")
        .arg(wasm(Kind::P2, "actor"))
        .args([
            "--name", name, "--listen", &listen, "--arg", "connect", "--arg", &server,
        ])
        .args(["--allow-outbound", &server, "--no-knock"])
        .env_remove("WASM_SOCK_HOST");
    output(&mut command);
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn uninstall(name: &str) {
    let mut command = Command::new("/usr/bin/wasm-sock");
    output(
        command
            .args(["uninstall", name, "--purge"])
            .env_remove("WASM_SOCK_HOST"),
    );
}

#[test]
fn an_installed_handler_reaches_out_without_a_network_of_its_own_and_outlives_a_killed_egress() {
    let _alone = alone();
    let address = install_handler("reach", 22_301, server());
    assert_eq!(property("wasm-sock-egress.socket", "ActiveState"), "active");
    assert_eq!(
        property("wasm-sock-egress.service", "ActiveState"),
        "inactive",
        "until a guest needs it"
    );
    assert!(property("wasm-sock@reach.socket", "Wants").contains("wasm-sock-egress.socket"));
    address.knock().expect_whole("connected\nsecret\n");
    assert_eq!(property("wasm-sock-egress.service", "ActiveState"), "active");
    // The same, with all that systemd has to confine a service.
    let drop_in = format!("{SYSTEM}/wasm-sock@reach.service.d");
    fs::create_dir_all(&drop_in).unwrap();
    fs::copy(
        checkout().join("units/hardened.conf"),
        Path::new(&drop_in).join("hardened.conf"),
    )
    .unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["stop", "wasm-sock@reach.service"]);
    address.knock().expect_whole("connected\nsecret\n");
    assert_eq!(property("wasm-sock@reach.service", "PrivateNetwork"), "yes");
    let host = property("wasm-sock@reach.service", "MainPID");
    systemctl(&["kill", "-s", "KILL", "wasm-sock-egress.service"]);
    eventually("the host has ended", || {
        property("wasm-sock@reach.service", "MainPID") != host
    });
    address.knock().expect_whole("connected\nsecret\n");
    fs::remove_dir_all(&drop_in).unwrap();
    uninstall("reach");
}

/// Asks `wasm-sock-egress` for a connection for a handler, as a host does, with the messages of its protocol.
const ASK: &str = r#"
import socket, sys
handler, port = sys.argv[1], int(sys.argv[2])
def number(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))
def text(t):
    return number(len(t)) + t.encode()
try:
    way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    way.connect('/run/wasm-sock/egress')
    connect = number(0) + text('127.0.0.1') + number(port) + number(0)
    way.send(number(1) + text(handler) + connect + number(5000))
    reply, fds, _, _ = socket.recv_fds(way, 8192, 1)
    print('connected' if fds else 'refused: ' + reply[4:].decode(errors='replace'))
except OSError as error:
    print(type(error).__name__)
"#;

/// What a service of this name and user is told, which asks for `handler`.
fn asked(unit: &str, user: &str, handler: &str, server: SocketAddr) -> String {
    let answer = format!("/run/outbound-{user}.txt");
    fs::write("/run/outbound-ask.py", ASK).unwrap();
    let text = format!(
        "[Service]\nType=oneshot\nUser={user}\nExecStart=/usr/bin/python3 /run/outbound-ask.py {handler} {}\n\
         StandardOutput=truncate:{answer}\n",
        server.port()
    );
    fs::write(format!("{SYSTEM}/{unit}"), text).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", unit]);
    fs::remove_file(format!("{SYSTEM}/{unit}")).unwrap();
    systemctl(&["daemon-reload"]);
    fs::read_to_string(answer).unwrap().trim().to_owned()
}

/// A guest that has escaped into its host still has the rights of its own handler only.
#[test]
fn the_service_of_a_handler_asks_for_that_handler_only_and_other_users_for_none() {
    let _alone = alone();
    let server = server();
    install_handler("rich", 22_302, server);
    assert_eq!(
        asked("outbound-first.service", "wasm-sock", "rich", server),
        "connected"
    );
    let refused = asked("wasm-sock@poor.service", "wasm-sock", "rich", server);
    assert!(refused.contains("asks as the service of another handler"), "{refused}");
    let refused = asked("wasm-sock-exec@poor.service", "wasm-sock", "rich", server);
    assert!(refused.contains("asks as the service of another handler"), "{refused}");
    // Of its own handler, which was granted nothing.
    let refused = asked("wasm-sock@poor.service", "wasm-sock", "poor", server);
    assert!(refused.contains("would allow it"), "{refused}");
    // The service that handlers share.
    assert_eq!(
        asked("outbound-shared.service", "wasm-sock", "rich", server),
        "connected"
    );
    assert_eq!(
        asked("outbound-other.service", "nobody", "rich", server),
        "PermissionError"
    );
    uninstall("rich");
}
