//! Clients of databases in a guest, against the servers that Debian has.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::{Kind, World, eventually, unpacked};

/// A server, which ends with the test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command, address: SocketAddr) -> Self {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, address };
        eventually(&format!("{command:?} listens"), || TcpStream::connect(address).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What the guest tells that plays `part` with this server.
fn guest(part: &str, server: &Server) -> String {
    let world = World::new(Kind::P2);
    world.install_wasm("db", "databases");
    let address = server.address;
    world.configure(&format!(
        "[handler.db]\nargs = [{part:?}, \"{address}\"]\nallow-outbound = [\"{address}\"]\ntimeout = \"5min\"\n"
    ));
    let port = world.tcp("db");
    let _egress = world.egress();
    let _host = world.start(&[]);
    port.knock().text()
}

#[test]
fn a_redis_client_in_a_guest_talks_to_a_redis_server() {
    let address = free_address();
    let mut command = Command::new(unpacked("usr/bin/redis-server"));
    // What it is called decides what it is: it is a link to a program that checks files.
    command.arg0("redis-server").args([
        "--port",
        &address.port().to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(command.current_dir(folder.path()), address);
    assert_eq!(guest("redis", &server), "greeting hello, count 2, large true\n");
}

/// Not a user of this machine's own: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// The programs of PostgreSQL, whose folder has the version in its name.
fn programs() -> PathBuf {
    let versions = unpacked("usr/lib/postgresql");
    let mut versions = fs::read_dir(versions).unwrap();
    versions.next().expect("a version").unwrap().path().join("bin")
}

fn postgres(program: &str, data: &Path) -> Command {
    let mut command = Command::new(programs().join(program));
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(data).env("LC_ALL", "C");
    command
}

#[test]
fn a_postgres_client_in_a_guest_logs_in_and_queries_a_postgres_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let password = data.join("password");
    fs::write(&password, "secret\n").unwrap();
    for path in [data, &password] {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let share = unpacked("usr/share/postgresql");
    let share = fs::read_dir(share).unwrap().next().expect("a version").unwrap().path();
    let mut init = postgres("initdb", data);
    init.arg("-L").arg(&share).arg("-D").arg(data.join("db"));
    init.args(["-U", "guest", "-A", "scram-sha-256", "--no-sync", "--pwfile"])
        .arg(&password);
    let output = init.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let address = free_address();
    let mut command = postgres("postgres", data);
    command
        .arg("-D")
        .arg(data.join("db"))
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
    command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
    let server = Server::start(&mut command, address);
    assert_eq!(guest("postgres", &server), "rows 3, sum 42\n");
}
