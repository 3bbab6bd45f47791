//! What an awake host and an open connection cost in memory.

use crate::activate::{ask, awake, listening, start_with};
use crate::handlers::Handlers;
use crate::http::REQUEST;
use crate::peers;
use crate::plot::{Bar, Chart, Content};
use crate::process::{Process, Program};
use crate::report::{Report, Table};
use crate::{Bench, PATIENCE, Result, tree};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// As many connections as one handler may have without any configuration.
const CONNECTIONS: usize = 255;

const SERVICES: usize = 30;
const BURST: usize = 1000;
const MIB: f64 = 1_048_576.0;

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut bars = one_handler(bench, report)?;
    bars.extend(thirty_handlers(bench, report)?);
    report.chart(Chart {
        file: "memory.svg",
        title: "Memory awake, in MiB".into(),
        subtitle: "Proportional set size of all processes after one answer; logarithmic, shorter is better".into(),
        content: Content::Bars {
            bars,
            logarithmic: true,
        },
    });
    after_a_burst(bench, report)?;
    idle_connections(bench, report)
}

/// Somebody calls, says `words`, and hears all of the answer or the first byte of it.
fn call(address: SocketAddr, words: &[u8]) -> Result<TcpStream> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    ask(&mut client, words)?;
    Ok(client)
}

fn bar(label: &str, bytes: f64) -> Bar {
    Bar {
        label: label.into(),
        value: bytes / MIB,
        ours: label.starts_with("wasm-sock"),
    }
}

/// Everybody after one answer, one after the other: nobody shares with a second of its kind.
fn one_handler(bench: &Bench, report: &mut Report) -> Result<Vec<Bar>> {
    let mut table = Table::new("Memory awake, after one answer", &["", "PSS KiB"]);
    let mut bars = Vec::new();
    let mut tell = |name: &str, bytes: f64| {
        table.row(name, &[bytes / 1024.0]);
        bars.push(bar(name, bytes));
    };
    let hosts: [(_, _, _, &[u8], _); 3] = [
        ("core module", "p1", "hello", b"", true),
        ("component", "p2", "hello", b"", true),
        ("HTTP component", "p2", "http-hello", REQUEST, false),
    ];
    for (kind, world, guest, words, promised) in hosts {
        let (process, address) = awake(&bench.host(world, guest))?;
        let mut client = call(address, words)?;
        if words.is_empty() {
            client.read_to_end(&mut Vec::new())?;
        }
        let pss = tree::pss(&process)?;
        if promised {
            report.measure(&format!("one handler awake, {kind}"), pss)?;
        }
        tell(&format!("wasm-sock, {kind}"), pss);
    }
    let (process, address) = awake(&Program::new([bench.build.join("tcp-echo")]))?;
    call(address, b".")?;
    tell("native, tokio", tree::pss(&process)?);
    let peers = [
        ("nginx, a constant", bench.peers.nginx(&bench.scratch, None)?),
        ("wasmtime serve", bench.peers.wasmtime_serve(bench, "p2", "http-hello")?),
        ("workerd, JavaScript", bench.peers.workerd()?),
    ];
    for (name, peer) in peers {
        match peer {
            Some(peer) => {
                let process = listening(&peer.program, peer.address)?;
                call(peer.address, REQUEST)?;
                tell(name, tree::pss(&process)?);
            }
            None => report.skip(name, peers::MISSING),
        }
    }
    report.table(table);
    Ok(bars)
}

/// Thirty handlers in one service, beside thirty services in Python.
fn thirty_handlers(bench: &Bench, report: &mut Report) -> Result<Vec<Bar>> {
    let service = Handlers::new(bench, SERVICES, "p1", "hello", "")?.start(SERVICES)?;
    for address in &service.addresses {
        call(*address, b"")?.read_to_end(&mut Vec::new())?;
    }
    let ours = tree::pss(&service.process)?;
    let script = ["/usr/bin/python3".into(), bench.build.join("service.py")];
    let services = (0..SERVICES)
        .map(|_| awake(&Program::new(&script)))
        .collect::<Result<Vec<(Process, SocketAddr)>>>()?;
    for (_, address) in &services {
        call(*address, b"")?.read_to_end(&mut Vec::new())?;
    }
    let mut theirs = 0.0;
    for (process, _) in &services {
        theirs += tree::pss(process)?;
    }
    let mut table = Table::new("Thirty of them awake, each after one answer", &["", "PSS KiB"]);
    let names = ["wasm-sock, 30 handlers", "30 Python services"];
    table.row(names[0], &[ours / 1024.0]);
    table.row(names[1], &[theirs / 1024.0]);
    report.table(table);
    report.measure("30 handlers awake in one service", ours)?;
    report.measure("30 Python services beside 30 handlers", theirs / ours)?;
    Ok(vec![bar(names[0], ours), bar(names[1], theirs)])
}

/// A thousand connections at the same time, and five seconds later.
fn after_a_burst(bench: &Bench, report: &mut Report) -> Result<()> {
    let columns = ["", "before KiB", "in it KiB", "5 s later KiB"];
    let mut table = Table::new(format!("A burst of {BURST} connections"), &columns);
    for (kind, world) in [("core module", "p1"), ("component", "p2")] {
        let open = "max-connections = 2000\nmax-connections-per-source = \"infinity\"\n";
        let service = Handlers::new(bench, 1, world, "echo", open)?.start(1)?;
        drop(call(service.address()?, b".")?);
        thread::sleep(Duration::from_millis(200));
        let before = tree::pss(&service.process)?;
        let clients = (0..BURST)
            .map(|_| call(service.address()?, b"."))
            .collect::<Result<Vec<_>>>()?;
        let within = tree::pss(&service.process)?;
        drop(clients);
        let after = settled(&service.process, before)?;
        table.row(kind, &[before / 1024.0, within / 1024.0, after / 1024.0]);
        let what = format!("kept 5 s after a burst of 1,000 connections, {kind}");
        report.measure(&what, after - before)?;
    }
    report.table(table);
    Ok(())
}

/// What a process has after five seconds, or as soon as it has given back all that it had taken.
fn settled(process: &Process, before: f64) -> Result<f64> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let now = tree::pss(process)?;
        if now <= before || Instant::now() >= end {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What one more connection costs that is open and says nothing.
fn idle_connections(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut table = Table::new("An idle connection", &["", "KiB"]);
    let kinds = [
        ("core module", "p1", "idle", true),
        ("core module, in Rust", "p1", "echo", false),
        ("component", "p2", "echo", true),
    ];
    for (kind, world, guest, promised) in kinds {
        let each = each_connection(bench, world, guest)?;
        table.row(kind, &[each / 1024.0]);
        if promised {
            report.measure(&format!("idle connection, {kind}"), each)?;
        }
    }
    report.table(table);
    Ok(())
}

fn each_connection(bench: &Bench, world: &str, guest: &str) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let process = start_with(&bench.host(world, guest), vec![listener.into()])?;
    let _first = call(address, b".")?;
    let before = tree::pss(&process)?;
    let clients = (0..CONNECTIONS)
        .map(|_| call(address, b"."))
        .collect::<Result<Vec<_>>>()?;
    Ok((tree::pss(&process)? - before) / clients.len() as f64)
}
