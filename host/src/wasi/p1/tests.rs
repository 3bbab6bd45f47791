//! Our own functions beside Wasmtime's: the same calls, on the same memory, with the same results; or the
//! difference is written down, with its reason.

use super::*;
use crate::config::{HandlerConfig, HostConfig};
use crate::limits::LogLimit;
use crate::net::{Connection, Stdin, Stdio, Stdout, Transport};
use crate::runtime::{Code, Engines, Unit};
use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use wasmtime::{Module, Store, Val};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::p1::{self, WasiP1Ctx};

/// What is different on purpose.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "fd_read 0 of nothing but empty buffers",
        "0 bytes as read(2) has it; Wasmtime's is EINTR",
    ),
    (
        "fd_read 0 of no buffers",
        "0 bytes as read(2) has it; Wasmtime's is EINTR",
    ),
    (
        "fd_write 1 of several buffers",
        "all of them are written at once, as writev(2) does it: on a socket of packets that is one packet",
    ),
    ("fd_write 1 of overlapping buffers", "all of them are written at once"),
    (
        "proc_exit 126",
        "codes are what exit(3) makes of them; Wasmtime's traps from 126 on",
    ),
    (
        "descriptors: what it is",
        "a socket, which has flags and can be shut down; Wasmtime's is of no known type",
    ),
    ("proc_exit 255", "as 126"),
    ("proc_exit -1", "as 126; 255"),
    ("proc_exit 256", "as 126; 0"),
    (
        "poll_oneoff of 5000 timers",
        "EINVAL, as poll(2) has it beyond RLIMIT_NOFILE",
    ),
];

/// These, too, whatever is read or written.
const BOTH_WAYS: &[(&str, &str)] = &[
    ("fd_read 1 of ", "both descriptors are the socket; Wasmtime's is EBADF"),
    ("fd_write 0 of ", "as fd_read 1"),
];

