//! Cold starts: from just before `execve` to the first byte of the answer, with the connection
//! already pending.

use crate::activate::{ask, cold_start, cold_start_at, listening, settle};
use crate::http::REQUEST;
use crate::peers::{self, Peer};
use crate::plot::{Bar, Chart, Content};
use crate::process::{Process, Program};
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::{Bench, PATIENCE, Result, grants};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

const LINE: &[u8] = b"how do you do\n";
const C: &str = "static C";
const SCRIPT: &str = "Python script";
const JAVASCRIPT: &str = "wasm-sock, JavaScript, HTTP";
const PYTHON: &str = "wasm-sock, Python, HTTP";

/// The kinds of guests, with the name of the contender.
const KINDS: [(&str, &str); 3] = [
    ("core module", "wasm-sock, core module"),
    ("component", "wasm-sock, component"),
    ("HTTP component", "wasm-sock, HTTP component"),
];

/// What takes a hundred times as long is started less often: its time is not in doubt. And what goes on
/// after its answer, in the background, would disturb whoever comes next.
const SLOW: usize = 10;

/// How somebody is awakened.
enum Start {
    /// It is passed the socket, or the connection.
    Passed(Program),
    /// It opens its socket itself, and the client tries until it is there.
    Itself(Peer),
    /// It is awake, and starts a program for each connection; from connect to the first byte.
    Daemon { address: SocketAddr, _running: Process },
}

struct Contender {
    name: &'static str,
    start: Start,
    words: &'static [u8],
    /// In which rounds it takes part: in each, each second, …
    every: usize,
}

impl Contender {
    fn once(&self) -> Result<f64> {
        let time = match &self.start {
            Start::Passed(program) => cold_start(program, 1, self.words),
            Start::Itself(peer) => cold_start_at(&peer.program, peer.address, self.words),
            Start::Daemon { address, .. } => knock(*address, self.words),
        };
        time.map_err(|error| format!("{}: {error}", self.name).into())
    }
}

fn knock(address: SocketAddr, words: &[u8]) -> Result<f64> {
    let began = Instant::now();
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    ask(&mut client, words)?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    everybody(bench, report)?;
    many_sockets(bench, report)?;
    grants::measure(bench, report)
}

fn everybody(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut contenders = ours(bench, report)?;
    contenders.extend(theirs(bench, report)?);
    for contender in &contenders {
        if let Start::Passed(program) = &contender.start
            && contender.name.starts_with("wasm-sock")
        {
            settle(program, 1, contender.words)?;
        }
        contender.once()?;
    }
    let mut times: Vec<Samples> = contenders.iter().map(|_| Samples::default()).collect();
    for round in 0..bench.effort.rounds {
        for place in 0..contenders.len() {
            // There and back, so that nobody always follows the same one.
            let index = if round % 2 == 0 {
                place
            } else {
                contenders.len() - 1 - place
            };
            if round % contenders[index].every == 0 {
                times[index].add(contenders[index].once()?);
            }
        }
    }
    tell(&contenders, &times, report)
}

fn tell(contenders: &[Contender], times: &[Samples], report: &mut Report) -> Result<()> {
    let of = |name: &str| {
        let index = contenders.iter().position(|contender| contender.name == name);
        index.map(|index| &times[index])
    };
    let base = of(C).ok_or("the baseline was not measured")?;
    let columns = ["", "p10 µs", "median µs", "p99 µs", "× static C"];
    let mut table = Table::new("Cold start, execve to first byte", &columns);
    for (contender, own) in contenders.iter().zip(times) {
        let values = [own.p10(), own.median(), own.p99(), own.ratio_to(base)];
        table.row(contender.name, &values);
    }
    report.table(table);
    for (kind, name) in KINDS {
        let own = of(name).ok_or("a kind was not measured")?;
        report.measure(&format!("cold start, {kind}"), own.ratio_to(base))?;
        if let Some(script) = of(SCRIPT) {
            report.measure(&format!("faster than Python, {kind}"), script.ratio_to(own))?;
        }
    }
    for (what, name) in [("JavaScript", JAVASCRIPT), ("Python", PYTHON)] {
        if let Some(own) = of(name) {
            report.measure(&format!("cold start, {what} component"), own.median())?;
        }
    }
    let bars = contenders.iter().zip(times).map(|(contender, times)| Bar {
        label: contender.name.into(),
        value: times.median() / 1000.0,
        ours: contender.name.starts_with("wasm-sock"),
    });
    let mut bars: Vec<Bar> = bars.collect();
    bars.sort_by(|one, other| one.value.total_cmp(&other.value));
    report.chart(Chart {
        file: "cold.svg",
        title: "Cold start, in ms".into(),
        subtitle: "From execve to the first byte of the answer, median; logarithmic, shorter is better".into(),
        content: Content::Bars {
            bars,
            logarithmic: true,
        },
    });
    Ok(())
}

