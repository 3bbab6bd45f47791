//! Throughput while awake: HTTP beside `wasmtime serve`, UDP beside a native program.

use crate::activate::{Process, start_with};
use crate::statistics::Times;
use crate::{Artifacts, Program, Promise, Result, host};
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one contender is under load before it is another's turn.
const TURN: Duration = Duration::from_secs(3);

const TURNS: usize = 5;

/// Clients that wait for an answer at the same time.
const CLIENTS: usize = 16;

/// What one contender did in one turn.
struct Turn {
    per_second: f64,
    /// Of CPU time.
    per_cpu_second: f64,
}

/// CPU time of a process and its threads so far (`proc_pid_stat(5)`).
fn cpu_time(pid: i32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks = |n| -> Result<u64> {
        let field = fields.split_whitespace().nth(n).ok_or("no CPU time")?;
        Ok(field.parse()?)
    };
    // Ticks are 10 ms on Linux, whatever the kernel's own are.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

fn measure(pid: i32, load: impl FnOnce() -> Result<u64>) -> Result<Turn> {
    let (cpu, began) = (cpu_time(pid)?, Instant::now());
    let count = load()? as f64;
    let took = began.elapsed().as_secs_f64();
    let cpu = (cpu_time(pid)? - cpu).as_secs_f64();
    Ok(Turn {
        per_second: count / took,
        per_cpu_second: count / cpu,
    })
}

/// Lets the contenders take turns, and prints what each did; medians of the ratios to the first.
fn compare(
    contenders: &[(&str, i32)],
    load: impl Fn(usize) -> Result<u64>,
) -> Result<Vec<(f64, f64)>> {
    let mut turns: Vec<(Times, Times)> = contenders.iter().map(|_| Default::default()).collect();
    for _ in 0..TURNS {
        for (index, ((_, pid), (rate, cpu))) in contenders.iter().zip(&mut turns).enumerate() {
            let turn = measure(*pid, || load(index))?;
            rate.add(turn.per_second);
            cpu.add(turn.per_cpu_second);
        }
    }
    let (rate, cpu) = (turns[0].0.median(), turns[0].1.median());
    let mut ratios = Vec::new();
    for ((name, _), (own_rate, own_cpu)) in contenders.iter().zip(&turns) {
        let (own_rate, own_cpu) = (own_rate.median(), own_cpu.median());
        ratios.push((own_rate / rate, own_cpu / cpu));
        println!(
            "  {name:32} {own_rate:10.0} {own_cpu:14.0}  {:8.2} {:8.2}",
            own_rate / rate,
            own_cpu / cpu
        );
    }
    Ok(ratios)
}

/// A program that listens at a port of its own; ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `wasmtime serve` with the same component, compiled by itself.
fn wasmtime_serve(wasmtime: &Path, component: &Path, folder: &Path) -> Result<(Server, String)> {
    let artifact = folder.join("peer.cwasm");
    let compile = Command::new(wasmtime)
        .args(["compile", "-o"])
        .args([&artifact, component])
        .status()?;
    if !compile.success() {
        return Err("wasmtime cannot compile the component".into());
    }
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let server = Command::new(wasmtime)
        .args([
            "serve",
            "-S",
            "cli",
            "--allow-precompiled",
            "--addr",
            &address,
        ])
        .arg(&artifact)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let server = Server(server);
    let give_up = Instant::now() + Duration::from_secs(20);
    while let Err(error) = TcpStream::connect(&address) {
        if Instant::now() > give_up {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((server, address))
}

/// Requests that were answered in a [`TURN`], by `wrk`.
fn wrk(address: &str, path: &str) -> Result<u64> {
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CLIENTS}"),
            &format!("-d{}", TURN.as_secs()),
        ])
        .arg(format!("http://{address}{path}"))
        .output()
        .map_err(|error| format!("wrk: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("wrk met errors:\n{text}").into());
    }
    let line = text.lines().find(|line| line.contains(" requests in "));
    let count = line.and_then(|line| line.split_whitespace().next());
    Ok(count.ok_or("wrk counted nothing")?.parse()?)
}

pub fn http(
    build: &Path,
    artifacts: &Artifacts,
    wasmtime: &Path,
    promises: &mut Vec<Promise>,
) -> Result<()> {
    println!(
        "HTTP, keep-alive, {CLIENTS} clients        requests/s  per CPU second  × wasmtime serve"
    );
    for (world, guest, path, what, bound) in [
        ("p2", "http-hello", "/", "HTTP 0.2", 1.5),
        ("p3", "http-actor", "/hello", "HTTP 0.3, reused", 1.2),
    ] {
        let component = build.join(format!("guests/{world}/{guest}.wasm"));
        let folder = tempfile::tempdir()?;
        let (peer, peer_address) = wasmtime_serve(wasmtime, &component, folder.path())?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let program = host(build, &artifacts.path(world, guest));
        let process = start_with(&program, vec![listener.into()])?;
        let (ours, theirs) = (
            format!("{what}, wasm-sock"),
            format!("{what}, wasmtime serve"),
        );
        let contenders = [(theirs.as_str(), peer.0.id() as i32), (&ours, process.pid)];
        let ratios = compare(&contenders, |index| {
            wrk([&peer_address, &address][index], path)
        })?;
        let (rate, cpu) = ratios[1];
        let unit = "× wasmtime serve";
        promises.push(Promise::at_least(
            format!("{what}, requests per second"),
            rate,
            bound,
            unit,
        ));
        promises.push(Promise::at_least(
            format!("{what}, per CPU second"),
            cpu,
            bound,
            unit,
        ));
    }
    Ok(())
}

/// Sends from many sockets, one datagram from each at a time, and counts the answers.
fn datagrams(server: std::net::SocketAddr) -> Result<u64> {
    let client = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(socket)
    };
    let clients = (0..CLIENTS)
        .map(|_| client())
        .collect::<io::Result<Vec<_>>>()?;
    let (mut count, began, mut buffer) = (0, Instant::now(), [0; 64]);
    while began.elapsed() < TURN {
        for client in &clients {
            client.send(b"how do you do")?;
        }
        for client in &clients {
            client.recv(&mut buffer)?;
        }
        count += CLIENTS as u64;
    }
    Ok(count)
}

pub fn udp(build: &Path, artifacts: &Artifacts, promises: &mut Vec<Promise>) -> Result<()> {
    println!("UDP, {CLIENTS} clients                     datagrams/s  per CPU second  × native");
    let native = Program::new(&[build.join("udp-echo")]);
    let programs = [
        ("native, tokio", native),
        (
            "echo, core module",
            host(build, &artifacts.path("p1", "echo")),
        ),
        (
            "echo, component",
            host(build, &artifacts.path("p2", "echo")),
        ),
    ];
    let mut running: Vec<(&str, Process, std::net::SocketAddr)> = Vec::new();
    for (name, program) in &programs {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        running.push((name, start_with(program, vec![socket.into()])?, address));
    }
    let contenders: Vec<(&str, i32)> = running
        .iter()
        .map(|(name, process, _)| (*name, process.pid))
        .collect();
    let ratios = compare(&contenders, |index| datagrams(running[index].2))?;
    let what = "UDP, one instance for each datagram";
    promises.push(Promise::at_least(what, ratios[1].0, 0.4, "× native"));
    Ok(())
}

/// Where `make bench` put the peer.
pub fn wasmtime(build: &Path) -> PathBuf {
    build.join("peers/bin/wasmtime")
}

/// Asks for `/` and reads nothing.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
