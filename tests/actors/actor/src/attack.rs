//! Parts that take all they can get of the host: its time, its descriptors, its memory.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::{raw, say};

/// Calls itself until there is no more stack.
pub fn recurse(depth: u64) -> u64 {
    match depth {
        u64::MAX => 0,
        _ => recurse(depth + 1).wrapping_mul(3) ^ depth,
    }
}

/// Does nothing but call the host, in one way.
pub fn calls(way: &str) -> ! {
    let call: fn() = match way {
        "clocks" => || {
            black_box((Instant::now(), SystemTime::now()));
        },
        "yield" => thread::yield_now,
        "naps" => || thread::sleep(Duration::from_nanos(1)),
        "nothing" => || drop(io::stdout().write(&[])),
        "environment" => || {
            black_box(std::env::vars_os().count());
        },
        "files" => || {
            black_box(fs::metadata("/data/file")).ok();
        },
        "entries" => || {
            black_box(fs::read_dir("/data").map(Iterator::count)).ok();
        },
        "long-paths" => || {
            black_box(fs::metadata(format!("/data/{}", "a/".repeat(8 << 20)))).ok();
        },
        "random" => || raw::random(16 << 20),
        _ => crate::usage("these calls are not known"),
    };
    loop {
        call();
    }
}

/// Opens files, closes none, and says how many it got before one was refused.
pub fn open_files(count: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for _ in 0..count {
        match File::open("/data/file") {
            Ok(file) => files.push(file),
            Err(_) => break,
        }
    }
    say(format_args!("{} files\n", files.len()))?;
    // With all of them in hand, until the client has had enough.
    crate::talk::wait_eof()
}

/// Has as many timers as it is let, all of which it waits for at once, over and over.
pub fn timers(count: usize) -> ! {
    loop {
        raw::wait_for_timers(count);
    }
}
