//! Key-value stores: the embedded one beside its own library in a native program, and a server's beside its own client.

use crate::activate::{awake, cold_start, listening, settle};
use crate::peers;
use crate::process::{Process, Program};
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::turns::{Comparison, Contender, Load, alternate};
use crate::way_out::WayOut;
use crate::{Bench, PATIENCE, Result};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wasm_sock_store::{Change, Database, Patience, What, file_of, make_folder};

const GUEST: &str = "keyvalue-actor";
/// How the host calls a handler whose socket has no name.
const HANDLER: &str = "unknown";
const GRANT: &str = "keyvalue = { default = \"embedded\" }\n";
const KEY: &str = "key-00000";
/// How the guest and the native program are asked for a turn.
const GETS: (&str, u64) = ("get-often", 50_000);
const SETS: (&str, u64) = ("set-often", 100);
const GETS_AFTER_SETS: (&str, u64) = ("get-often", 10_000);
const GETS_OF_REDIS: (&str, u64) = ("get-often", 5_000);

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    // Not where temporary files are, which may be kept in memory.
    let folder = tempfile::tempdir_in(bench.build.join("bench"))?;
    cold(bench, folder.path(), report)?;
    embedded(bench, folder.path(), report)?;
    redis(bench, report)
}

/// Where a store is that has so many keys, each with a value of 100 bytes: the folder of state, and the file.
fn filled(folder: &Path, keys: usize) -> Result<(PathBuf, PathBuf)> {
    let state = folder.join(format!("state-{keys}"));
    // The folders of handlers are below.
    let file = file_of(&state.join("state"), HANDLER);
    make_folder(file.parent().ok_or("no folder")?)?;
    let mut database = Database::open_or_make(&file, 64 << 20, Patience::Wait(Duration::from_secs(5)))?;
    let entries = (0..keys).map(|index| (format!("key-{index:05}"), vec![b'x'; 100]));
    let change = Change {
        store: "default".into(),
        lifetime: None,
        what: What::Set(entries.collect()),
    };
    for result in database.commit(&[change]) {
        result?;
    }
    database.tidy()?;
    Ok((state, file))
}