/// The functions that are ours, or that change what ours mean.
const FUNCTIONS: &[(&str, &str)] = &[
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("fd_close", "i32"),
    ("fd_renumber", "i32 i32"),
    ("random_get", "i32 i32"),
    ("args_sizes_get", "i32 i32"),
    ("args_get", "i32 i32"),
    ("environ_sizes_get", "i32 i32"),
    ("environ_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("clock_res_get", "i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("fd_fdstat_get", "i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("sched_yield", ""),
];

/// What is sent before the calls, and no more.
const INPUT: &[u8] = b"0123456789";

/// A function, and its arguments.
type Call = (&'static str, Vec<Val>);

/// Calls in a row.
struct Case {
    name: String,
    /// Bytes at addresses before the first call.
    memory: Vec<(u32, Vec<u8>)>,
    calls: Vec<Call>,
    /// What is in memory afterwards differs from one time to the next.
    is_random: bool,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    results: Vec<String>,
    memory: Vec<u8>,
    output: Vec<u8>,
}

/// Where things are put.
const LIST: i32 = 0x100;
const RESULT: i32 = 0x200;
const BUFFERS: i32 = 0x1000;
const END: i32 = 0x80000;

fn int(numbers: &[i32]) -> Vec<Val> {
    numbers.iter().map(|number| Val::I32(*number)).collect()
}

fn case(name: impl Into<String>, calls: Vec<Call>) -> Case {
    Case {
        name: name.into(),
        memory: vec![(BUFFERS as u32, b"The quick brown fox".to_vec())],
        calls,
        is_random: false,
    }
}

/// What is odd about a list of buffers, where it is, and their addresses and lengths.
type List = (&'static str, i32, Vec<(i32, i32)>);

fn lists() -> Vec<List> {
    vec![
        ("one buffer", LIST, vec![(BUFFERS, 5)]),
        ("no buffers", LIST, vec![]),
        ("nothing but empty buffers", LIST, vec![(BUFFERS, 0), (BUFFERS + 9, 0)]),
        ("an empty buffer first", LIST, vec![(BUFFERS, 0), (BUFFERS + 4, 5)]),
        (
            "an empty buffer that lies nowhere",
            LIST,
            vec![(-1, 0), (BUFFERS + 4, 5)],
        ),
        ("several buffers", LIST, vec![(BUFFERS, 3), (BUFFERS + 10, 2)]),
        ("overlapping buffers", LIST, vec![(BUFFERS, 6), (BUFFERS + 2, 6)]),
        ("a buffer over the list itself", LIST, vec![(LIST, 8)]),
        ("a buffer up to the end", LIST, vec![(END - 4, 4)]),
        ("a buffer beyond the end", LIST, vec![(END - 4, 5)]),
        ("a buffer that lies nowhere", LIST, vec![(-16, 8)]),
        ("a buffer as long as can be", LIST, vec![(BUFFERS, -1)]),
        ("a list that is not aligned", LIST + 1, vec![(BUFFERS, 5)]),
        ("a list at the end", END - 8, vec![(BUFFERS, 5)]),
    ]
}

fn transfers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (function, fds) in [("fd_read", [0, 1, 2, 3, -1]), ("fd_write", [1, 0, 3, 77, -1])] {
        for fd in fds {
            for (odd, at, list) in lists() {
                let count = list.len() as i32;
                let arguments = int(&[fd, at, count, RESULT]);
                let mut case = case(format!("{function} {fd} of {odd}"), vec![(function, arguments)]);
                for (number, (address, length)) in list.into_iter().enumerate() {
                    let entry = [address.to_le_bytes(), length.to_le_bytes()].concat();
                    case.memory.push((at as u32 + 8 * number as u32, entry));
                }
                cases.push(case);
            }
        }
        let fd = fds[0];
        let entry = [BUFFERS.to_le_bytes(), 5_i32.to_le_bytes()].concat();
        for (odd, at, count, result) in [
            ("a list beyond the end", END - 4, 1, RESULT),
            ("a list that lies nowhere", -8, 1, RESULT),
            ("a list as long as can be", LIST, -1, RESULT),
            ("a result beyond the end", LIST, 1, END - 2),
            ("a result that lies nowhere", LIST, 1, -4),
            ("a result that is not aligned", LIST, 1, RESULT + 1),
        ] {
            let arguments = int(&[fd, at, count, result]);
            let mut case = case(format!("{function} {fd} with {odd}"), vec![(function, arguments)]);
            case.memory.push((LIST as u32, entry.clone()));
            cases.push(case);
        }
    }
    cases
}

/// Standard input and output after they were closed, or moved.
fn moved_descriptors() -> Vec<Case> {
    let entry = [BUFFERS.to_le_bytes(), 5_i32.to_le_bytes()].concat();
    let read = |fd| ("fd_read", int(&[fd, LIST, 1, RESULT]));
    let write = |fd| ("fd_write", int(&[fd, LIST, 1, RESULT + 4]));
    let close = |fd| ("fd_close", int(&[fd]));
    let renumber = |from, to| ("fd_renumber", int(&[from, to]));
    let rows: Vec<(&str, Vec<Call>)> = vec![
        ("input closed", vec![close(0), read(0), write(1)]),
        ("output closed", vec![close(1), write(1), read(0)]),
        ("both closed", vec![close(0), close(1), read(0), write(1)]),
        ("closed twice", vec![close(1), close(1), close(0), close(0)]),
        ("errors closed", vec![close(2), write(2), write(1), read(0)]),
        ("closed that was never open", vec![close(9), close(-1), read(0)]),
        ("closed between reads", vec![read(0), close(0), read(0)]),
        (
            "input as another number",
            vec![renumber(0, 5), read(5), read(0), write(1)],
        ),
        ("output as another number", vec![renumber(1, 7), write(7), write(1)]),
        ("input over output", vec![renumber(0, 1), read(1), write(1), read(0)]),
        ("output over input", vec![renumber(1, 0), write(0), read(0), write(1)]),
        ("output over errors", vec![renumber(1, 2), write(2), write(1)]),
        ("to itself", vec![renumber(0, 0), read(0), renumber(1, 1), write(1)]),
        (
            "what is not open",
            vec![renumber(9, 0), read(0), renumber(0, 9), read(9)],
        ),
        ("read to the end and beyond", vec![read(0), read(0), read(0), read(0)]),
        (
            "what it is",
            vec![
                ("fd_fdstat_get", int(&[0, RESULT])),
                ("fd_fdstat_get", int(&[1, RESULT + 32])),
                (
                    "fd_seek",
                    vec![Val::I32(0), Val::I64(0), Val::I32(0), Val::I32(RESULT + 64)],
                ),
            ],
        ),
    ];
    let with_list = |(name, calls): (&str, _)| {
        let mut case = case(format!("descriptors: {name}"), calls);
        case.memory.push((LIST as u32, entry.clone()));
        case
    };
    rows.into_iter().map(with_list).collect()
}

/// Arguments and variables, at places of all kinds.
fn words() -> Vec<Case> {
    let mut cases = Vec::new();
    for function in ["args_sizes_get", "environ_sizes_get", "args_get", "environ_get"] {
        for (place, first, second) in [
            ("here and there", RESULT, BUFFERS),
            ("the same", RESULT, RESULT),
            ("overlapping", RESULT, RESULT + 4),
            ("not aligned", RESULT + 1, BUFFERS + 3),
            ("the first beyond the end", END - 2, BUFFERS),
            ("the first nowhere", -4, BUFFERS),
            ("the second beyond the end", RESULT, END - 2),
            ("the second nowhere", RESULT, -4),
            ("the second just at the end", RESULT, END),
        ] {
            let calls = vec![(function, int(&[first, second]))];
            cases.push(case(format!("{function} {place}"), calls));
        }
    }
    cases
}

fn others() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, length) in [
        (BUFFERS, 0),
        (BUFFERS, 16),
        (END, 0),
        (END - 4, 8),
        (-1, 0),
        (-1, 1),
        (0, -1),
    ] {
        let mut case = case(
            format!("random_get {at} {length}"),
            vec![("random_get", int(&[at, length]))],
        );
        case.is_random = true;
        cases.push(case);
    }
    for clock in [0, 1, 2, 3, 4, -1] {
        for result in [RESULT, RESULT + 1, END - 4, -8] {
            let time = vec![Val::I32(clock), Val::I64(0), Val::I32(result)];
            let calls = vec![("clock_time_get", time), ("clock_res_get", int(&[clock, result]))];
            let mut case = case(format!("clocks {clock} {result}"), calls);
            case.is_random = true;
            cases.push(case);
        }
    }
    for code in [0, 1, 125, 126, 255, -1, 256] {
        cases.push(case(format!("proc_exit {code}"), vec![("proc_exit", int(&[code]))]));
    }
    for (name, count) in [("no timers", 0), ("3 timers", 3), ("5000 timers", 5000)] {
        // A subscription of zeroes is one to a clock whose time has come.
        let calls = vec![("poll_oneoff", int(&[0x10000, 0x50000, count, RESULT]))];
        cases.push(case(format!("poll_oneoff of {name}"), calls));
    }
    let open = |fd: i32, path: i32, length: i32| {
        let mut arguments = int(&[fd, 0, path, length, 0]);
        arguments.extend([Val::I64(2), Val::I64(2), Val::I32(0), Val::I32(RESULT)]);
        ("path_open", arguments)
    };
    for (fd, path, length) in [(3, BUFFERS, 3), (0, BUFFERS, 3), (3, END, 1), (-1, -1, -1)] {
        let name = format!("path_open {fd} {path} {length}");
        cases.push(case(name, vec![open(fd, path, length)]));
    }
    cases.push(case("sched_yield", vec![("sched_yield", vec![])]));
    cases
}

/// A module with a function for each import, which calls it.
fn thunks(folder: &Path) -> (Engines, Module) {
    let mut text = String::from("(module\n");
    let all = FUNCTIONS.iter().map(|(name, types)| (*name, *types, "(result i32)"));
    let all: Vec<_> = all.chain([("proc_exit", "i32", "")]).collect();
    for (name, types, result) in &all {
        text += &format!("(import \"{MODULE}\" \"{name}\" (func ${name} (param {types}) {result}))\n");
    }
    text += "(memory (export \"memory\") 8)\n";
    for (name, types, result) in &all {
        let count = types.split_whitespace().count();
        let arguments: String = (0..count).map(|n| format!("(local.get {n})")).collect();
        text += &format!("(func (export \"{name}\") (param {types}) {result} (call ${name} {arguments}))\n");
    }
    text += ")";
    let (wasm, artifact) = (folder.join("thunks.wasm"), folder.join("thunks.cwasm"));
    std::fs::write(&wasm, wat::parse_str(text).unwrap()).unwrap();
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build");
    let build = env::var_os("WASM_SOCK_BUILD").map_or(build, Into::into);
    let compiler = build.join("wasm-sock-compile");
    let status = Command::new(&compiler).arg(&wasm).arg("-o").arg(&artifact).status();
    let status = status.unwrap_or_else(|e| panic!("{}: {e}: run `make` first", compiler.display()));
    assert!(status.success());
    let engines = Engines::new(HostConfig::default().stack).unwrap();
    // SAFETY: our compiler has just made it.
    let code = unsafe { Code::load(&engines.plain, &File::open(artifact).unwrap()) };
    match code.unwrap().unit {
        Unit::Core(module) => (engines, module),
        Unit::Component(_) => panic!("a module became a component"),
    }
}

fn guest() -> Arc<GuestContext> {
    Arc::new(GuestContext {
        handler: "tested".into(),
        stats: Default::default(),
        history: Arc::default(),
        values: Arc::default(),
        config: Arc::new(HandlerConfig {
            args: vec!["one".into(), "".into(), "drei\u{e4}".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), "".into())],
            ..HandlerConfig::default()
        }),
        log_limit: LogLimit::new(Some(0)),
        egress: None,
        http: None,
        stores: None,
        peer: None,
        connection: None,
        request: None,
    })
}

