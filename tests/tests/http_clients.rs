//! Clients that we did not write: curl, wrk, nginx as a reverse proxy, and a browser.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::{Address, Kind, World, curl, each_kind, eventually, unpacked};

const GIB: u64 = 1 << 30;
const PATIENT: &str = "timeout = \"infinity\"\ncpu-time = \"infinity\"\nmax-body = \"1GiB\"";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

each_kind! { HTTP: curl_speaks_both_versions }
fn curl_speaks_both_versions(kind: Kind) {
    let world = World::new(kind);
    let [tcp, unix] = world.web_sockets("web", "");
    let Address::Unix(path) = unix else { unreachable!() };
    let path = path.display().to_string();
    let host = world.start(&[]);
    let body = "x".repeat(200_000);
    let upload = world.path("upload");
    fs::write(&upload, &body).expect("write a file");
    let upload = format!("@{}", upload.display());
    for version in ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"] {
        for socket in [&[][..], &["--unix-socket", &path]] {
            let ask = |target: &str, more: &[&str]| {
                let url = tcp.url(target);
                text(curl(&[socket, &[version, &url], more].concat()))
            };
            assert_eq!(ask("/hello", &[]), "hello\n");
            assert!(
                ask("/sized?10", &["-I"])
                    .to_lowercase()
                    .contains("content-length: 10\r\n")
            );
            assert!(ask("/status?404", &["-i"]).contains(" 404"));
            for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
                let told = ask("/head", &["-X", method]);
                assert!(told.starts_with(&format!(":method: {method}\n")), "{told}");
            }
            for target in ["/echo", "/splice"] {
                assert!(ask(target, &["--data-binary", &upload]) == body);
            }
            // More than one request on a connection: not with prior knowledge, where curl 7.88 fails
            // with every server.
            if version != "--http2-prior-knowledge" {
                let again = tcp.url("/hello");
                assert_eq!(ask("/hello", &[&again, &again]), "hello\n".repeat(3));
            }
        }
    }
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_gibibyte_each_way_passes_in_constant_memory }
fn a_gibibyte_each_way_passes_in_constant_memory(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", PATIENT);
    let file = world.path("zeros");
    File::create(&file)
        .and_then(|file| file.set_len(GIB))
        .expect("make a file");
    let host = world.start(&[]);
    address.get("/hello").expect(200, "hello\n");
    let before = host.memory("VmHWM:");
    let upload = |target: &str, more: &[&str]| {
        let file = file.display().to_string();
        let url = address.url(target);
        let counted = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
        let sent = ["--max-time", "600", "-H", "Expect:", "-T", &file, &url];
        let told = curl(&[&sent, &counted[..], more].concat());
        assert_eq!(text(told), format!("200 {GIB}"), "{target} {more:?}");
    };
    upload("/echo", &["--http1.1"]);
    upload("/splice", &["--http1.1", "-H", "Transfer-Encoding: chunked"]);
    upload("/splice", &["--http2-prior-knowledge"]);
    let grown = host.memory("VmHWM:") - before;
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
}

