//! From `execve` to the first byte of an answer.

use crate::process::{Process, Program, SharedTime, spawn, start};
use crate::{PATIENCE, Result};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// Microseconds from just before `execve` to the first byte of the answer, for a client that is
/// already waiting at the last of `sockets` sockets, and has said `words`.
pub fn cold_start(program: &Program, sockets: usize, words: &[u8]) -> Result<f64> {
    Ok(first_byte(program, sockets, words)?.1)
}

/// The same for a program that cannot be passed a socket, and opens the one at `address` itself. The
/// client tries until it listens.
pub fn cold_start_at(program: &Program, address: SocketAddr, words: &[u8]) -> Result<f64> {
    let started = SharedTime::new()?;
    let process = start(program, &[], &started)?;
    let mut client = connect(&process, address, Duration::from_micros(100))?;
    ask(&mut client, words)?;
    Ok(started.elapsed())
}

/// Microseconds from just before `execve` to the end of the answer, which ends with `expected`, for a client that is
/// already waiting and has said `words`.
pub fn cold_answer(program: &Program, words: &[u8], expected: &str) -> Result<f64> {
    let (listeners, mut client) = sockets_with_a_client(1)?;
    client.write_all(words)?;
    let started = SharedTime::new()?;
    let _process = start(program, &listeners, &started)?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let took = started.elapsed();
    if !answer.ends_with(expected) {
        return Err(format!("{}: {answer:?}", program.name()).into());
    }
    Ok(took)
}

/// Microseconds from just before `execve` to the end of a program that is passed nothing, and has to succeed.
pub fn cold_run(program: &Program) -> Result<f64> {
    let started = SharedTime::new()?;
    let process = start(program, &[], &started)?;
    let status = process.wait()?;
    let took = started.elapsed();
    if status != 0 {
        return Err(format!("{}: status {status}", program.name()).into());
    }
    Ok(took)
}

/// Starts `program` once for somebody who says `words`, and gives it the time to keep what it likes in
/// its cache.
pub fn settle(program: &Program, sockets: usize, words: &[u8]) -> Result<()> {
    let _process = first_byte(program, sockets, words)?;
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn first_byte(program: &Program, sockets: usize, words: &[u8]) -> Result<(Process, f64)> {
    let (mut listeners, mut client) = sockets_with_a_client(sockets)?;
    client.write_all(words)?;
    if program.wants_connection() {
        listeners = vec![TcpListener::from(listeners.remove(0)).accept()?.0.into()];
    }
    let started = SharedTime::new()?;
    let process = start(program, &listeners, &started)?;
    ask(&mut client, b"").map_err(|error| format!("{}: {error}", program.name()))?;
    Ok((process, started.elapsed()))
}

/// Says `words` and waits for the first byte of the answer.
pub fn ask(client: &mut TcpStream, words: &[u8]) -> Result<()> {
    let mut byte = [0];
    client.write_all(words)?;
    client
        .read_exact(&mut byte)
        .map_err(|error| format!("no answer: {error}"))?;
    Ok(())
}

/// Starts `program` and leaves it running, with a socket that listens.
pub fn awake(program: &Program) -> Result<(Process, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((start_with(program, vec![listener.into()])?, address))
}

/// Starts a program that opens the socket at `address` itself, and waits until it listens.
pub fn listening(program: &Program, address: SocketAddr) -> Result<Process> {
    let process = spawn(program)?;
    connect(&process, address, Duration::from_millis(20)).map_err(|error| format!("{}: {error}", program.name()))?;
    Ok(process)
}

fn connect(process: &Process, address: SocketAddr, pause: Duration) -> Result<TcpStream> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(client) => {
                client.set_read_timeout(Some(PATIENCE))?;
                return Ok(client);
            }
            Err(error) if Instant::now() > give_up => return Err(error.into()),
            Err(_) if !process.runs() => return Err("it ended before it listened".into()),
            Err(_) => thread::sleep(pause),
        }
    }
}

/// An address of the loopback that was free a moment ago.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Starts `program` with any sockets, and lets it run.
pub fn start_with(program: &Program, sockets: Vec<OwnedFd>) -> Result<Process> {
    start(program, &sockets, &SharedTime::new()?)
}

/// Sockets that listen, and somebody at the last of them.
fn sockets_with_a_client(sockets: usize) -> Result<(Vec<OwnedFd>, TcpStream)> {
    let listen = |_| TcpListener::bind("127.0.0.1:0");
    let listeners = (0..sockets).map(listen).collect::<io::Result<Vec<_>>>()?;
    let last = listeners.last().ok_or("no sockets")?;
    let client = TcpStream::connect(last.local_addr()?)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok((listeners.into_iter().map(OwnedFd::from).collect(), client))
}
