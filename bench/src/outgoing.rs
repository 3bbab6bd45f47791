//! Requests of a guest to another server, beside those of a native program with hyper's client: many, one after the
//! other, for one request of ours. The CPU time of `wasm-sock-egress` counts as the host's.

use crate::activate::{awake, listening};
use crate::process::Program;
use crate::report::Report;
use crate::turns::{Contender, Load, alternate};
use crate::{Bench, PATIENCE, Result, peers};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Calls for one request.
const CALLS: u64 = 500;

/// Starts `wasm-sock-egress`, to which the socket was not passed, and becomes the host when it listens.
const START: &str = "\
env -u LISTEN_PID -u LISTEN_FDS -u LISTEN_FDNAMES \
  \"$EGRESS\" --listen \"$WASM_SOCK_EGRESS\" --idle-timeout infinity 3<&- &
until [ -S \"$WASM_SOCK_EGRESS\" ]; do sleep 0.01; done
exec \"$@\"";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let Some(server) = bench.peers.nginx(&bench.scratch)? else {
        report.skip("calls to nginx", peers::MISSING);
        return Ok(());
    };
    let _nginx = listening(&server.program, server.address)?;
    let (ours, address) = awake(&host(bench, server.address)?)?;
    let (native, native_address) = awake(&Program::new([bench.build.join("http-caller")]))?;
    let contender = |name, process, address| Contender {
        name,
        process,
        load: Box::new(move || calls(address, server.address)),
    };
    let contenders = [
        contender("wasm-sock, HTTP 0.2", &ours, address),
        contender("native, hyper", &native, native_address),
    ];
    let all = alternate(&contenders, bench.effort.turns)?;
    report.table(all.table(&format!("{CALLS} calls, one after the other"), "calls per second"));
    let (ours, native) = (&all.turns[0], &all.turns[1]);
    report.measure("calls per CPU second, plain HTTP", native.cpu.turn_by_turn(&ours.cpu))
}

/// The host with a guest that may call `server`, and its way out.
fn host(bench: &Bench, server: SocketAddr) -> Result<Program> {
    let folder = bench.scratch.join("outgoing");
    fs::create_dir_all(&folder)?;
    let module = bench.artifacts.path("p2", "http-fetch");
    let settings = format!(
        "[handler.unknown]\nmodule = {module:?}\nallow-outbound = [\"{server}\"]\ntimeout = \"infinity\"\ncpu-time = \"infinity\"\n"
    );
    fs::write(folder.join("wasm-sock.toml"), settings)?;
    Ok(Program::new(["/bin/sh", "-c", START, "sh"])
        .arguments([bench.build.join("wasm-sock")])
        .arguments(["host", "--idle-timeout", "infinity"])
        .variable("EGRESS", bench.build.join("wasm-sock-egress"))
        .variable("WASM_SOCK_EGRESS", folder.join("egress"))
        .variable("CONFIGURATION_DIRECTORY", &folder)
        .variable("LISTEN_FDNAMES", "unknown")
        .variable("CACHE_DIRECTORY", bench.artifacts.cache()))
}

/// Asks `address` to call `server`, [`CALLS`] times.
fn calls(address: SocketAddr, server: SocketAddr) -> Result<Load> {
    let began = Instant::now();
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    write!(
        client,
        "GET /seq?{CALLS}+http://{server}/ HTTP/1.0\r\nHost: bench\r\n\r\n"
    )?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let expected = format!("{CALLS} right");
    if !answer.contains(&expected) {
        return Err(format!("not all calls were answered: {answer}").into());
    }
    let took = began.elapsed();
    let each = took.as_secs_f64() * 1e6 / CALLS as f64;
    Ok(Load {
        count: CALLS,
        took,
        p10: each,
        median: each,
        p99: each,
    })
}