/// A connection whose client has sent [`INPUT`], and no more.
fn connection() -> (UnixStream, Stdio) {
    let (mut client, socket) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    client.write_all(INPUT).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let connection = Connection::new(Arc::new(socket.into()), Transport::Stream);
    (client, Stdio::Connection(Arc::new(connection)))
}

/// With our own functions.
async fn ours(module: &Module, case: &Case) -> Outcome {
    let (client, stdio) = connection();
    let state = GuestState::new(guest(), Default::default(), Some(stdio), None).unwrap();
    let mut linker = Linker::new(module.engine());
    for (name, _) in FUNCTIONS.iter().chain([&("proc_exit", "")]) {
        assert!(define(&mut linker, MODULE, name).unwrap(), "{name}");
    }
    run(module, &linker, state, client, case).await
}

/// With Wasmtime's, which is told the same, and has the same connection.
async fn theirs(module: &Module, case: &Case) -> Outcome {
    let (client, stdio) = connection();
    let guest = guest();
    let mut wasi = WasiCtx::builder();
    wasi.args(&guest.arguments())
        .envs(&guest.variables())
        .stdin(Stdin(stdio.clone()))
        .stdout(Stdout(stdio));
    let mut linker = Linker::new(module.engine());
    p1::add_to_linker_async(&mut linker, |state: &mut WasiP1Ctx| state).unwrap();
    run(module, &linker, wasi.build_p1(), client, case).await
}

