//! Tables of one process, and what is in their directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use wasm_sock_stats::{Ended, HandlerSnapshot, Outcome, Table, read_all};

fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("make a folder in memory")
}

fn ended(outcome: Outcome) -> Ended {
    Ended {
        outcome,
        bytes_in: 10,
        bytes_out: 200,
        duration: Some(Duration::from_micros(300)),
        first_byte: Some(Duration::from_micros(200)),
        cpu: Duration::from_nanos(1_500),
        memory_peak: 65_536,
        status: Some(204),
    }
}

fn read(directory: &Path) -> BTreeMap<String, HandlerSnapshot> {
    let handlers = read_all(directory).expect("read the counters");
    handlers
        .into_iter()
        .map(|handler| (handler.name.clone(), handler))
        .collect()
}

/// Counts one that is served, in a table of its own; returns the table.
fn serve_one(directory: &Path, name: &str) -> Table {
    let table = Table::open(directory, [name]).expect("open a table");
    let handler = table.handler(name);
    handler.begin();
    handler.end(&ended(Outcome::Ok));
    table
}

#[test]
fn what_is_counted_is_read() {
    let root = directory();
    let directory = root.path().join("stats");
    let table = serve_one(&directory, "hello");
    let handler = table.handler("hello");
    handler.activated();
    handler.dropped_lines(7);
    handler.begin();
    handler.begin();
    handler.end(&Ended {
        memory_peak: 1,
        first_byte: None,
        status: None,
        ..ended(Outcome::Trap)
    });
    table.set_reload(true);
    table.set_reload(false);
    let hello = read(&directory).remove("hello").unwrap();
    assert_eq!((hello.activations, hello.in_flight, hello.killed), (1, 1, 0));
    assert_eq!((hello.served(), hello.failed(), hello.lines_dropped), (2, 1, 7));
    assert_eq!((hello.bytes_in, hello.bytes_out, hello.cpu), (20, 400, 3_000));
    assert_eq!((hello.memory_peak, hello.classes), (65_536, [0, 1, 0, 0, 0]));
    assert_eq!(
        (
            hello.duration.count(),
            hello.duration.buckets[1],
            hello.first_byte.count()
        ),
        (2, 2, 1)
    );
    assert_eq!(hello.first_byte.sum, 200_000);
    let [host] = &hello.hosts[..] else {
        panic!("one host is running: {:?}", hello.hosts);
    };
    assert_eq!(
        (host.pid, host.reloads, host.reload_failed),
        (std::process::id(), 2, true)
    );
    assert!(hello.last_client >= hello.created && host.since >= hello.created);
    assert_eq!(fs::metadata(directory.join("hello")).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn counters_outlive_their_process_and_the_next_one_takes_its_place() {
    let root = directory();
    for round in 1..=40 {
        let table = serve_one(root.path(), "hello");
        table.handler("hello").begin();
        let hello = &read(root.path())["hello"];
        assert_eq!((hello.in_flight, hello.killed), (1, round - 1), "with a process");
        drop(table);
        let hello = &read(root.path())["hello"];
        assert_eq!((hello.in_flight, hello.killed), (0, round), "after it");
        assert_eq!((hello.served(), hello.hosts.len()), (2 * round, 0));
    }
    let size = fs::metadata(root.path().join("hello")).unwrap().len();
    assert_eq!(size, 4096, "the places of processes that are gone are used again");
}

#[test]
fn a_host_that_leaves_in_order_leaves_nothing_behind() {
    let root = directory();
    let table = serve_one(root.path(), "hello");
    (0..3).for_each(|_| table.handler("hello").begin());
    table.handler("hello").take_back();
    table.leave();
    let hello = &read(root.path())["hello"];
    assert_eq!((hello.hosts.len(), hello.in_flight, hello.killed), (0, 0, 0));
    assert_eq!(
        (
            hello.ended[Outcome::Ok as usize],
            hello.ended[Outcome::Drained as usize]
        ),
        (1, 2)
    );
}

#[test]
fn hundreds_of_hosts_of_a_handler_have_a_place_each() {
    let root = directory();
    let tables: Vec<Table> = (0..700).map(|_| serve_one(root.path(), "hello")).collect();
    for table in &tables {
        table.handler("hello").begin();
    }
    let hello = &read(root.path())["hello"];
    assert_eq!((hello.hosts.len(), hello.in_flight, hello.served()), (700, 700, 700));
    drop(tables);
    let hello = &read(root.path())["hello"];
    assert_eq!((hello.hosts.len(), hello.in_flight, hello.killed), (0, 0, 700));
}

#[test]
fn a_thousand_handlers_of_a_host_have_a_place_each_and_more_share_one() {
    let root = directory();
    let names: Vec<String> = (0..1_000).map(|number| format!("handler-{number}")).collect();
    let table = Table::open(root.path(), names.iter().map(String::as_str)).unwrap();
    let one = |name: &str| {
        table.handler(name).begin();
        table.handler(name).end(&ended(Outcome::Ok));
    };
    names.iter().for_each(|name| one(name));
    let counted = read(root.path());
    assert_eq!(counted.len(), 1_000);
    assert!(names.iter().all(|name| counted[name].served() == 1));
    let more: Vec<String> = (0..5_000).map(|number| format!("another-{number}")).collect();
    more.iter().for_each(|name| one(name));
    let counted = read(root.path());
    let all: u64 = counted.values().map(HandlerSnapshot::served).sum();
    assert_eq!(all, 6_000, "all are counted");
    assert!(
        counted["@others"].served() > 0,
        "those without a place of their own are counted together"
    );
    assert!(names.iter().all(|name| counted[name].served() == 1));
}

#[test]
fn every_name_that_a_socket_can_have_is_counted() {
    let root = directory();
    let longest = "n".repeat(255);
    let names = [
        "a b",
        "..",
        ".hidden",
        "@shared",
        "@new.1",
        "../../escape",
        "quo\"te\\",
        &longest,
    ];
    for name in names {
        serve_one(root.path(), name);
    }
    for name in ["", "ü", &"n".repeat(256)] {
        serve_one(root.path(), name);
    }
    let counted = read(root.path());
    let served: Vec<_> = names
        .iter()
        .map(|name| counted.get(*name).map(HandlerSnapshot::served))
        .collect();
    assert_eq!(served, [Some(1); 8]);
    assert_eq!(counted.len(), names.len());
    let files: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        files.len(),
        4,
        "{files:?}: a file each for three names, and one that the others share"
    );
}

#[test]
fn a_handler_that_is_served_alone_and_together_with_others_is_counted_once() {
    let root = directory();
    serve_one(root.path(), "hello");
    let table = Table::open(root.path(), ["other", "hello"]).unwrap();
    table.handler("hello").begin();
    let hello = &read(root.path())["hello"];
    assert_eq!((hello.served(), hello.in_flight, hello.hosts.len()), (1, 1, 1));
}

#[test]
fn a_file_that_cannot_be_used_is_replaced() {
    let root = directory();
    let path = root.path().join("hello");
    let replaced = |how: &str| {
        drop(serve_one(root.path(), "hello"));
        assert_eq!(read(root.path())["hello"].served(), 1, "{how}");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        bytes
    };
    let good = replaced("a new one");
    fs::write(&path, "").unwrap();
    replaced("an empty one");
    fs::write(&path, &good[..700]).unwrap();
    replaced("a file that was cut");
    let mut other = good.clone();
    other[0] ^= 1;
    fs::write(&path, &other).unwrap();
    replaced("a file of another version");
    other = good.clone();
    other[8..16].fill(0xff);
    fs::write(&path, &other).unwrap();
    replaced("more handlers than fit");
    drop(serve_one(root.path(), "world"));
    fs::copy(root.path().join("world"), &path).unwrap();
    replaced("a copy of another handler's");
    symlink("/dev/shm/wasm-sock-no-such-file", &path).unwrap();
    replaced("a symbolic link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    replaced("a pipe");
    assert!(!Path::new("/dev/shm/wasm-sock-no-such-file").exists());
    let left: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["world"], "nothing unfinished is left behind");
}

#[test]
fn a_host_that_has_a_file_mapped_survives_that_it_is_replaced() {
    let root = directory();
    let table = serve_one(root.path(), "hello");
    fs::remove_file(root.path().join("hello")).unwrap();
    fs::write(root.path().join("hello"), "x").unwrap();
    let _next = serve_one(root.path(), "hello");
    table.handler("hello").begin();
    assert_eq!(read(root.path())["hello"].served(), 1);
}

#[test]
fn where_nothing_can_be_written_the_reason_is_told() {
    let root = directory();
    let missing = root.path().join("no/such/stats");
    let error = Table::open(&missing, ["hello"]).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("{}/hello: No such file or directory (os error 2)", missing.display())
    );
    assert_eq!(read_all(&missing).unwrap(), []);
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Table::open(&file, ["hello"]).is_err());
    fs::create_dir(root.path().join("hello")).unwrap();
    assert!(
        Table::open(root.path(), ["hello"]).is_err(),
        "a folder has the name of the file"
    );
    let nothing = wasm_sock_stats::HandlerStats::default();
    nothing.begin();
    nothing.end(&ended(Outcome::Ok));
}

#[test]
fn readers_believe_nothing() {
    let root = directory();
    drop(serve_one(root.path(), "hello"));
    let good = fs::read(root.path().join("hello")).unwrap();
    let mut random = 1u64;
    for _ in 0..3_000 {
        let mut bad = good.clone();
        for _ in 0..8 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = (random >> 33) as usize % 1_100;
            bad[place] = (random >> 20) as u8;
        }
        bad.truncate(4_096 - (random >> 60) as usize * 200);
        fs::write(root.path().join("hello"), bad).unwrap();
        for handler in read_all(root.path()).unwrap() {
            let _ = (handler.served(), handler.failed(), handler.duration.count());
        }
    }
    let (huge, folder) = (root.path().join("huge"), root.path().join("folder"));
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    fs::create_dir(&folder).unwrap();
    symlink("/proc/self/mem", root.path().join("link")).unwrap();
    fs::write(root.path().join("hello"), &good).unwrap();
    assert_eq!(read(root.path()).keys().collect::<Vec<_>>(), ["hello"]);
    let hidden = fs::Permissions::from_mode(0o000);
    fs::set_permissions(&huge, hidden).unwrap();
    assert_eq!(read(root.path()).len(), 1);
}
