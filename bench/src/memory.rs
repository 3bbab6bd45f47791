//! What an awake host and an open connection cost in memory.

use crate::activate::{Process, awake};
use crate::{Artifacts, Promise, Result, host};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// As many connections as one handler may have without any configuration.
const CONNECTIONS: usize = 255;

pub fn measure(build: &Path, artifacts: &Artifacts, promises: &mut Vec<Promise>) -> Result<()> {
    println!("memory                               PSS KB");
    for (world, name) in [("p1", "core module"), ("p2", "component")] {
        let (process, _listener, mut client) =
            awake(&host(build, &artifacts.path(world, "hello")))?;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer)?;
        let pss = pss(&process)?;
        println!("  {:32} {pss:8}", format!("hello, {name}, awake"));
        let what = format!("one handler awake, {name}");
        promises.push(Promise::at_most(what, pss as f64 / 1024.0, 3.5, "MiB PSS"));
    }
    let mut connection = |world, guest, what: &str, bound| -> Result<()> {
        let each = each_connection(build, artifacts, world, guest)?;
        println!("  {what:32} {each:8.1}");
        if let Some(bound) = bound {
            promises.push(Promise::at_most(what, each, bound, "KiB"));
        }
        Ok(())
    };
    connection("p1", "idle", "idle connection, core module", Some(32.0))?;
    connection("p1", "echo", "the same, in Rust", None)?;
    connection("p2", "echo", "idle connection, component", Some(65.0))
}

/// What one more connection costs that is open and says nothing, in KiB.
fn each_connection(build: &Path, artifacts: &Artifacts, world: &str, guest: &str) -> Result<f64> {
    let (process, listener, mut client) = awake(&host(build, &artifacts.path(world, guest)))?;
    ping(&mut client)?;
    let before = pss(&process)?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        ping(&mut client)?;
        clients.push(client);
    }
    Ok((pss(&process)? - before) as f64 / CONNECTIONS as f64)
}

/// Sees that the guest is there, and waits.
fn ping(client: &mut TcpStream) -> Result<()> {
    let mut byte = [0];
    client.write_all(b".")?;
    client.read_exact(&mut byte)?;
    Ok(())
}

/// Proportional set size, in KiB (`proc_pid_smaps(5)`).
fn pss(process: &Process) -> Result<i64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid))?;
    let line = rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .ok_or("no PSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no PSS")?.parse()?)
}
