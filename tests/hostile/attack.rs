//! Clients of a hostile guest, who come again whenever it ends, and the canary beside it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Address, Client, Host, World, eventually};
use rustix::process::Signal;

/// Answers that the slowest but one is taken of.
const ANSWERS: usize = 200;

/// Less than this is no harm, and no more than the noise of a busy machine.
const FLOOR: Duration = Duration::from_millis(50);

/// Who asks for it.
#[derive(Clone, Copy, PartialEq)]
pub enum Clients {
    /// Four, who take what they are answered.
    WhoRead,
    /// Four, who take nothing.
    WhoDoNotRead,
    /// Fifty.
    Many,
}

pub struct Attack<'a> {
    world: &'a World,
    target: Address,
    clients: Clients,
    evidence: String,
}

impl<'a> Attack<'a> {
    pub fn new(world: &'a World, target: Address) -> Self {
        Self {
            world,
            target,
            clients: Clients::WhoRead,
            evidence: String::new(),
        }
    }

    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// The answer of the hostile guest, or the log, has `evidence` in it, so that a test is found out
    /// whose guest does not do what it should. Empty: it runs until it is ended.
    pub fn shows(mut self, evidence: &str) -> Self {
        self.evidence = evidence.to_owned();
        self
    }

    /// The canary is asked without and with the attack.
    #[track_caller]
    pub fn besiege(self) {
        self.world.install("canary", "echo");
        let canary = self.world.tcp("canary");
        let mut host = self.world.start(&[]);
        canary.ask("warm up").expect_whole("warm up");
        let mut attempts = Vec::new();
        let is_calm = (0..3).any(|_| {
            let quiet = slowest_but_one(&canary);
            let attackers = self.attackers();
            self.expect_evidence(&host, &attackers);
            let besieged = slowest_but_one(&canary);
            drop(attackers);
            host.expect_in_flight(0);
            attempts.push(format!("{quiet:?} became {besieged:?}"));
            besieged <= (quiet * 3).max(FLOOR)
        });
        let peak = host.memory("VmHWM:") >> 20;
        eprintln!("{attempts:?}, {peak} MiB");
        assert!(is_calm, "the canary suffers: {attempts:?}");
        host.signal(Signal::TERM);
        host.expect_exit(0);
        assert_eq!(host.log.count("panicked"), 0, "{}", host.log.text());
    }

    fn attackers(&self) -> Vec<Attacker> {
        let count = if self.clients == Clients::Many { 50 } else { 4 };
        let reads = self.clients != Clients::WhoDoNotRead;
        (0..count)
            .map(|_| Attacker::start(self.target.clone(), reads))
            .collect()
    }

    fn expect_evidence(&self, host: &Host, attackers: &[Attacker]) {
        if self.evidence.is_empty() {
            return host.expect_in_flight(attackers.len());
        }
        eventually("the guest is hostile", || {
            let heard = |attacker: &Attacker| attacker.heard(&self.evidence);
            attackers.iter().any(heard) || host.log.count(&self.evidence) > 0
        });
    }
}

/// How long the canary takes, if it is not one of the lucky ones.
fn slowest_but_one(canary: &Address) -> Duration {
    let mut times: Vec<Duration> = (0..ANSWERS)
        .map(|number| {
            let start = Instant::now();
            let song = format!("tweet {number}");
            canary.ask(&song).expect_whole(&song);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ANSWERS * 99 / 100 - 1]
}

/// A client that connects again whenever its guest has ended, until it is dropped.
struct Attacker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    connection: Mutex<Option<Client>>,
    /// The beginning of what its guest said.
    heard: Mutex<String>,
}

impl Attacker {
    fn start(target: Address, reads: bool) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::spawn(move || {
            while !theirs.is_over.load(Relaxed) {
                theirs.connect(&target, reads);
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    fn heard(&self, text: &str) -> bool {
        let heard = self.shared.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).contains(text)
    }
}

impl Shared {
    fn hold(&self, client: Option<Client>) {
        *self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn connect(&self, target: &Address, reads: bool) {
        let Ok(mut client) = target.try_connect() else {
            return;
        };
        self.hold(Some(client.second()));
        if reads {
            client.read_until_end(|bytes| {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.len() < 1000 {
                    *heard += &String::from_utf8_lossy(bytes);
                }
            });
        } else {
            while !self.is_over.load(Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        self.hold(None);
        client.vanish();
        // Not a flood of connections, which would keep the machine busy by itself.
        thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        let thread = self.thread.take();
        // It may be about to connect once more.
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            let connection = self.shared.connection.lock();
            if let Some(client) = &*connection.unwrap_or_else(PoisonError::into_inner) {
                client.hang_up();
            }
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
