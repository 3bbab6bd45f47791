//! What grows with the number of handlers and of connections, and what must not.

use crate::activate::{ask, cold_start, settle};
use crate::handlers::Handlers;
use crate::plot::{Chart, Content, Line};
use crate::process::Process;
use crate::promises::number;
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::turns::{Comparison, Contender, alternate};
use crate::{Bench, PATIENCE, Result, clients};
use std::net::{SocketAddr, TcpStream};

/// So many connections at once need to be allowed.
const OPEN: &str = "max-connections = 20000\nmax-connections-per-source = \"infinity\"\n\
                    idle-connection-timeout = \"infinity\"\ntimeout = \"infinity\"\n";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    cold_starts(bench, report)?;
    let handlers = with_handlers(bench, report)?;
    let idle = beside_idle_connections(bench, report)?;
    report.chart(Chart {
        file: "scale.svg",
        title: "CPU time of a connection, in µs".into(),
        subtitle: "Connect, echo a line, close; core module; flat is good".into(),
        content: Content::Lines {
            places: "handlers in the service, or idle connections beside it",
            lines: vec![handlers, idle],
        },
    });
    Ok(())
}

/// One handler, the configuration of a thousand, and a thousand sockets, too.
fn cold_starts(bench: &Bench, report: &mut Report) -> Result<()> {
    let one = Handlers::new(bench, 1, "p1", "hello", "")?;
    let thousand = Handlers::new(bench, 1000, "p1", "hello", "")?;
    let contenders = [
        ("1 handler, 1 socket", &one, 1),
        ("1,000 handlers, 1 socket", &thousand, 1),
        ("1,000 handlers, 1,000 sockets", &thousand, 1000),
    ];
    for (_, handlers, sockets) in contenders {
        settle(&handlers.program(sockets), sockets, b"")?;
    }
    let mut times = contenders.map(|_| Samples::default());
    for _ in 0..bench.effort.rounds.div_ceil(4) {
        for ((_, handlers, sockets), times) in contenders.iter().zip(&mut times) {
            times.add(cold_start(&handlers.program(*sockets), *sockets, b"")?);
        }
    }
    let mut table = Table::new("Cold starts of many handlers", &["", "p10 µs", "median µs"]);
    for ((name, ..), times) in contenders.iter().zip(&times) {
        table.row(name, &[times.p10(), times.median()]);
    }
    report.table(table);
    let [base, configured, all] = &times;
    // Nothing else is different between these two.
    report.measure("configuration of 1,000 handlers", configured.median() - base.median())?;
    report.measure("cold start, 1,000 handlers and sockets", all.median())
}

/// The CPU time of each place, from few to many, as a line of the chart.
fn line(label: &str, places: &[usize], all: &Comparison) -> Line {
    let each = places.iter().zip(&all.turns);
    Line {
        label: label.into(),
        points: each.map(|(place, turns)| (*place as f64, turns.cpu.median())).collect(),
    }
}

/// The last of them beside the first.
fn growth(all: &Comparison) -> Result<f64> {
    let (first, last) = (all.turns.first().ok_or("none")?, all.turns.last().ok_or("none")?);
    Ok(last.cpu.turn_by_turn(&first.cpu))
}

/// Hosts with ever more handlers, all of which have their socket; one of them is in demand.
fn with_handlers(bench: &Bench, report: &mut Report) -> Result<Line> {
    let places = bench.effort.handlers;
    let mut hosts = Vec::new();
    for &count in places {
        let service = Handlers::new(bench, count, "p1", "echo", "")?.start(count)?;
        let address = service.address()?;
        ask(&mut connect(address)?, b".")?;
        hosts.push((format!("{} in all", number(count as f64)), service, address));
    }
    let contenders: Vec<Contender> = hosts
        .iter()
        .map(|(name, service, address)| echo(bench, name, &service.process, *address))
        .collect();
    let all = alternate(&contenders, bench.effort.turns)?;
    report.table(all.table(
        "Handlers in one service, one of them in demand",
        "connections per second",
    ));
    report.measure("CPU per connection with 1,000 handlers", growth(&all)?)?;
    Ok(line("handlers", places, &all))
}

fn echo<'a>(bench: &'a Bench, name: &'a str, process: &'a Process, address: SocketAddr) -> Contender<'a> {
    Contender {
        name,
        process,
        load: Box::new(move || clients::echo_lines(address, &bench.effort)),
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// A host that holds ever more connections, all of which have heard their echo and say no more.
fn beside_idle_connections(bench: &Bench, report: &mut Report) -> Result<Line> {
    let places = bench.effort.idle;
    let mut hosts = Vec::new();
    for &count in places {
        let service = Handlers::new(bench, 1, "p1", "idle", OPEN)?.start(1)?;
        let address = service.address()?;
        let (clients, error) = hold(address, count);
        if let Some(error) = error {
            println!("\nof {count} connections {} were held: {error}", clients.len());
        }
        hosts.push((
            format!("{} idle", number(clients.len() as f64)),
            service,
            address,
            clients,
        ));
    }
    let contenders: Vec<Contender> = hosts
        .iter()
        .map(|(name, service, address, _)| echo(bench, name, &service.process, *address))
        .collect();
    let all = alternate(&contenders, bench.effort.turns)?;
    report.table(all.table("Beside idle connections", "connections per second"));
    report.measure("CPU per connection beside 10,000 idle ones", growth(&all)?)?;
    let line = line("idle connections", places, &all);
    drop(contenders);
    let (_, _service, _, last) = hosts.pop().ok_or("nobody")?;
    // Those that still answer were held all the time.
    let held = last
        .into_iter()
        .filter_map(|mut client| ask(&mut client, b".").ok())
        .count();
    report.measure("idle connections of one host", held as f64)?;
    Ok(line)
}

/// As many clients as get an answer, and why there are no more.
fn hold(address: SocketAddr, count: usize) -> (Vec<TcpStream>, Option<String>) {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let answered = connect(address).and_then(|mut client| {
            ask(&mut client, b".")?;
            Ok(client)
        });
        match answered {
            Ok(client) => clients.push(client),
            Err(error) => return (clients, Some(error.to_string())),
        }
    }
    (clients, None)
}

/// Descriptors that the most connections need, beside all others.
pub fn descriptors(idle: &[usize]) -> u64 {
    let clients: usize = idle.iter().sum();
    clients as u64 + 4096
}
