//! Parts that look around in the sandbox and tell what they find. What is refused is told as
//! `WHAT: ERROR`, and is no failure of the part.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::say;

/// The time: `realtime SECONDS`, since 1970, and `monotonic NANOSECONDS` between two readings.
pub fn clock() -> io::Result<()> {
    let start = Instant::now();
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let nanoseconds = start.elapsed().as_nanos();
    say(format_args!("realtime {seconds}\nmonotonic {nanoseconds}\n"))
}

/// Connects out, reads until the other side closes, and passes it on after `connected`.
pub fn connect(address: &str) -> io::Result<()> {
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) => return say(format_args!("connect: {error}\n")),
    };
    let mut heard = String::new();
    match stream.read_to_string(&mut heard) {
        Ok(_) => say(format_args!("connected\n{heard}")),
        Err(error) => say(format_args!("connected\nread: {error}\n")),
    }
}

/// Sends so many bytes, ends its direction, and counts what comes back.
pub fn exchange(address: &str, bytes: usize) -> io::Result<()> {
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) => return say(format_args!("connect: {error}\n")),
    };
    let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    let end = stream.read_to_end(&mut heard);
    say(format_args!(
        "back: {}, same: {}, {end:?}\n",
        heard.len(),
        heard == sent
    ))
}

/// Sends a datagram through a connected socket, and passes the answer on.
pub fn datagram(address: &str) -> io::Result<()> {
    let exchange = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(address)?;
        socket.send(b"hello")?;
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer)?;
        io::Result::Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    match exchange() {
        Ok(answer) => say(format_args!("answer: {answer}\n")),
        Err(error) => say(format_args!("datagram: {error}\n")),
    }
}

/// Sends a datagram to each address from one socket, and passes the answers on.
pub fn datagrams(addresses: &str) -> io::Result<()> {
    let socket = match UdpSocket::bind("0.0.0.0:0") {
        Ok(socket) => socket,
        Err(error) => return say(format_args!("bind: {error}\n")),
    };
    for address in addresses.split(',') {
        match socket.send_to(address.as_bytes(), address) {
            Err(error) => say(format_args!("send to {address}: {error}\n"))?,
            Ok(_) => {
                let mut answer = [0; 100];
                let (length, from) = socket.recv_from(&mut answer)?;
                let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                say(format_args!("from {from}: {answer}\n"))?;
            }
        }
    }
    Ok(())
}

/// The addresses of a name, one a line.
pub fn resolve(name: &str) -> io::Result<()> {
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => say(addresses.map(|a| format!("{}\n", a.ip())).collect::<String>()),
        Err(error) => say(format_args!("resolve: {error}\n")),
    }
}

/// The environment, sorted, a variable a line; then the arguments, each after `arg: `.
pub fn env() -> io::Result<()> {
    let mut variables: Vec<String> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}\n", name.display(), value.display()))
        .collect();
    variables.sort();
    let arguments = std::env::args_os().map(|value| format!("arg: {}\n", value.display()));
    say(variables.into_iter().chain(arguments).collect::<String>())
}

/// What is in a directory, sorted, each after `entry: `; then whether a file can be made there,
/// as `write: ok`, and read back, as `read: ok`.
pub fn files(directory: &str) -> io::Result<()> {
    match list(directory) {
        Ok(names) => {
            for name in names {
                say(format_args!("entry: {name}\n"))?;
            }
        }
        Err(error) => say(format_args!("list: {error}\n"))?,
    }
    let path = Path::new(directory).join("actor-was-here");
    tell("write", fs::write(&path, "actor\n"))?;
    tell("read", fs::read(&path))
}

fn list(directory: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().display().to_string());
    }
    names.sort();
    Ok(names)
}

fn tell<T>(what: &str, result: io::Result<T>) -> io::Result<()> {
    match result {
        Ok(_) => say(format_args!("{what}: ok\n")),
        Err(error) => say(format_args!("{what}: {error}\n")),
    }
}

/// 64 bits from the key that std asks the host for, as 16 hexadecimal digits: two instances
/// that say the same share their randomness.
pub fn random() -> io::Result<()> {
    say(format_args!("{:016x}\n", RandomState::new().hash_one(())))
}