async fn run<T: Send + 'static>(
    module: &Module,
    linker: &Linker<T>,
    state: T,
    mut client: UnixStream,
    case: &Case,
) -> Outcome {
    let mut store = Store::new(module.engine(), state);
    store.set_epoch_deadline(1_000_000);
    let instance = linker.instantiate_async(&mut store, module).await.unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    for (address, bytes) in &case.memory {
        memory.write(&mut store, *address as usize, bytes).unwrap();
    }
    let mut results = Vec::new();
    for (function, arguments) in &case.calls {
        let function = instance.get_func(&mut store, function).unwrap();
        let mut result = vec![Val::I32(-1); function.ty(&store).results().len()];
        let called = function.call_async(&mut store, arguments, &mut result);
        results.push(match called.await {
            Ok(()) => format!("{:?}", result.first().map(Val::unwrap_i32)),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(code)) => format!("exit code {code}"),
                None => "trap".to_owned(),
            },
        });
    }
    let memory = match case.is_random {
        true => Vec::new(),
        false => memory.data(&store).to_vec(),
    };
    drop(store);
    let mut output = Vec::new();
    // An error says that input was left unread (`unix(7)`); what was sent comes before it.
    let _ = client.read_to_end(&mut output);
    Outcome {
        results,
        memory,
        output,
    }
}

#[test]
fn our_functions_do_what_wasmtimes_do() {
    let folder = tempfile::tempdir().unwrap();
    let (_engines, module) = thunks(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cases = [transfers(), moved_descriptors(), words(), others()];
    let mut found = BTreeSet::new();
    for case in cases.into_iter().flatten() {
        let (ours, theirs) = runtime.block_on(async { (ours(&module, &case).await, theirs(&module, &case).await) });
        if ours != theirs {
            let first = ours.memory.iter().zip(&theirs.memory).position(|(a, b)| a != b);
            eprintln!(
                "{}: {:?} {:?} and not {:?} {:?}; memory differs from {first:?} on",
                case.name,
                ours.results,
                String::from_utf8_lossy(&ours.output),
                theirs.results,
                String::from_utf8_lossy(&theirs.output)
            );
            found.insert(case.name);
        }
    }
    for (start, why) in BOTH_WAYS {
        let before = found.len();
        found.retain(|name| !name.starts_with(start));
        assert!(found.len() < before, "{start}: {why}");
    }
    let expected = DIFFERENCES.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(found, expected.collect());
}
