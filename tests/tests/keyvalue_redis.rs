//! Stores of a Redis server, Debian's: the same semantics, and a server that is away costs an error.

use harness::{Address, Authority, Kind, World, eventually, unpacked};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server, which ends with the test.
struct Server {
    child: Child,
    port: u16,
    socket: PathBuf,
}

impl Server {
    /// Starts a server that keeps what it has in `folder`, also when it is killed.
    fn start(folder: &Path, port: u16, more: &[&str]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let socket = folder.join("redis.sock");
        // One program has several names; by this one it is the server.
        let child = Command::new(unpacked("usr/bin/redis-server"))
            .arg0("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(folder)
            .arg("--unixsocket")
            .arg(&socket)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start redis-server (tools/setup tests)");
        let server = Self { child, port, socket };
        eventually("the server answers", || {
            server.try_say(b"PING\r\n").is_some_and(|answer| !answer.is_empty())
        });
        server
    }

    /// Says something to it, and returns the beginning of the answer.
    fn try_say(&self, command: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(command).ok()?;
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        // It does not answer commands before it has read what it had.
        (!answer.starts_with("-LOADING")).then_some(answer)
    }

    fn say(&self, command: &str) -> String {
        self.try_say(format!("{command}\r\n").as_bytes()).expect("an answer")
    }

    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn actor(world: &World, handler: &str, keyvalue: &str) -> Address {
    world.install(handler, "keyvalue-actor");
    world.configure(&format!("[handler.{handler}]\nkeyvalue = {{ {keyvalue} }}\n"));
    world.tcp(handler)
}

#[test]
fn both_drafts_do_with_a_server_what_they_do_with_the_embedded_store() {
    let world = World::new(Kind::P2);
    let server = Server::start(&world.path("redis"), free_port(), &[]);
    let address = actor(
        &world,
        "a",
        &format!("default = \"redis://127.0.0.1:{}/3\"", server.port),
    );
    let _egress = world.egress();
    let _host = world.start(&[]);
    let mut client = address.connect();
    for version in ["1", "2"] {
        let mut tell = |command: &str, answer: &str| client.tell(&format!("{version} {command}"), answer);
        tell("get default k", "none");
        tell("exists default k", "false");
        tell("list default", "");
        tell("set default k one", "done");
        tell("get default k", "=one");
        tell("exists default k", "true");
        tell("set-many default a=1 b=2", "done");
        tell("get-many default a x b", "a=1 none b=2");
        tell("delete-many default a b", "done");
        tell("list default", "k");
        tell("increment default n 41", "41");
        tell("increment default n 1", "42");
        tell("increment default k 1", "error: the value is not a whole number");
        tell("set-many default", "done");
        tell("delete-many default k n", "done");
    }
    client.tell("2 late default k", "failed, then swapped");
    client.tell("2 late default new", "failed, then swapped");
    client.tell("2 add default n -7", "1");
    client.tell("2 get default n", "=-7");
    // Keys begin with the names of handler and store, in database 3.
    assert!(server.say("SELECT 3\r\nGET a:default:n").contains("-7"));
}

#[test]
fn many_keys_are_listed_once_each() {
    let world = World::new(Kind::P2);
    let server = Server::start(&world.path("redis"), free_port(), &[]);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let address = actor(
        &world,
        "a",
        &format!("default = \"{url}\", all = {{ at = \"{url}\", prefix = \"\" }}"),
    );
    let _egress = world.egress();
    let _host = world.start(&[]);
    let mut client = address.connect();
    for thousand in 0..3 {
        let pairs: Vec<String> = (0..1000).map(|key| format!("{:05}=x", thousand * 1000 + key)).collect();
        client.tell(&format!("1 set-many default {}", pairs.join(" ")), "done");
    }
    server.say("SET else 1");
    for version in ["1", "2"] {
        let answer = client.ask(&format!("{version} list default"));
        assert!(answer.starts_with("3000 keys in "), "{answer}");
        let answer = client.ask(&format!("{version} list all"));
        assert!(answer.starts_with("3001 keys in "), "{answer}");
    }
    client.tell("1 get all else", "=1");
}

#[test]
fn a_unix_socket_a_password_and_an_expiry_are_as_configured() {
    let world = World::new(Kind::P2);
    let server = Server::start(&world.path("redis"), free_port(), &["--requirepass", "pass@word"]);
    let socket = server.socket.display();
    let keyvalue = format!(
        "default = {{ at = \"redis+unix://{socket}?pass=pass%40word\", expire = \"1s\" }}, \
         wrong = \"redis://:nonsense@127.0.0.1:{}\"",
        server.port
    );
    let address = actor(&world, "a", &keyvalue);
    let _egress = world.egress();
    let host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k v", "done");
    client.tell("1 get default k", "=v");
    client.tell("1 increment default n 1", "1");
    eventually("the entry has expired", || client.ask("1 get default k") == "none");
    eventually("the counter begins anew", || {
        client.ask("1 increment default n 1") == "1"
    });
    client.tell("1 get wrong k", "error: the server of the store cannot be reached");
    let log = host.log.expect("keyvalue: the server of store \"wrong\": ");
    assert!(!log.contains("nonsense") && !log.contains("pass@word"), "{log}");
}

#[test]
fn a_unix_socket_with_a_user_and_a_password() {
    let world = World::new(Kind::P2);
    let user = ["--user", "shop", "on", ">p@ss&word", "~*", "+@all"];
    let server = Server::start(&world.path("redis"), free_port(), &user);
    let socket = server.socket.display();
    let keyvalue = format!(
        "default = \"redis+unix://{socket}?db=2&user=shop&pass=p%40ss%26word\", \
         wrong = \"redis+unix://{socket}?user=shop&pass=nonsense\""
    );
    let address = actor(&world, "a", &keyvalue);
    let _egress = world.egress();
    let host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k v", "done");
    client.tell("1 get default k", "=v");
    assert!(server.say("SELECT 2\r\nGET a:default:k").contains("\r\nv"));
    let unreachable = "error: the server of the store cannot be reached";
    client.tell("1 get wrong k", unreachable);
    let log = host.log.expect("keyvalue: the server of store \"wrong\": ");
    assert!(!log.contains("nonsense") && !log.contains("p@ss"), "{log}");
}

/// A server that speaks TLS, too: the arguments for it, with a certificate for `name`.
fn tls(world: &World, authority: &Authority, name: &str, port: u16) -> Vec<String> {
    let (certificate, key) = authority.files(name);
    let file = |name: &str, text: &str| {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = file("server.pem", &certificate);
    let key = file("server.key", &key);
    let authority = file("authority.pem", &authority.pem());
    [
        ["--tls-port".to_owned(), port.to_string()],
        ["--tls-cert-file".to_owned(), certificate],
        ["--tls-key-file".to_owned(), key],
        ["--tls-ca-cert-file".to_owned(), authority],
        ["--tls-auth-clients".to_owned(), "no".to_owned()],
    ]
    .concat()
}

fn start_with_tls(world: &World, arguments: &[String], more: &[&str]) -> Server {
    let arguments = arguments.iter().map(String::as_str).chain(more.iter().copied());
    Server::start(&world.path("redis"), free_port(), &arguments.collect::<Vec<_>>())
}

/// A handler that trusts the authority whose certificate is in `roots`.
fn actor_with_roots(world: &World, keyvalue: &str, roots: &str) -> Address {
    let settings = format!("[handler.a]\nkeyvalue = {{ {keyvalue} }}\n{roots}");
    world.install("a", "keyvalue-actor");
    world.configure(&settings);
    world.tcp("a")
}

#[test]
fn a_server_that_speaks_tls_is_trusted_by_the_authority_in_tls_roots() {
    let (world, authority, port) = (World::new(Kind::P2), Authority::new(), free_port());
    let arguments = tls(&world, &authority, "localhost", port);
    let server = start_with_tls(&world, &arguments, &["--requirepass", "secret"]);
    let roots = format!("tls-roots = {:?}\n", world.path("authority.pem"));
    let url = format!("default = \"rediss://:secret@localhost:{port}/1\"");
    let address = actor_with_roots(&world, &url, &roots);
    let _egress = world.egress();
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k v", "done");
    client.tell("1 get default k", "=v");
    client.tell("2 increment default n 41", "41");
    client.tell("2 late default k", "failed, then swapped");
    // More than a record of TLS, and than a pipe holds.
    client.tell("1 set-size default large 1000000", "done");
    client.tell("1 size default large", "1000000");
    let answer = server.say("AUTH secret\r\nSELECT 1\r\nGET a:default:n");
    assert!(answer.contains("41"), "{answer}");
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_that_of_the_handler() {
    let (world, authority, port) = (World::new(Kind::P2), Authority::new(), free_port());
    let arguments = tls(&world, &authority, "localhost", port);
    let _server = start_with_tls(&world, &arguments, &["--tls-auth-clients", "yes"]);
    let (certificate, key) = authority.files("client.example");
    fs::write(world.path("client.pem"), certificate).unwrap();
    fs::write(world.path("client.key"), key).unwrap();
    let settings = |shown: bool| {
        let shown = match shown {
            true => format!(
                "tls-certificate = {:?}\ntls-key = {:?}\n",
                world.path("client.pem"),
                world.path("client.key")
            ),
            false => String::new(),
        };
        format!("tls-roots = {:?}\n{shown}", world.path("authority.pem"))
    };
    let url = format!("default = \"rediss://localhost:{port}\"");
    let address = actor_with_roots(&world, &url, &settings(true));
    world.install("b", "keyvalue-actor");
    world.configure(&format!("[handler.b]\nkeyvalue = {{ {url} }}\n{}", settings(false)));
    let bare = world.tcp("b");
    let _egress = world.egress();
    let host = world.start(&[]);
    address.connect().tell("1 set default k v", "done");
    bare.connect()
        .tell("1 get default k", "error: the server of the store cannot be reached");
    let line = host.log.expect("b: keyvalue: the server of store \"default\": ");
    assert!(line.contains("`tls-certificate`"), "{line}");
}

/// What the guest is told, and what the log says, of a server whose certificate is for `name`.
fn refused(name: &str, trusts: bool, expected: &str) {
    let (world, authority, port) = (World::new(Kind::P2), Authority::new(), free_port());
    let arguments = tls(&world, &authority, name, port);
    let _server = start_with_tls(&world, &arguments, &[]);
    let roots = match trusts {
        true => format!("tls-roots = {:?}\n", world.path("authority.pem")),
        false => String::new(),
    };
    let url = format!("default = \"rediss://localhost:{port}\"");
    let address = actor_with_roots(&world, &url, &roots);
    let _egress = world.egress();
    let host = world.start(&[]);
    let begin = Instant::now();
    address
        .connect()
        .tell("1 get default k", "error: the server of the store cannot be reached");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let line = host.log.expect("keyvalue: the server of store \"default\": ");
    assert!(line.contains(expected), "{line}");
}

#[test]
fn a_server_of_an_unknown_authority_is_refused_and_the_log_names_tls_roots() {
    refused(
        "localhost",
        false,
        "its authority is unknown (`tls-roots` names a file with others)",
    );
}

#[test]
fn a_server_with_the_certificate_of_another_name_is_refused_and_the_log_has_both_names() {
    refused("cache.example", true, "certificate not valid for name \"localhost\"");
}

/// TLS to a port without it, and the other way round: what a mistake in the address looks like.
#[test]
fn a_server_that_does_not_speak_tls_is_named_in_the_log() {
    let (world, authority, port) = (World::new(Kind::P2), Authority::new(), free_port());
    let arguments = tls(&world, &authority, "localhost", port);
    let server = start_with_tls(&world, &arguments, &[]);
    let keyvalue = format!(
        "plain = \"rediss://localhost:{}\", tls = \"redis://localhost:{port}\"",
        server.port
    );
    let address = actor_with_roots(&world, &keyvalue, "");
    let _egress = world.egress();
    let host = world.start(&[]);
    let mut client = address.connect();
    for store in ["plain", "tls"] {
        let begin = Instant::now();
        let unreachable = "error: the server of the store cannot be reached";
        client.tell(&format!("1 get {store} k"), unreachable);
        host.log.expect(&format!("keyvalue: the server of store \"{store}\": "));
        // A server of plain text takes the first bytes of TLS for a command that is not complete.
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
}

#[test]
fn increments_and_swaps_of_guests_in_two_hosts_lose_nothing() {
    let world = World::new(Kind::P2);
    let server = Server::start(&world.path("redis"), free_port(), &[]);
    let address = actor(&world, "a", &format!("default = \"redis://localhost:{}\"", server.port));
    let _egress = world.egress();
    let (_one, _two) = (world.start(&[]), world.start(&[]));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = address.connect();
                for _ in 0..10 {
                    let sum = client.ask("2 increment default n 1");
                    assert!(sum.parse::<i64>().is_ok(), "{sum}");
                    let attempts = client.ask("2 add default swapped 1");
                    assert!(attempts.parse::<u32>().is_ok(), "{attempts}");
                }
            });
        }
    });
    let mut client = address.connect();
    client.tell("2 get default n", "=80");
    client.tell("2 get default swapped", "=80");
}

