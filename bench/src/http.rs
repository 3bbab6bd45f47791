//! HTTP while awake: requests a second, and what they cost.

use crate::activate::{awake, listening};
use crate::peers;
use crate::plot::{Bar, Chart, Content};
use crate::process::Process;
use crate::report::Report;
use crate::turns::{Contender, Load, alternate};
use crate::{Bench, Effort, Result};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Asks for `/` and reads nothing.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// Makes wrk say what it counted in one line.
const SCRIPT: &str = include_str!("../wrk.lua");

/// Load by `wrk` for some seconds, from clients that keep their connections.
fn wrk(address: SocketAddr, path: &str, effort: &Effort) -> Result<Load> {
    let script = tempfile::Builder::new().suffix(".lua").tempfile()?;
    std::fs::write(script.path(), SCRIPT)?;
    let seconds = effort.turn.as_secs().max(1);
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{}", effort.clients), &format!("-d{seconds}")])
        .arg("-s")
        .arg(script.path())
        .arg(format!("http://{address}{path}"))
        .output()
        .map_err(|error| format!("wrk: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("counted "));
    let numbers: Vec<f64> = line
        .unwrap_or_default()
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    let [requests, took, errors, p10, median, p99] = numbers[..] else {
        return Err(format!("wrk counted nothing:\n{text}").into());
    };
    if errors > 0.0 || requests == 0.0 {
        return Err(format!("wrk met {errors} errors in {requests} requests").into());
    }
    Ok(Load {
        count: requests as u64,
        took: Duration::from_secs_f64(took / 1e6),
        p10,
        median,
        p99,
    })
}

/// A server, and who it is.
struct Server {
    name: &'static str,
    process: Process,
    address: SocketAddr,
}

impl Server {
    fn ours(name: &'static str, bench: &Bench, world: &str, guest: &str) -> Result<Self> {
        let (process, address) = awake(&bench.awake_host(world, guest))?;
        Ok(Self { name, process, address })
    }

    fn contender<'a>(&'a self, path: &'static str, effort: &'a Effort) -> Contender<'a> {
        Contender {
            name: self.name,
            process: &self.process,
            load: Box::new(move || wrk(self.address, path, effort)),
        }
    }
}

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    one_instance_a_request(bench, report)?;
    reused_instances(bench, report)
}

/// Everybody who answers with a greeting.
fn servers(bench: &Bench, report: &mut Report) -> Result<Vec<Server>> {
    let mut servers = vec![Server::ours("wasm-sock, HTTP 0.2", bench, "p2", "http-hello")?];
    let mut add = |name, peer: Option<peers::Peer>| -> Result<()> {
        match peer {
            Some(peer) => servers.push(Server {
                name,
                process: listening(&peer.program, peer.address)?,
                address: peer.address,
            }),
            None => report.skip(name, peers::MISSING),
        }
        Ok(())
    };
    add("wasmtime serve", bench.peers.wasmtime_serve(bench, "p2", "http-hello")?)?;
    add("workerd, JavaScript", bench.peers.workerd()?)?;
    add("nginx, a constant", bench.peers.nginx(&bench.scratch, None)?)?;
    Ok(servers)
}

fn one_instance_a_request(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = servers(bench, report)?;
    let contenders: Vec<Contender> = servers
        .iter()
        .map(|server| server.contender("/", &bench.effort))
        .collect();
    let all = alternate(&contenders, bench.effort.turns)?;
    report.table(all.table(
        &format!("HTTP, {} clients, keep-alive", bench.effort.clients),
        "requests per second",
    ));
    let ours = all.of("wasm-sock, HTTP 0.2")?;
    if let Ok(peer) = all.of("wasmtime serve") {
        report.measure("HTTP 0.2, requests per second", ours.rate.turn_by_turn(&peer.rate))?;
        report.measure("HTTP 0.2, requests per CPU second", peer.cpu.turn_by_turn(&ours.cpu))?;
    }
    if let Ok(peer) = all.of("workerd, JavaScript") {
        report.measure(
            "HTTP 0.2, requests per CPU second, beside workerd",
            peer.cpu.turn_by_turn(&ours.cpu),
        )?;
    }
    let bars = all.turns.iter().map(|turns| Bar {
        label: turns.name.clone(),
        value: 1e6 / turns.cpu.median(),
        ours: turns.name.starts_with("wasm-sock"),
    });
    report.chart(Chart {
        file: "http.svg",
        title: "Warm HTTP: requests per second of CPU time".into(),
        subtitle: format!(
            "{} clients, keep-alive; a fresh instance for each request of wasm-sock and wasmtime; logarithmic, longer is better",
            bench.effort.clients
        ),
        content: Content::Bars { bars: bars.collect(), logarithmic: true },
    });
    Ok(())
}

/// Instances of WASI 0.3, which both sides use again.
fn reused_instances(bench: &Bench, report: &mut Report) -> Result<()> {
    let Some(peer) = bench.peers.wasmtime_serve(bench, "p3", "http-actor")? else {
        report.skip("wasmtime serve, HTTP 0.3", peers::MISSING);
        return Ok(());
    };
    let servers = [
        Server::ours("wasm-sock, HTTP 0.3", bench, "p3", "http-actor")?,
        Server {
            name: "wasmtime serve, HTTP 0.3",
            process: listening(&peer.program, peer.address)?,
            address: peer.address,
        },
    ];
    let contenders = servers
        .each_ref()
        .map(|server| server.contender("/hello", &bench.effort));
    let all = alternate(&contenders, bench.effort.turns)?;
    report.table(all.table("HTTP 0.3, instances used again", "requests per second"));
    let (ours, peer) = (&all.turns[0], &all.turns[1]);
    report.measure(
        "HTTP 0.3, reused, requests per second",
        ours.rate.turn_by_turn(&peer.rate),
    )?;
    report.measure(
        "HTTP 0.3, reused, requests per CPU second",
        peer.cpu.turn_by_turn(&ours.cpu),
    )
}
