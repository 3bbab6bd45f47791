//! Several processes use a store at the same time, and are killed at any moment: nothing that was acknowledged is lost,
//! nothing happens twice, and the next process reads at once.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasm_sock_store::{Change, Changed, Database, Patience, What};

const WAIT: Patience = Patience::Wait(Duration::from_secs(30));
const QUOTA: u64 = 1 << 30;

/// Given to a process of this test that is to write: the file, and its number.
const FILE: &str = "WASM_SOCK_TEST_FILE";
const NUMBER: &str = "WASM_SOCK_TEST_NUMBER";

fn open(file: &Path) -> Database {
    Database::open_or_make(file, QUOTA, WAIT).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn change(what: What) -> Change {
    Change {
        store: "default".to_owned(),
        lifetime: None,
        what,
    }
}

fn value_of(database: &Database, key: &str) -> u64 {
    let value = database.get("default", key).expect("a store that can be read");
    value.map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

/// Not a test: what a process does that is going to be killed. It counts in a counter of its own and in that of all,
/// in one transaction, and says so after each.
#[test]
fn a_process_that_writes() {
    let (Some(file), Ok(number)) = (std::env::var_os(FILE), std::env::var(NUMBER)) else {
        return;
    };
    let mut database = open(&PathBuf::from(file));
    let own = format!("own{number}");
    let padding = vec![b'x'; 3000];
    loop {
        let increment = |key: &str| {
            change(What::Increment {
                key: key.to_owned(),
                delta: 1,
            })
        };
        let filler = change(What::Set(vec![(format!("filler{number}"), padding.clone())]));
        let results = database.commit(&[increment(&own), increment("all"), filler]);
        match results.as_slice() {
            [Ok(Changed::Number(count)), Ok(_), Ok(_)] => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {count}")
                    .and_then(|()| out.flush())
                    .expect("a parent");
            }
            results => panic!("{results:?}"),
        }
    }
}

fn start(file: &Path, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_writes", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The last number that the process has acknowledged. Ends with the process.
fn acknowledged(process: &mut Child) -> thread::JoinHandle<u64> {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    thread::spawn(move || {
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            let (_, number) = line.split_once("acknowledged ")?;
            number.parse().ok()
        });
        numbers.last().unwrap_or(0)
    })
}

/// How long a process takes until it has acknowledged its first change.
fn time_to_write() -> Duration {
    let folder = TempDir::new().unwrap();
    let begin = Instant::now();
    let mut process = start(&folder.path().join("keyvalue.sqlite"), 0);
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("acknowledged ")));
    let took = begin.elapsed();
    process.kill().unwrap();
    process.wait().unwrap();
    took
}

/// Kills `processes` at a time, until `kills` were killed.
fn kill_and_check(processes: usize, kills: usize) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keyvalue.sqlite");
    let mut last = vec![0; processes];
    let (mut random, mut killed) = (0x1234_5678_u64, 0);
    // From before the file is open to the middle of its 20th change or so.
    let most = time_to_write().mul_f32(2.0).max(Duration::from_millis(60)).as_micros() as u64;
    while killed < kills {
        let mut running: Vec<Child> = (0..processes).map(|number| start(&file, number)).collect();
        let readers: Vec<_> = running.iter_mut().map(acknowledged).collect();
        for process in &mut running {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            thread::sleep(Duration::from_micros(random % most));
            process.kill().unwrap();
            killed += 1;
        }
        for process in &mut running {
            assert_eq!(process.wait().unwrap().code(), None, "it ended before it was killed");
        }
        let told: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        let begin = Instant::now();
        let database = open(&file);
        let all = value_of(&database, "all");
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "it took {:?} to read",
            begin.elapsed()
        );
        let mut sum = 0;
        for (number, told) in told.into_iter().enumerate() {
            let stored = value_of(&database, &format!("own{number}"));
            let acknowledged = told.max(last[number]);
            // One more may have been on the disk when the process was killed.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&stored),
                "process {number}: {acknowledged} were acknowledged, {stored} are stored"
            );
            last[number] = stored;
            sum += stored;
        }
        assert_eq!(all, sum, "what is counted together in one transaction");
        database.verify().unwrap();
    }
    assert!(
        last.iter().all(|stored| *stored > 0),
        "each process has written: {last:?}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_when_a_process_is_killed() {
    kill_and_check(1, 25);
}

#[test]
fn nothing_acknowledged_is_lost_when_four_processes_are_killed_at_a_time() {
    kill_and_check(4, 40);
}

#[test]
#[ignore = "takes minutes: cargo test -p wasm-sock-store --test processes -- --ignored"]
fn nothing_acknowledged_is_lost_in_a_thousand_kills() {
    kill_and_check(1, 1000);
    kill_and_check(4, 1000);
}
