//! Parts that every limit must hold against.

use std::hint::{black_box, spin_loop};
use std::io::{self, Write};
use std::process::{abort, exit};
use std::thread;
use std::time::{Duration, Instant};

use crate::say;

const MIB: usize = 1024 * 1024;

/// Takes memory until it is refused more, lets go of it, and says how many MiB it was.
pub fn allocate() -> io::Result<()> {
    // Room for 4 GiB of chunks, more than a guest can address, so that no push allocates.
    let mut chunks: Vec<Vec<u8>> = Vec::with_capacity(4096);
    loop {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(MIB).is_err() {
            break;
        }
        chunk.resize(MIB, 1);
        chunks.push(black_box(chunk));
    }
    let mebibytes = chunks.len();
    drop(chunks);
    say(format_args!("{mebibytes} MiB\n"))
}

/// Takes memory as most programs do, that is, without asking whether there is any.
pub fn allocate_trap() -> ! {
    let mut chunks = Vec::new();
    loop {
        chunks.push(black_box(vec![1u8; MIB]));
    }
}

pub fn exit_with(code: i32) -> io::Result<()> {
    say("bye\n")?;
    exit(code)
}

/// Writes for as long as anybody takes it.
pub fn flood() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let chunk = [b'x'; 64 * 1024];
    loop {
        stdout.write_all(&chunk)?;
    }
}

/// Takes `mebibytes` MiB of memory or is refused them, says which, and keeps them until the client
/// has closed its side.
pub fn hold(mebibytes: usize) -> io::Result<()> {
    let mut taken = Vec::new();
    if taken.try_reserve_exact(mebibytes * MIB).is_err() {
        return say("refused\n");
    }
    taken.resize(mebibytes * MIB, 1u8);
    say("taken\n")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    drop(black_box(taken));
    Ok(())
}

/// Tells stderr numbered lines for as long as it may live.
pub fn log_flood() -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    for number in 0_u64.. {
        writeln!(stderr, "flood {number}")?;
    }
    Ok(())
}

/// Tells stderr very many lines in very few calls, for as long as it may live.
pub fn log_flood_at_once() -> io::Result<()> {
    let lines = b"f\n".repeat(8 * MIB);
    loop {
        io::stderr().write_all(&lines)?;
    }
}

/// Calls itself that many times, and says so.
pub fn recurse(depth: u64) -> io::Result<()> {
    say(format_args!("{} deep\n", down(depth)))
}

#[inline(never)]
fn down(depth: u64) -> u64 {
    match depth {
        0 => 0,
        _ => down(black_box(depth - 1)) + 1,
    }
}

/// Takes nothing from the client for a while, then is done.
pub fn never_read(milliseconds: u64) -> io::Result<()> {
    thread::sleep(Duration::from_millis(milliseconds));
    say("done\n")
}

pub fn sleep() -> io::Result<()> {
    say("up\n")?;
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Uses the processor without ever calling out of the sandbox.
pub fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Uses the processor with nothing but calls out of the sandbox, none of which ever waits.
pub fn spin_calls() -> ! {
    loop {
        black_box(Instant::now());
    }
}

pub fn trap() -> io::Result<()> {
    say("before\n")?;
    trap_early()
}

/// On WebAssembly, `abort` is the instruction `unreachable`.
pub fn trap_early() -> ! {
    abort()
}
