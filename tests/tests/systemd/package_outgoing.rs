//! An upgrade of the Debian package while guests have requests under way by TLS, which pass through `wasm-sock-egress`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use harness::systemctl::{output, property};
use harness::{Authority, Kind, eventually, wasm};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::package::{dpkg, installed, machine, package};

const PORT: u16 = 23_702;
const ROOTS: &str = "/etc/wasm-sock/roots.pem";

/// Between the two halves of an answer.
const PAUSE: Duration = Duration::from_millis(700);

/// A server that takes its time, by TLS.
fn slow_server(config: &Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = config.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || answer_slowly(stream, config));
        }
    });
    address
}

fn answer_slowly(stream: TcpStream, config: Arc<ServerConfig>) {
    let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if tls.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        for half in ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", " last"] {
            if tls.get_mut().write_all(half.as_bytes()).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Asks the handler to ask the server.
fn fetch(url: &str) -> Result<(), String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", &format!("http://127.0.0.1:{PORT}/?{url}")]);
    let result = curl.output().unwrap();
    match result.stdout == b"first last" {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned()),
    }
}

#[test]
fn an_upgrade_cuts_no_request_that_a_guest_makes_by_tls() {
    let _machine = machine();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (package(folder.path(), "1"), package(folder.path(), "2"));
    installed(&first);
    let authority = Authority::new();
    fs::write(ROOTS, authority.pem()).unwrap();
    let server = slow_server(&authority.server("127.0.0.1", &["http/1.1"]));
    let fetcher = wasm(Kind::P2, "http-fetch");
    let mut install = Command::new("/usr/bin/wasm-sock");
    install.args(["install", fetcher.to_str().unwrap(), "--name", "fetcher", "--no-knock"]);
    install.args(["--listen", &PORT.to_string(), "--allow-outbound", &server.to_string()]);
    output(install.args(["--set", &format!("tls-roots=\"{ROOTS}\"")]));
    let url = format!("https://{server}/");
    fetch(&url).expect("the first request");

    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let client = || {
            let mut failures = Vec::new();
            while !done.load(Relaxed) {
                match fetch(&url) {
                    Ok(()) => drop(answered.fetch_add(1, Relaxed)),
                    Err(why) => failures.push(why),
                }
            }
            failures
        };
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(client)).collect();
        for package in [&second, &first] {
            let before = answered.load(Relaxed);
            eventually("guests are answered", || answered.load(Relaxed) > before + 12);
            let process = property("wasm-sock-egress.service", "MainPID");
            installed(package);
            assert_ne!(
                property("wasm-sock-egress.service", "MainPID"),
                process,
                "it is of the new version"
            );
        }
        let before = answered.load(Relaxed);
        eventually("guests are answered after it", || answered.load(Relaxed) > before + 12);
        done.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(failures, [""; 0], "of {} requests", answered.into_inner());
    dpkg(&["--purge", "wasm-sock"]);
}