each_kind! { HTTP: wrk_sees_no_errors }
fn wrk_sees_no_errors(kind: Kind) {
    let world = World::alone(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    let output = Command::new("wrk")
        .args(["-t", "2", "-c", "50", "-d", "2s", &address.url("/hello")])
        .output()
        .expect("run wrk");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("requests in"), "{told}");
    for bad in ["Socket errors", "Non-2xx"] {
        assert!(!told.contains(bad), "{told}");
    }
    host.expect_in_flight(0);
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx at a port, in front of a Unix socket, with connections that it keeps.
fn nginx(world: &World, socket: &Path) -> (Running, String) {
    let folder = world.path("nginx");
    fs::create_dir_all(&folder).expect("make a folder");
    // An address of this process, and a port of this test: all of 127.0.0.0/8 is this machine's.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = format!("127.{}.{b}.{c}:{}", a | 0x80, 8080 + world.kind as u16);
    let folder = folder.display();
    let configuration = format!(
        "daemon off;
        master_process off;
        pid {folder}/pid;
        error_log stderr;
        events {{ }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            client_max_body_size 0;
            upstream guests {{
                server unix:{socket};
                keepalive 4;
            }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://guests;
                    proxy_http_version 1.1;
                    proxy_request_buffering off;
                    proxy_buffering off;
                    proxy_set_header Host $host;
                    proxy_set_header Connection \"\";
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header X-Forwarded-Proto $scheme;
                }}
            }}
        }}",
        socket = socket.display()
    );
    let path = world.path("nginx/nginx.conf");
    fs::write(&path, configuration).expect("configure nginx");
    let child = Command::new(unpacked("usr/sbin/nginx"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .expect("run nginx");
    let running = Running(child);
    eventually("nginx listens", || std::net::TcpStream::connect(&address).is_ok());
    (running, format!("http://{address}"))
}

each_kind! { HTTP: nginx_passes_requests_on_and_tells_who_asks }
fn nginx_passes_requests_on_and_tells_who_asks(kind: Kind) {
    let world = World::new(kind);
    world.web("web", "forwarded-for = \"trust\"");
    let Address::Unix(socket) = world.unix("web") else {
        unreachable!()
    };
    let host = world.start(&["--idle-timeout", "infinity"]);
    let (_nginx, url) = nginx(&world, &socket);
    let ask = |target: &str, more: &[&str]| {
        let url = format!("{url}{target}");
        text(curl(&[&["--interface", "127.0.0.9", &url], more].concat()))
    };
    let told = ask("/head", &["-H", "Host: example.org"]);
    for line in [
        ":authority: example.org",
        ":scheme: http",
        "x-forwarded-for: 127.0.0.9",
        "x-forwarded-proto: http",
    ] {
        assert!(told.lines().any(|told| told == line), "no {line} in {told}");
    }
    let upload = world.path("upload");
    fs::write(&upload, "x".repeat(1_000_000)).expect("write a file");
    let upload = format!("@{}", upload.display());
    let sum = "1000000 c5a9912916bf6025\n";
    for _ in 0..20 {
        assert_eq!(ask("/hello", &[]), "hello\n");
        // nginx sends no more of a request whose answer has begun: this one reads it first.
        assert_eq!(ask("/echo-late", &["--data-binary", &upload]), sum);
        assert_eq!(
            ask("/big?300000", &["-o", "/dev/null", "-w", "%{size_download}"]),
            "300000"
        );
        assert_eq!(ask("/trap", &["-o", "/dev/null", "-w", "%{http_code}"]), "500");
    }
    // What comes in chunks and with a length, one after the other, is no reason to hang up.
    let chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", &upload];
    assert_eq!(ask("/echo-late", &chunked), sum);
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_browser_shows_what_a_guest_says }
fn a_browser_shows_what_a_guest_says(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&["--idle-timeout", "infinity"]);
    let profile = format!("--user-data-dir={}", world.path("profile").display());
    let output = Command::new("chromium-headless-shell")
        .args(["--headless", "--no-sandbox", "--disable-gpu", &profile])
        .args(["--dump-dom", &address.url("/head")])
        .env("HOME", world.path("run"))
        .output()
        .expect("run chromium-headless-shell");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(":method: GET\n:path: /head\n"), "{shown}");
    host.log.expect("GET /head 200");
    host.expect_in_flight(0);
}

#[test]
fn a_slow_reader_gets_all_of_it() {
    for kind in [Kind::P2, Kind::P3] {
        let world = World::new(kind);
        let address = world.web_port("web", "");
        let host = world.start(&[]);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let url = address.url("/big?6000000");
            let got = curl(&["--limit-rate", "3M", version, &url]);
            assert_eq!(got.len(), 6_000_000);
            let wrong = got.iter().enumerate().find(|(n, b)| (n % 251) as u8 != **b);
            assert_eq!(wrong, None, "the first wrong byte");
        }
        host.expect_in_flight(0);
    }
}
