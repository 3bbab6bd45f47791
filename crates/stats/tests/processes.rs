//! Many processes, which are killed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasm_sock_stats::{Ended, HandlerSnapshot, Outcome, Table, read_all};

const DIRECTORY: &str = "STATS_TEST_DIRECTORY";
const WORK: &str = "STATS_TEST_WORK";

/// Not a test: what the processes of the others do.
#[test]
fn worker() {
    let (Some(directory), Ok(work)) = (env::var_os(DIRECTORY), env::var(WORK)) else {
        return;
    };
    let directory = Path::new(&directory);
    match work.as_str() {
        "serve" => serve(directory),
        "wait" => {
            let table = Table::open(directory, ["hello"]).expect("open a table");
            table.handler("hello").begin();
            say_ready();
            wait();
        }
        "fork" => fork(directory),
        "count" => {
            let table = Table::open(directory, ["hello"]).expect("open a table");
            let handler = table.handler("hello");
            handler.begin();
            handler.end(&served());
        }
        _ => unreachable!("{work}"),
    }
}

/// Has three in flight and ends and begins others, as quickly as it can.
fn serve(directory: &Path) {
    let table = Table::open(directory, ["hello"]).expect("open a table");
    let handler = table.handler("hello");
    (0..3).for_each(|_| handler.begin());
    say_ready();
    loop {
        handler.begin();
        handler.end(&served());
    }
}

/// Forks a child before it opens the table. The child outlives it, for ten seconds at most.
fn fork(directory: &Path) {
    // SAFETY: the child calls functions that are safe after a fork only.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: none of these has conditions. Without the pipes of its parent, whose ends are waited for.
        unsafe {
            libc::close(1);
            libc::close(2);
            libc::alarm(10);
        }
        wait();
    }
    let table = Table::open(directory, ["hello"]).expect("open a table");
    table.handler("hello").begin();
    say_ready();
    wait();
}

fn wait() {
    loop {
        // SAFETY: it has no conditions.
        unsafe { libc::pause() };
    }
}

fn say_ready() {
    println!("ready");
}

fn served() -> Ended {
    Ended {
        outcome: Outcome::Ok,
        bytes_in: 1,
        bytes_out: 1,
        duration: Some(Duration::from_micros(1)),
        first_byte: None,
        cpu: Duration::ZERO,
        memory_peak: 0,
        status: None,
    }
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(directory: &Path, work: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["worker", "--exact", "--nocapture"]);
        command.env(DIRECTORY, directory).env(WORK, work);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until it has said that it is ready.
    fn ready(mut self) -> Self {
        let output = self.0.stdout.as_mut().unwrap();
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"ready") {
            assert_eq!(
                output.read(&mut byte).unwrap(),
                1,
                "it ended: {}",
                String::from_utf8_lossy(&said)
            );
            said.push(byte[0]);
        }
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("make a folder in memory")
}

fn read(directory: &Path) -> HandlerSnapshot {
    let mut handlers: BTreeMap<String, HandlerSnapshot> = BTreeMap::new();
    handlers.extend(read_all(directory).unwrap().into_iter().map(|h| (h.name.clone(), h)));
    handlers.remove("hello").unwrap_or_default()
}

#[test]
fn what_a_killed_process_had_in_flight_is_counted_once_whenever_it_is_killed() {
    let root = directory();
    let (mut before, mut killed_before) = (0, 0);
    for round in 0..120u64 {
        let process = Process::start(root.path(), "serve").ready();
        let now = read(root.path());
        assert!(
            (3..=4).contains(&now.in_flight),
            "{} in flight, round {round}",
            now.in_flight
        );
        assert_eq!(now.killed, killed_before, "while it runs, round {round}");
        std::thread::sleep(Duration::from_micros(round * 37 % 500));
        drop(process);
        let after = read(root.path());
        assert_eq!(after.in_flight, 0);
        let (killed, ok) = (after.killed - killed_before, after.ended[Outcome::Ok as usize]);
        assert!((3..=4).contains(&killed), "{killed} were killed in round {round}");
        assert!(ok >= before, "what had ended was lost in round {round}");
        assert_eq!(read(root.path()), after, "reading changes nothing");
        (before, killed_before) = (ok, after.killed);
    }
    assert!(before > 0, "none of them has served any");
}

#[test]
fn a_process_that_is_killed_while_it_takes_its_place_breaks_nothing() {
    let root = directory();
    let mut random = 7u64;
    for round in 0..150 {
        if round % 30 == 0 {
            // Also while it makes the file.
            let _ = fs::remove_file(root.path().join("hello"));
        }
        let process = Process::start(root.path(), "count");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 40) % 3_000));
        drop(process);
        let now = read(root.path());
        assert!(now.served() <= 150 && now.killed <= now.served(), "{now:?}");
    }
    let (before, mut process) = (read(root.path()).served(), Process::start(root.path(), "count"));
    assert!(process.0.wait().unwrap().success());
    assert_eq!(
        read(root.path()).served(),
        before + 1,
        "the next process counts as ever"
    );
}

#[test]
fn the_counters_that_never_fall_do_not_fall_while_processes_come_and_are_killed() {
    let root = directory();
    let until = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        let churn = || {
            while Instant::now() < until {
                drop(Process::start(root.path(), "serve").ready());
            }
        };
        scope.spawn(churn);
        scope.spawn(churn);
        let mut last = read(root.path());
        let mut readings = 0;
        while Instant::now() < until {
            let now = read(root.path());
            assert!(
                now.killed >= last.killed,
                "killed fell from {} to {}",
                last.killed,
                now.killed
            );
            assert!(
                now.served() >= last.served(),
                "served fell from {} to {}",
                last.served(),
                now.served()
            );
            assert!(now.in_flight <= 8, "{} in flight", now.in_flight);
            (last, readings) = (now, readings + 1);
        }
        assert!(
            readings > 100 && last.killed > 10,
            "{readings} readings, {} killed",
            last.killed
        );
    });
}

#[test]
fn a_hundred_processes_that_start_at_a_time_have_a_place_each() {
    let root = directory();
    let processes: Vec<_> = (0..100).map(|_| Process::start(root.path(), "wait")).collect();
    let processes: Vec<_> = processes.into_iter().map(Process::ready).collect();
    let now = read(root.path());
    assert_eq!((now.hosts.len(), now.in_flight, now.killed), (100, 100, 0));
    let pids: std::collections::BTreeSet<u32> = now.hosts.iter().map(|host| host.pid).collect();
    assert_eq!(pids, processes.iter().map(|process| process.0.id()).collect());
    drop(processes);
    let now = read(root.path());
    assert_eq!((now.hosts.len(), now.in_flight, now.killed), (0, 0, 100));
}

#[test]
fn a_child_that_was_forked_before_does_not_keep_the_place_of_its_parent() {
    let root = directory();
    let process = Process::start(root.path(), "fork").ready();
    assert_eq!(read(root.path()).in_flight, 1);
    drop(process);
    let now = read(root.path());
    assert_eq!((now.hosts.len(), now.in_flight, now.killed), (0, 0, 1));
}
