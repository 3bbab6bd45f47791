//! Parts that use a connection as it is meant to be used.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::FromRawFd;

use crate::say;

const CHUNK: usize = 64 * 1024;

/// Writes `bytes` bytes, of which the nth is n modulo 251: a prime, so that no power of two of
/// lost or repeated bytes goes unseen.
pub fn big(bytes: u64) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut written = 0;
    let mut chunk = [0; CHUNK];
    while written < bytes {
        for (n, byte) in (written..).zip(&mut chunk) {
            *byte = (n % 251) as u8;
        }
        let length = (bytes - written).min(CHUNK as u64);
        stdout.write_all(&chunk[..length as usize])?;
        written += length;
    }
    stdout.flush()
}

/// Reads to the end, then answers `BYTES FNV-1a`, the hash of 64 bits as 16 hexadecimal digits.
pub fn count() -> io::Result<()> {
    let (bytes, hash) = read_to_end()?;
    say(format_args!("{bytes} {hash:016x}\n"))
}

/// Says hello and closes its stdout; goes on reading, and tells stderr what it read.
pub fn half() -> io::Result<()> {
    say("hello\n")?;
    // SAFETY: descriptor 1 is stdout, open since the start; `say` has flushed what std buffered
    // for it, and nothing in this part writes to it again.
    drop(unsafe { File::from_raw_fd(1) });
    let (bytes, hash) = read_to_end()?;
    eprintln!("{bytes} {hash:016x}");
    Ok(())
}

/// Answers each line with the line.
pub fn pingpong() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    while stdin.read_until(b'\n', &mut line)? > 0 {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()?;
        line.clear();
    }
    Ok(())
}

/// Says that it is ready, reads to the end, and tells stderr what std takes for the end: `whole`, or `broken` and
/// why.
pub fn receive() -> io::Result<()> {
    say("ready\n")?;
    let mut bytes = Vec::new();
    let told = match io::stdin().lock().read_to_end(&mut bytes) {
        Ok(count) => format!("whole: {count} bytes\n"),
        Err(error) => format!("broken after {} bytes: {error}\n", bytes.len()),
    };
    io::stderr().write_all(told.as_bytes())
}

/// Answers and is gone, whatever the client has sent or is still sending.
pub fn reply_early() -> io::Result<()> {
    say("early\n")
}

/// Tells stderr lines of every shape: plain, empty, not UTF-8, of 100,000 bytes, without an end.
pub fn stderr() -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(b"first line\n\nlatin-1: caf\xe9\n")?;
    stderr.write_all("x".repeat(100_000).as_bytes())?;
    stderr.write_all(b"\npartial last line")?;
    stderr.flush()?;
    say("ok\n")
}

/// Tells stderr that many numbered lines, and says so.
pub fn log(lines: u64) -> io::Result<()> {
    for number in 0..lines {
        eprintln!("line {number}");
    }
    say("ok\n")
}

/// Says which build this is, to tell a replaced module from the one before. With `hold` it then
/// stays until the client has closed its side.
pub fn version(hold: bool) -> io::Result<()> {
    let version = option_env!("ACTOR_VERSION").unwrap_or("1");
    say(format_args!("version {version}\n"))?;
    if hold {
        read_to_end()?;
    }
    Ok(())
}

pub fn wait_eof() -> io::Result<()> {
    read_to_end()?;
    say("eof\n")
}

/// Reads stdin to its end: how many bytes there were, and their FNV-1a hash of 64 bits.
fn read_to_end() -> io::Result<(u64, u64)> {
    let mut stdin = io::stdin().lock();
    let mut chunk = vec![0; CHUNK];
    let (mut bytes, mut hash) = (0, 0xcbf2_9ce4_8422_2325);
    loop {
        let read = stdin.read(&mut chunk)?;
        if read == 0 {
            return Ok((bytes, hash));
        }
        bytes += read as u64;
        hash = chunk[..read].iter().fold(hash, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    }
}
