//! A guest that misbehaves does not disturb its neighbours.
//!
//! "Not disturbed": the median latency of a well-behaved guest stays within three times of what it
//! was alone, measured just before. Machines are noisy, so it may take three attempts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Address, BOTH, Client, Host, Kind, World, each_kind, median};

/// Knocks that a median is taken of.
const KNOCKS: usize = 300;

const NO_LIMITS: &str = "cpu-time = \"infinity\"\ntimeout = \"infinity\"";

fn latency(address: &Address) -> Duration {
    let knock = |_| {
        let start = Instant::now();
        let answer = address.knock();
        assert!(answer.text().starts_with("Hello"), "{answer:?}");
        start.elapsed()
    };
    median((0..KNOCKS).map(knock).collect())
}

/// `disturb` begins the misbehaviour of an actor's port; it lasts as long as what is returned.
fn does_not_disturb<T>(part: &str, disturb: impl Fn(&Host, &Address) -> T) {
    for kind in BOTH {
        let world = World::alone(kind);
        world.install("hello", "hello");
        let hello = world.tcp("hello");
        let nuisance = world.actor_port("nuisance", part, NO_LIMITS);
        let host = world.start(&[]);
        let mut attempts = Vec::new();
        let calm = (0..3).any(|_| {
            let alone = latency(&hello);
            let nuisances = disturb(&host, &nuisance);
            let beside = latency(&hello);
            drop(nuisances);
            host.expect_in_flight(0);
            attempts.push(format!("alone {alone:?}, beside it {beside:?}"));
            beside <= alone * 3
        });
        eprintln!("{kind:?}: {attempts:?}");
        assert!(calm, "{part} disturbs its neighbour: {attempts:?}");
    }
}

/// This many connections, whose clients do nothing more.
fn held(count: usize) -> impl Fn(&Host, &Address) -> Vec<Gone> {
    move |host, address| {
        let connect = |_| Gone(Some(address.connect()));
        let clients = (0..count).map(connect).collect();
        host.expect_in_flight(count);
        clients
    }
}

#[test]
fn guests_that_spin_do_not_disturb() {
    does_not_disturb("spin", held(8));
}

#[test]
fn guests_that_spin_with_calls_do_not_disturb() {
    does_not_disturb("spin-calls", held(8));
}

#[test]
fn guests_that_sleep_do_not_disturb() {
    does_not_disturb("sleep", held(50));
}

#[test]
fn guests_that_flood_clients_who_do_not_read_do_not_disturb() {
    does_not_disturb("flood", held(8));
}

#[test]
fn a_guest_that_floods_a_client_who_reads_does_not_disturb() {
    does_not_disturb("flood", |_, address| {
        let client = address.connect();
        let mut reader = client.second();
        let reading = thread::spawn(move || reader.read_until_end(|_| {}));
        (Gone(Some(client)), reading)
    });
}

#[test]
fn guests_that_never_read_do_not_disturb() {
    does_not_disturb("never-read 60000", |_, address| {
        let fill = |_| {
            let client = address.connect();
            let mut second = client.second();
            // More than the kernel takes for a guest that does not read.
            let sending = thread::spawn(move || {
                use std::io::Write;
                let _ = second.write_all(&vec![b'x'; 8 << 20]);
            });
            (Gone(Some(client)), sending)
        };
        (0..8).map(fill).collect::<Vec<_>>()
    });
}

#[test]
fn clients_that_go_on_sending_after_their_answer_do_not_disturb() {
    does_not_disturb("reply-early", |_, address| {
        let flood = |_| {
            let address = address.clone();
            thread::spawn(move || {
                use std::io::Write;
                let mut client = address.connect();
                // Until the host has had enough of it.
                while client.write_all(&[b'x'; 1 << 16]).is_ok() {}
            })
        };
        (0..4).map(flood).collect::<Vec<_>>()
    });
}

#[test]
fn guests_that_trap_do_not_disturb() {
    does_not_disturb("trap-early", over_and_over);
}

