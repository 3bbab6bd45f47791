//! No connection is lost when the host exits: a client that connects in that moment is answered by the next host.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Address, BOTH, End, Supervisor, World};

/// Clients that knock at the same time.
const CLIENTS: u64 = 4;

/// Pauses of every length below `most`, in no order that anything could fall in step with.
fn pause(state: &mut u64, most: Duration) {
    // xorshift64 (G. Marsaglia, "Xorshift RNGs").
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    thread::sleep(most.mul_f64((*state % 1000) as f64 / 1000.0));
}

/// `knocks` at irregular moments, each of which must be answered whole.
fn knock_around(address: &Address, knocks: u64, most: Duration) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut state = 0x9e37_79b9_7f4a_7c15 ^ client;
                for number in 0..knocks / CLIENTS {
                    let answer = address.knock();
                    let whole = answer.text().starts_with("Hello, ") && answer.end == End::Closed;
                    assert!(whole, "knock {number} of client {client} got {answer:?}");
                    pause(&mut state, most);
                }
            });
        }
    });
}

fn world() -> impl Iterator<Item = (World, Address)> {
    BOTH.into_iter().map(|kind| {
        let world = World::new(kind);
        world.install("hello", "hello");
        let address = world.tcp("hello");
        (world, address)
    })
}

fn all_went_well(supervisor: &Supervisor, knocks: u64, least_hosts: usize) {
    assert_eq!(supervisor.failures(), Vec::<String>::new());
    let hosts = supervisor.hosts();
    assert!(hosts >= least_hosts, "{knocks} knocks met only {hosts} hosts");
}

#[test]
fn ten_thousand_knocks_around_idle_exits_are_all_answered() {
    for (world, address) in world() {
        for idle in ["0", "1ms", "3ms"] {
            let (start, knocks) = (Instant::now(), 1668);
            let launch = world.launch().args(&["--idle-timeout", idle]);
            let supervisor = launch.supervise();
            knock_around(&address, knocks, Duration::from_millis(15));
            all_went_well(&supervisor, knocks, 100);
            println!(
                "{:?}, idle-timeout {idle}: {knocks} knocks, {} hosts, {:.1?}",
                world.kind,
                supervisor.hosts(),
                start.elapsed()
            );
        }
    }
}

#[test]
fn ten_thousand_knocks_at_a_keeper_are_all_answered() {
    for (world, address) in world() {
        for idle in ["0", "1ms", "3ms"] {
            let (start, knocks) = (Instant::now(), 1668);
            let launch = world.launch().args(&["--when-idle", "park", "--idle-timeout", idle]);
            let mut keeper = launch.start();
            knock_around(&address, knocks, Duration::from_millis(15));
            keeper.expect_leave();
            let hosts = keeper.notifications.count("STATUS=asleep since ");
            assert!(hosts >= 100, "{knocks} knocks met only {hosts} hosts");
            assert_eq!(keeper.log.count("wasm-sock-keeper:"), 0, "{}", keeper.log.text());
            println!(
                "{:?}, parked, idle-timeout {idle}: {knocks} knocks, {hosts} hosts, {:.1?}",
                world.kind,
                start.elapsed()
            );
        }
    }
}

#[test]
fn a_thousand_knocks_while_hosts_are_told_to_stop_are_all_answered() {
    for (world, address) in world() {
        let knocks = 1000;
        let supervisor = world.launch().supervise();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = 88_172_645_463_325_252;
                while !stop.load(SeqCst) {
                    pause(&mut state, Duration::from_millis(20));
                    supervisor.terminate();
                }
            });
            let knocking = scope.spawn(|| {
                knock_around(&address, knocks, Duration::from_millis(10));
            });
            let result = knocking.join();
            stop.store(true, SeqCst);
            result.expect("every knock is answered");
        });
        all_went_well(&supervisor, knocks, 20);
        println!("{:?}: {knocks} knocks, {} hosts", world.kind, supervisor.hosts());
    }
}