/// Leaves of a store what is there when a host has ended in its own time: the file, without the index of its log.
fn forget_index(file: &Path) -> Result<()> {
    let index = file.with_extension("sqlite-shm");
    match fs::remove_file(index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A guest's first answer on a cold start: without a store, and after a read of one.
fn cold(bench: &Bench, folder: &Path, report: &mut Report) -> Result<()> {
    let nothing = WayOut::new(bench, "store-none", GUEST, "")?.host();
    let with = WayOut::new(bench, "store-cold", GUEST, GRANT)?;
    let (few_keys, many_keys) = (filled(folder, 1)?, filled(folder, 10_000)?);
    let few = with.host().variable("STATE_DIRECTORY", &few_keys.0);
    let many = with.host().variable("STATE_DIRECTORY", &many_keys.0);
    let read = format!("1 get default {KEY}\n");
    let starts: [(_, &Program, &[u8]); 4] = [
        ("no store", &nothing, b"ready\n"),
        ("a store, not used", &few, b"ready\n"),
        ("a read, one key", &few, read.as_bytes()),
        ("a read, 10,000 keys", &many, read.as_bytes()),
    ];
    for (_, program, words) in starts {
        settle(program, 1, words)?;
    }
    let mut times = [const { Samples::new() }; 4];
    for round in 0..2 * bench.effort.rounds {
        for place in 0..starts.len() {
            let index = if round % 2 == 0 {
                place
            } else {
                starts.len() - 1 - place
            };
            let (name, program, words) = starts[index];
            forget_index(&few_keys.1)?;
            forget_index(&many_keys.1)?;
            let time = cold_start(program, 1, words).map_err(|error| format!("{name}: {error}"))?;
            times[index].add(time);
        }
    }
    let mut table = Table::new(
        "The embedded store, execve to first byte",
        &["", "p10 µs", "median µs", "p99 µs"],
    );
    for ((name, ..), own) in starts.iter().zip(&times) {
        table.row(name, &[own.p10(), own.median(), own.p99()]);
    }
    report.table(table);
    let [nothing, _, few, many] = &times;
    report.measure("first read of the embedded store", few.p10() - nothing.p10())?;
    report.measure("a read on a cold start, 10,000 keys", many.p10() / few.p10())
}

/// A program that does what a line says.
struct Actor {
    name: &'static str,
    process: Process,
    address: SocketAddr,
}

impl Actor {
    fn new(name: &'static str, program: &Program) -> Result<Self> {
        let (process, address) = awake(program)?;
        Ok(Self { name, process, address })
    }

    fn contender(&self, work: (&'static str, u64)) -> Contender<'_> {
        Contender {
            name: self.name,
            process: &self.process,
            load: Box::new(move || act(self.address, work)),
        }
    }
}

/// Has a key read or written as often as `work` says.
fn act(address: SocketAddr, (command, count): (&str, u64)) -> Result<Load> {
    let mut client = BufReader::new(TcpStream::connect(address)?);
    client.get_ref().set_read_timeout(Some(PATIENCE))?;
    let began = Instant::now();
    client
        .get_mut()
        .write_all(format!("1 {command} default {KEY} {count}\n").as_bytes())?;
    let mut answer = String::new();
    client.read_line(&mut answer)?;
    if answer != "done\n" {
        return Err(format!("{command}: {answer:?}").into());
    }
    Ok(Load::of_one_client(count, began.elapsed()))
}

fn turns(bench: &Bench, actors: &[Actor], work: (&'static str, u64)) -> Result<Comparison> {
    let contenders: Vec<Contender> = actors.iter().map(|actor| actor.contender(work)).collect();
    alternate(&contenders, bench.effort.turns)
}

fn native(bench: &Bench, store: impl AsRef<std::ffi::OsStr>) -> Program {
    Program::new([bench.build.join("store-caller")]).variable("STORE", store)
}

fn embedded(bench: &Bench, folder: &Path, report: &mut Report) -> Result<()> {
    let (state, file) = filled(folder, 1000)?;
    let copy = file.with_file_name("native.sqlite");
    fs::copy(&file, &copy)?;
    let host = WayOut::new(bench, "store-warm", GUEST, GRANT)?.host();
    let host = host
        .arguments(["--idle-timeout", "infinity"])
        .variable("STATE_DIRECTORY", state);
    let native = native(bench, copy);
    let actors = || -> Result<[Actor; 2]> {
        Ok([
            Actor::new("wasm-sock", &host)?,
            Actor::new("native, crates/store", &native)?,
        ])
    };
    let mut measure = |actors: &[Actor], work, what, promise| -> Result<()> {
        let all = turns(bench, actors, work)?;
        let title = format!("The embedded store, one {what} after the other");
        report.table(all.table(&title, "per second"));
        let (ours, native) = (&all.turns[0], &all.turns[1]);
        report.measure(promise, ours.rate.turn_by_turn(&native.rate))
    };
    measure(&actors()?, GETS, "get", "gets per second")?;
    // Other processes, which have not read before the log of the file was long.
    let others = actors()?;
    measure(&others, SETS, "durable set", "durable sets per second")?;
    measure(&others, GETS_AFTER_SETS, "get after sets", "gets per second after sets")
}

fn redis(bench: &Bench, report: &mut Report) -> Result<()> {
    let Some(server) = bench.peers.redis(&bench.scratch)? else {
        report.skip("Redis", peers::MISSING);
        return Ok(());
    };
    let _redis = listening(&server.program, server.address)?;
    let url = format!("redis://{}", server.address);
    let mut client = TcpStream::connect(server.address)?;
    // For both: the host puts the names of the handler and the store before the key.
    for prefix in ["", "unknown:default:"] {
        write!(client, "SET {prefix}{KEY} {}\r\n", "x".repeat(100))?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer)?;
        if answer != *b"+OK\r\n" {
            return Err("Redis keeps nothing".into());
        }
    }
    let grant = format!("keyvalue = {{ default = \"{url}\" }}\n");
    let actors = [
        Actor::new("wasm-sock", &WayOut::new(bench, "store-redis", GUEST, &grant)?.both())?,
        Actor::new("native, redis-rs", &native(bench, &url))?,
        Actor::new(
            "native, redis-rs, blocking",
            &native(bench, &url).variable("BLOCKING", "yes"),
        )?,
    ];
    let all = turns(bench, &actors, GETS_OF_REDIS)?;
    report.table(all.table("A store of Redis, one get after the other", "per second"));
    let (ours, native) = (&all.turns[0], &all.turns[1]);
    report.measure("latency of a get of Redis", ours.median.turn_by_turn(&native.median))
}