fn ours(bench: &Bench, report: &mut Report) -> Result<Vec<Contender>> {
    let contender = |name, world, guest, words, every| Contender {
        name,
        start: Start::Passed(bench.host(world, guest)),
        words,
        every,
    };
    let mut all = vec![
        Contender {
            name: C,
            start: Start::Passed(Program::new([bench.build.join("baseline")])),
            words: b"",
            every: 1,
        },
        contender(KINDS[0].1, "p1", "hello", b"", 1),
        contender(KINDS[1].1, "p2", "hello", b"", 1),
        contender(KINDS[2].1, "p2", "http-hello", REQUEST, 1),
    ];
    for (name, guest) in [(JAVASCRIPT, "http-js"), (PYTHON, "http-python")] {
        if bench.artifacts.has("p2", guest) {
            all.push(contender(name, "p2", guest, REQUEST, SLOW));
        } else {
            report.skip(name, "it is not compiled yet");
        }
    }
    Ok(all)
}

fn theirs(bench: &Bench, report: &mut Report) -> Result<Vec<Contender>> {
    let peers = &bench.peers;
    let passed = |program| Some(Start::Passed(program));
    let daemon = |peer: Option<Peer>| -> Result<Option<Start>> {
        let Some(Peer { program, address }) = peer else {
            return Ok(None);
        };
        Ok(Some(Start::Daemon {
            address,
            _running: listening(&program, address)?,
        }))
    };
    let run = |world| -> Result<Option<Start>> {
        let command = peers.wasmtime_run(bench, world, "hello")?;
        Ok(command.map(|words| Start::Passed(Program::new(words).inetd())))
    };
    let native = bench.build.join("inetd-echo");
    let script = ["/usr/bin/python3".into(), bench.build.join("baseline.py")];
    let tokio = Program::new([bench.build.join("tcp-echo")]);
    let (nothing, slow): (&[u8], _) = (b"", SLOW);
    let all: [(_, Option<Start>, &[u8], _); 9] = [
        ("native, tokio", passed(tokio), LINE, 1),
        (
            "inetd (awake), a C program",
            daemon(peers.inetd(&bench.scratch, &native)?)?,
            LINE,
            slow,
        ),
        (
            "xinetd (awake), a C program",
            daemon(peers.xinetd(&bench.scratch, &native)?)?,
            LINE,
            slow,
        ),
        (SCRIPT, passed(Program::new(script)), nothing, slow),
        ("wasmtime run, core module", run("p1")?, nothing, slow),
        ("wasmtime run, component", run("p2")?, nothing, slow),
        (
            "wasmtime serve, precompiled",
            peers.wasmtime_serve(bench, "p2", "http-hello")?.map(Start::Itself),
            REQUEST,
            slow,
        ),
        (
            "wasmtime serve, its cache",
            peers
                .wasmtime_serve_with_cache(bench, "p2", "http-hello")?
                .map(Start::Itself),
            REQUEST,
            slow,
        ),
        (
            "workerd, JavaScript",
            peers.workerd_activated().map(Start::Passed),
            REQUEST,
            slow,
        ),
    ];
    let mut found = Vec::new();
    for (name, start, words, every) in all {
        match start {
            Some(start) => found.push(Contender {
                name,
                start,
                words,
                every,
            }),
            None => report.skip(name, peers::MISSING),
        }
    }
    Ok(found)
}

/// A thousand sockets were passed, and somebody waits at one of them.
fn many_sockets(bench: &Bench, report: &mut Report) -> Result<()> {
    let program = bench.host("p1", "hello");
    let (mut one, mut thousand) = (Samples::default(), Samples::default());
    for _ in 0..bench.effort.rounds.div_ceil(4) {
        one.add(cold_start(&program, 1, b"")?);
        thousand.add(cold_start(&program, 1000, b"")?);
    }
    let mut table = Table::new("Inherited sockets", &["", "p10 µs", "median µs"]);
    for (name, times) in [("one", &one), ("1,000, one of them ready", &thousand)] {
        table.row(name, &[times.p10(), times.median()]);
    }
    report.table(table);
    report.measure("1,000 inherited sockets", thousand.ratio_to(&one))
}
