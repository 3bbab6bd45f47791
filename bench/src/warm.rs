//! Streams while awake: one connection is to connect, to echo a line, and to close.

use crate::activate::{awake, listening};
use crate::peers::{self, Peer};
use crate::plot::{Bar, Chart, Content};
use crate::process::{Process, Program};
use crate::report::Report;
use crate::turns::{Contender, alternate};
use crate::{Bench, Result, clients};
use std::net::SocketAddr;

const NATIVE: &str = "native, tokio";
const CORE: &str = "wasm-sock, core module";
const COMPONENT: &str = "wasm-sock, component";

type Server = (&'static str, Process, SocketAddr);

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = servers(bench, report)?;
    let contenders: Vec<Contender> = servers
        .iter()
        .map(|(name, process, address)| Contender {
            name,
            process,
            load: Box::new(|| clients::echo_lines(*address, &bench.effort)),
        })
        .collect();
    let all = alternate(&contenders, bench.effort.turns)?;
    let title = format!("Streams, {} clients: connect, echo a line, close", bench.effort.clients);
    report.table(all.table(&title, "connections per second"));
    let native = all.of(NATIVE)?;
    for (name, kind) in [(CORE, "core module"), (COMPONENT, "component")] {
        let own = all.of(name)?;
        let mut measure = |what: &str, value| report.measure(&format!("{what}, {kind}"), value);
        measure("CPU per connection", own.cpu.turn_by_turn(&native.cpu))?;
        measure("connections per second", own.rate.turn_by_turn(&native.rate))?;
        measure("p99 under load", own.p99.turn_by_turn(&native.p99))?;
    }
    let bars = all.turns.iter().map(|turns| Bar {
        label: turns.name.clone(),
        value: turns.cpu.median(),
        ours: turns.name.starts_with("wasm-sock"),
    });
    report.chart(Chart {
        file: "connection.svg",
        title: "Warm: server CPU time of a connection, in µs".into(),
        subtitle: "Connect, echo a line, close; 16 clients; logarithmic, shorter is better".into(),
        content: Content::Bars {
            bars: bars.collect(),
            logarithmic: true,
        },
    });
    Ok(())
}

fn servers(bench: &Bench, report: &mut Report) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    let programs = [
        (NATIVE, Program::new([bench.build.join("tcp-echo")])),
        (CORE, bench.awake_host("p1", "echo")),
        (COMPONENT, bench.awake_host("p2", "echo")),
    ];
    for (name, program) in programs {
        let (process, address) = awake(&program)?;
        servers.push((name, process, address));
    }
    let native = bench.build.join("inetd-echo");
    let wasmtime = bench.peers.wasmtime_run(bench, "p1", "echo")?;
    let accept = wasmtime.map(|command| bench.peers.accept(&command));
    let peers: [(&str, Option<Peer>); 3] = [
        ("inetd, a C program each", bench.peers.inetd(&bench.scratch, &native)?),
        ("xinetd, a C program each", bench.peers.xinetd(&bench.scratch, &native)?),
        ("Accept=yes, wasmtime run each", accept.transpose()?),
    ];
    for (name, peer) in peers {
        match peer {
            Some(Peer { program, address }) => {
                servers.push((name, listening(&program, address)?, address));
            }
            None => report.skip(name, peers::MISSING),
        }
    }
    Ok(servers)
}