#[test]
fn a_server_that_is_killed_costs_errors_until_it_is_back_and_keeps_what_was_acknowledged() {
    let world = World::new(Kind::P2);
    let (folder, port) = (world.path("redis"), free_port());
    let server = Server::start(&folder, port, &[]);
    let address = actor(&world, "a", &format!("default = \"redis://127.0.0.1:{port}\""));
    let _egress = world.egress();
    let host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k v", "done");
    server.kill();
    let begin = Instant::now();
    for _ in 0..3 {
        client.tell("1 get default k", "error: the server of the store cannot be reached");
        client.tell(
            "1 increment default n 1",
            "error: the server of the store cannot be reached",
        );
    }
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "an error, no hang: {:?}",
        begin.elapsed()
    );
    host.log.expect("keyvalue: the server of store \"default\": ");
    let _server = Server::start(&folder, port, &[]);
    client.tell("1 get default k", "=v");
    client.tell("1 increment default n 1", "1");
}

/// It accepts connections, and says nothing.
#[test]
fn a_silent_server_costs_an_error_after_5_seconds_and_holds_up_no_other_guest() {
    let world = World::new(Kind::P2);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = actor(
        &world,
        "a",
        &format!("default = \"redis://127.0.0.1:{port}/1\", own = \"embedded\""),
    );
    let _egress = world.egress();
    let _host = world.start(&[]);
    let mut client = address.connect();
    let begin = Instant::now();
    client.send("1 get default k\n");
    address.connect().tell("1 set own k v", "done");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(client.line(), "error: the server of the store cannot be reached");
    assert!(begin.elapsed() > Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn a_full_server_says_so_to_the_guest() {
    let world = World::new(Kind::P2);
    let server = Server::start(
        &world.path("redis"),
        free_port(),
        &["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"],
    );
    let address = actor(&world, "a", &format!("default = \"redis://127.0.0.1:{}\"", server.port));
    let _egress = world.egress();
    let _host = world.start(&[]);
    let mut client = address.connect();
    let mut answers = (0..100).map(|key| client.ask(&format!("1 set-size default k{key} 100000")));
    let refused = answers.find(|answer| answer != "done").expect("it is full after 10 MB");
    assert!(
        refused.contains("the server of the store says: ") && refused.contains("maxmemory"),
        "{refused}"
    );
    assert_eq!(client.ask("1 size default k0"), "100000");
}

#[test]
fn without_egress_the_guest_gets_an_error_and_the_log_says_what_to_do() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", "default = \"redis://127.0.0.1:1\"");
    let host = world.start(&[]);
    address
        .connect()
        .tell("1 get default k", "error: the server of the store cannot be reached");
    host.log.expect("wasm-sock-egress.socket");
}
