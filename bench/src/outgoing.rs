//! Requests of a guest to another server, beside those of a native program with hyper's client: many, one after the
//! other, for one request of ours. The CPU time of `wasm-sock-egress` counts as the host's. And one of a host that did
//! not run before, beside curl.

use crate::activate::{awake, cold_answer, cold_run, listening};
use crate::authority::Authority;
use crate::peers::{self, Peer};
use crate::process::Program;
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::turns::{Contender, Load, alternate};
use crate::way_out::WayOut;
use crate::{Bench, PATIENCE, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Calls for one request.
const CALLS: u64 = 500;

const GUEST: &str = "http-fetch";

/// What nginx answers.
const ANSWER: &str = "Hello, stranger!\n";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let authority = Authority::new(&bench.scratch)?;
    let plain = bench.peers.nginx(&bench.scratch, None)?;
    let tls = bench.peers.nginx(&bench.scratch, Some(&authority))?;
    let (Some(plain), Some(tls)) = (plain, tls) else {
        report.skip("calls to nginx", peers::MISSING);
        return Ok(());
    };
    let grant = format!("allow-outbound = [\"{}\"]\n", plain.address);
    let way_out = WayOut::new(bench, "outgoing-http", GUEST, &grant)?;
    warm(bench, report, "HTTP", &plain, (&way_out, &authority))?;
    let grant = format!(
        "allow-outbound = [\"https://{}/\"]\ntls-roots = {:?}\n",
        tls.address, authority.root
    );
    let way_out = WayOut::new(bench, "outgoing-https", GUEST, &grant)?;
    warm(bench, report, "HTTPS", &tls, (&way_out, &authority))?;
    let way_out = WayOut::new(bench, "outgoing-cold", GUEST, &grant)?;
    cold(bench, report, &tls, (&way_out, &authority))
}

fn warm(
    bench: &Bench,
    report: &mut Report,
    protocol: &str,
    server: &Peer,
    (way_out, authority): (&WayOut, &Authority),
) -> Result<()> {
    let url = format!("{}://{}/", protocol.to_lowercase(), server.address);
    let _nginx = listening(&server.program, server.address)?;
    let (ours, address) = awake(&way_out.both())?;
    let native = Program::new([bench.build.join("http-caller")]).variable("TLS_ROOTS", &authority.root);
    let (native, native_address) = awake(&native)?;
    let url = url.as_str();
    let contender = |name, process, address| Contender {
        name,
        process,
        load: Box::new(move || calls(address, url)),
    };
    let contenders = [
        contender("wasm-sock, HTTP 0.2", &ours, address),
        contender("native, hyper", &native, native_address),
    ];
    let all = alternate(&contenders, bench.effort.turns)?;
    let title = format!("{CALLS} calls by {protocol}, one after the other");
    report.table(all.table(&title, "calls per second"));
    let (ours, native) = (&all.turns[0], &all.turns[1]);
    let what = match protocol {
        "HTTP" => "calls per CPU second, plain HTTP",
        _ => "calls per CPU second, HTTPS",
    };
    report.measure(what, native.cpu.turn_by_turn(&ours.cpu))
}

/// Asks `address` to call `url`, [`CALLS`] times.
fn calls(address: SocketAddr, url: &str) -> Result<Load> {
    let began = Instant::now();
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    write!(client, "GET /seq?{CALLS}+{url} HTTP/1.0\r\nHost: bench\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let expected = format!("{CALLS} right");
    if !answer.contains(&expected) {
        return Err(format!("not all calls were answered: {answer}").into());
    }
    Ok(Load::of_one_client(CALLS, began.elapsed()))
}

/// From `execve` of the host, with a request pending that it passes on by HTTPS, to the end of the answer; and from
/// `execve` of curl to its end.
fn cold(
    bench: &Bench,
    report: &mut Report,
    server: &Peer,
    (way_out, authority): (&WayOut, &Authority),
) -> Result<()> {
    let Some(curl) = peers::installed("curl") else {
        report.skip("curl", "not installed");
        return Ok(());
    };
    let _nginx = listening(&server.program, server.address)?;
    let url = format!("https://{}/", server.address);
    let (host, _egress) = (way_out.host(), way_out.egress()?);
    let request = format!("GET /?{url} HTTP/1.0\r\nHost: bench\r\n\r\n");
    let curl = Program::new([curl])
        .arguments(["-q", "--silent", "--fail", "--output", "/dev/null", "--cacert"])
        .arguments([&authority.root])
        .arguments([&url]);
    let ours = || cold_answer(&host, request.as_bytes(), ANSWER);
    let names = ["wasm-sock, HTTP 0.2", "curl"];
    let mut times = [const { Samples::new() }; 2];
    for round in 0..=bench.effort.rounds {
        let (ours, theirs) = (ours()?, cold_run(&curl)?);
        // The first round warms up.
        if round > 0 {
            times[0].add(ours);
            times[1].add(theirs);
        }
    }
    let mut table = Table::new("One call by HTTPS, cold", &["", "p10 µs", "median µs", "p99 µs"]);
    for (name, own) in names.iter().zip(&times) {
        table.row(name, &[own.p10(), own.median(), own.p99()]);
    }
    report.table(table);
    report.measure("HTTPS call of a cold handler", times[0].ratio_to(&times[1]))
}