#[test]
fn guests_that_allocate_without_end_do_not_disturb() {
    does_not_disturb("allocate-trap", over_and_over);
}

each_kind! { BOTH: a_guest_that_computes_gets_on_though_others_spin }
fn a_guest_that_computes_gets_on_though_others_spin(kind: Kind) {
    let world = World::alone(kind);
    let spin = world.actor_port("spin", "spin", NO_LIMITS);
    let big = world.actor_port("big", "big 20000000", NO_LIMITS);
    let host = world.start(&[]);
    let _spinning = held(4)(&host, &spin);
    assert_eq!(big.knock().bytes.len(), 20_000_000);
}

/// A client that resets its connection when it is dropped, whoever else still holds it.
struct Gone(Option<Client>);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.hang_up();
            client.vanish();
        }
    }
}

/// A client in a thread of its own that knocks again as soon as it was answered.
struct Knocking {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

fn over_and_over(_: &Host, address: &Address) -> Knocking {
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (theirs, address) = (stop.clone(), address.clone());
    let thread = thread::spawn(move || {
        while !theirs.load(Relaxed) {
            address.knock();
            // Not a flood of connections, which would keep the machine busy by itself.
            thread::sleep(Duration::from_millis(1));
        }
    });
    Knocking {
        stop,
        thread: Some(thread),
    }
}

impl Drop for Knocking {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

each_kind! { BOTH: a_guest_sees_nothing_of_the_host_that_it_was_not_granted }
fn a_guest_sees_nothing_of_the_host_that_it_was_not_granted(kind: Kind) {
    let world = World::new(kind);
    let look = world.actor_port("look", "files /", "");
    let climb = world.actor_port("climb", "files ..", "");
    let _host = world.start(&[]);
    for address in [look, climb] {
        address.knock().expect_no_files();
    }
}

/// A handler that tells its arguments and environment, and has a secret of its own in each; and what it is
/// to say, of which the ports are missing.
struct Confidant {
    name: &'static str,
    address: Address,
}

impl Confidant {
    fn new(world: &World, name: &'static str) -> Self {
        let part = format!("env {name}-argument");
        let settings = format!("env = {{ {name}_variable = \"{name}-value\" }}");
        let address = world.actor_port(name, &part, &settings);
        Self { name, address }
    }

    /// It says what it was told, all of it and nothing more.
    fn tells_what_is_its_own(&self, kind: Kind) {
        let (name, local) = (self.name, self.address.port());
        let mut client = self.address.connect();
        let remote = client.local_port();
        let variables = format!(
            "PROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={remote}\nTCPLOCALIP=127.0.0.1\n\
             TCPLOCALPORT={local}\nTCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={remote}\n\
             WASM_SOCK_NAME={name}\n{name}_variable={name}-value\n"
        );
        let arguments = match kind {
            Kind::P1 | Kind::P2 => format!("arg: {name}\narg: env\narg: {name}-argument\n"),
            // This actor tells its environment only.
            Kind::P3 => String::new(),
        };
        client.answer().expect_whole(&(variables + &arguments));
    }
}

each_kind! { ALL: a_guest_sees_its_own_arguments_and_environment_and_nothing_of_others }
fn a_guest_sees_its_own_arguments_and_environment_and_nothing_of_others(kind: Kind) {
    let world = World::new(kind);
    let (one, other) = (Confidant::new(&world, "one"), Confidant::new(&world, "other"));
    // The variables of a guest are compared with all that it may have: a secret of the host would show.
    let host = world.launch().env("HOST_SECRET", "host-value").start();
    let environment = format!("/proc/{}/environ", host.pid());
    let environment = std::fs::read(environment).expect("read the host's environment");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("HOST_SECRET=host-value"));
    // Both are the same module, and run in turns: nothing stays behind for the next one.
    for _ in 0..3 {
        one.tells_what_is_its_own(kind);
        other.tells_what_is_its_own(kind);
    }
}
