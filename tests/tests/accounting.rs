//! After very many connections, good ones and hostile ones, the host has what it had before.

use std::fs;
use std::thread;
use std::time::Duration;

use harness::{Address, Host, Kind, World, each_kind, eventually};

/// Connections of each of the clients that come at the same time.
const WARM: usize = 500;
const ROUNDS: usize = 12_000;
const CLIENTS: usize = 4;

/// Descriptors of a thread that serves: its event loop has some.
const DESCRIPTORS: usize = 3;

const MIB: u64 = 1024 * 1024;

/// What a process has of what the system has.
#[derive(Debug)]
struct Account {
    resident: u64,
    addresses: u64,
    descriptors: usize,
    threads: usize,
}

impl Account {
    fn of(host: &Host) -> Self {
        let count = |what: &str| {
            let folder = format!("/proc/{}/{what}", host.pid());
            fs::read_dir(folder).expect("the host is there").count()
        };
        Self {
            resident: host.memory("VmRSS:"),
            addresses: host.memory("VmSize:"),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }

    /// A thread may have come that stays, up to one for each processor and one for guests that compute.
    fn is_back_at(&self, before: &Self) -> bool {
        let most = thread::available_parallelism().expect("processors").get() + 1;
        let more = self.threads.saturating_sub(before.threads);
        self.resident < before.resident + 4 * MIB
            && self.addresses < before.addresses + 64 * MIB
            && self.threads <= most
            && self.descriptors <= before.descriptors + more * DESCRIPTORS
    }
}

/// One connection of each kind of client and guest.
fn visit(echo: &Address, trap: &Address, big: &Address) {
    echo.ask("hello").expect_whole("hello");
    let mut leaves_early = echo.connect();
    leaves_early.send("half a line");
    leaves_early.vanish();
    let _ = trap.knock();
    let unheard = big.connect();
    unheard.vanish();
}

fn visit_often(addresses: &[Address; 3], rounds: usize) {
    let [echo, trap, big] = addresses;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..rounds / CLIENTS {
                    visit(echo, trap, big);
                }
            });
        }
    });
}

each_kind! { BOTH: after_a_hundred_thousand_connections_the_host_is_as_it_was }
fn after_a_hundred_thousand_connections_the_host_is_as_it_was(kind: Kind) {
    let world = World::new(kind);
    world.install("echo", "echo");
    world.actor("trap", "trap", "");
    world.actor("big", "big 1000000", "");
    let addresses = ["echo", "trap", "big"].map(|handler| world.tcp(handler));
    let host = world.start(&[]);
    visit_often(&addresses, WARM);
    host.expect_in_flight(0);
    let before = Account::of(&host);
    // Four connections a round, for each kind of guest: a hundred thousand in all.
    visit_often(&addresses, ROUNDS + WARM);
    host.expect_in_flight(0);
    let mut last = None;
    eventually("the host has given back what it took", || {
        let now = Account::of(&host);
        let is_back = now.is_back_at(&before);
        if !is_back {
            eprintln!("{before:?}, and now {now:?}");
            thread::sleep(Duration::from_millis(500));
        }
        last = Some(now);
        is_back
    });
    eprintln!("{before:?}, {last:?}");
}

/// Clients that are connected at the same time.
const CROWD: usize = 200;

each_kind! { BOTH: a_crowd_leaves_no_memory_behind }
fn a_crowd_leaves_no_memory_behind(kind: Kind) {
    let world = World::new(kind);
    world.install("echo", "echo");
    let address = world.tcp("echo");
    let host = world.start(&[]);
    address.ask("hello").expect_whole("hello");
    host.expect_in_flight(0);
    let before = Account::of(&host);
    let mut crowd: Vec<_> = (0..CROWD).map(|_| address.connect()).collect();
    for client in &mut crowd {
        client.send("hello\n");
        assert_eq!(client.line(), "hello");
    }
    let meanwhile = Account::of(&host);
    assert!(
        meanwhile.resident > before.resident + 4 * MIB,
        "{before:?}, {meanwhile:?}"
    );
    for mut client in crowd {
        client.finish();
        client.answer().expect_whole("");
    }
    eventually("the host has given back what it took", || {
        let now = Account::of(&host);
        now.resident < before.resident + 2 * MIB && now.addresses < before.addresses + 64 * MIB
    });
}
