//! Clients of a hostile guest, which connect again whenever it ends, and a well-behaved guest beside it, the canary.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Address, Client, Host, Log, World, eventually};
use rustix::process::Signal;

/// Answers that the 99th percentile is taken of: all but two come in that time.
const ANSWERS: usize = 200;

/// How often the canary is asked, by two clients in turn. No client asks more often than what an answer may take
/// ([`TICK`]): its questions would wait for each other, and so show a host that is a little slow as one that stands
/// still.
const INTERVAL: Duration = Duration::from_millis(5);
const CLIENTS: u32 = 2;

/// What an attack may add to three times the canary's time without it: one tick of the scheduler. A kernel with
/// `CONFIG_HZ=100` looks every 10 ms at who runs for too long (one with 250, which is usual, every 4 ms), and
/// where two processors are shared by the host's threads, its clients and other tests, an answer may wait for
/// that. It also is what the host promises: it takes a guest for one that cannot be interrupted when a slice
/// lasts 8 ms (`LATE` in clock.rs), and shorter ones happen in the thread that answers.
///
/// The first such guest of a handler holds that thread for its first slice, however long that is, once a minute
/// (`REMEMBERED`). That slice is not measured here: the evidence of the guest is waited for before.
const TICK: Duration = Duration::from_millis(10);

/// How often a client connects that does not wait until its guest has ended, and how many connections it keeps:
/// the oldest of them is given up for each that comes. Guests that compute take turns, so more of them would not
/// do more, and take more memory.
const CONNECT: Duration = Duration::from_millis(50);
const KEPT: usize = 10;

/// Who asks for it.
#[derive(Clone, Copy, PartialEq)]
pub enum Clients {
    /// Four, who take what they are answered.
    WhoRead,
    /// Four, who take nothing.
    WhoDoNotRead,
    /// Fifty.
    Many,
    /// One more every 50 ms, whatever became of those before. The first of them is alone, so that it meets its
    /// limit and shows the evidence.
    TwentyASecond,
}

pub struct Attack<'a> {
    world: &'a World,
    target: Address,
    clients: Clients,
    evidence: String,
    memory: u64,
}

impl<'a> Attack<'a> {
    pub fn new(world: &'a World, target: Address) -> Self {
        Self {
            world,
            target,
            clients: Clients::WhoRead,
            evidence: String::new(),
            memory: u64::MAX,
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

    /// The host never takes more than so many bytes.
    pub fn holds_at_most(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// The canary is asked without and with the attack. Returned is what the host logged.
    #[track_caller]
    pub fn besiege(self) -> Arc<Log> {
        self.world.install("canary", "echo");
        let canary = self.world.tcp("canary");
        let mut host = self.world.start(&[]);
        canary.ask("warm up").expect_whole("warm up");
        if self.clients == Clients::TwentyASecond {
            self.target.knock().expect_reset_after("");
            host.log.expect(&self.evidence);
        }
        let mut attempts = Vec::new();
        let is_calm = (0..3).any(|attempt| {
            // What is within a tick is within the bound, however quick the canary is alone: the first time that is
            // not measured.
            let quiet = match attempt {
                0 => Duration::ZERO,
                _ => percentile_99(&canary),
            };
            let attackers = self.attackers();
            self.expect_evidence(&host, &attackers);
            let besieged = percentile_99(&canary);
            drop(attackers);
            host.expect_in_flight(0);
            attempts.push(format!("{quiet:?} became {besieged:?}"));
            // Alone it takes less than a millisecond: what is far from that is the noise of other tests, and no
            // measure for the attack.
            besieged <= quiet.min(TICK / 2) * 3 + TICK
        });
        let peak = host.memory("VmHWM:");
        eprintln!("{attempts:?}, {} MiB", peak >> 20);
        assert!(peak <= self.memory, "the host took {peak} bytes");
        assert!(is_calm, "the canary suffers: {attempts:?}");
        host.signal(Signal::TERM);
        host.expect_exit(0);
        assert_eq!(host.log.count("panicked"), 0, "{}", host.log.text());
        host.log.clone()
    }

    fn attackers(&self) -> Vec<Attacker> {
        let (count, habit) = match self.clients {
            Clients::WhoRead => (4, Habit::Reads),
            Clients::WhoDoNotRead => (4, Habit::Holds),
            Clients::Many => (50, Habit::Reads),
            Clients::TwentyASecond => (1, Habit::ComesAgain),
        };
        (0..count)
            .map(|_| Attacker::start(self.target.clone(), habit))
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

/// How long the canary takes for an answer: the 99th percentile, with a question every [`INTERVAL`].
fn percentile_99(canary: &Address) -> Duration {
    let mut times = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || listen(canary, INTERVAL * number)))
            .collect();
        let times = clients.into_iter().map(|client| client.join());
        times
            .flat_map(|times| times.expect("the canary sang"))
            .collect::<Vec<_>>()
    });
    times.sort_unstable();
    times[ANSWERS * 99 / 100 - 1]
}

/// How long each of one client's answers takes. A question that had to wait because the answer before was late
/// counts from when it should have been asked, so that a host that stands still for 40 ms is late with eight
/// answers of all clients, and not with one of each.
fn listen(canary: &Address, delay: Duration) -> Vec<Duration> {
    let mut due = Instant::now() + delay;
    let ask = |number| {
        if let Some(left) = due.checked_duration_since(Instant::now()) {
            thread::sleep(left);
            // That it slept for too long is not the host's fault.
            due = Instant::now();
        }
        let song = format!("tweet {number}");
        canary.ask(&song).expect_whole(&song);
        let took = due.elapsed();
        due += INTERVAL * CLIENTS;
        took
    };
    (0..ANSWERS / CLIENTS as usize).map(ask).collect()
}

/// What a client does with its connection.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    /// Reads until it ends.
    Reads,
    /// Holds it, and takes nothing.
    Holds,
    /// Leaves it open, and makes another.
    ComesAgain,
}

/// A client that connects again whenever its guest has ended, until it is dropped.
struct Attacker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    connections: Mutex<Vec<Client>>,
    /// The beginning of what its guest said.
    heard: Mutex<String>,
}

impl Attacker {
    fn start(target: Address, habit: Habit) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::spawn(move || {
            while !theirs.is_over.load(Relaxed) {
                theirs.connect(&target, habit);
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
    fn connections(&self) -> MutexGuard<'_, Vec<Client>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, target: &Address, habit: Habit) {
        let Ok(mut client) = target.try_connect() else {
            return;
        };
        self.connections().push(client.second());
        match habit {
            Habit::Reads => {
                client.read_until_end(|bytes| self.hear(bytes));
            }
            Habit::Holds => {
                while !self.is_over.load(Relaxed) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            Habit::ComesAgain => {
                let mut connections = self.connections();
                if connections.len() > KEPT {
                    connections.remove(0).vanish();
                }
                drop(connections);
                drop(client);
                return thread::sleep(CONNECT);
            }
        }
        self.connections().clear();
        client.vanish();
        // Not a flood of connections, which would keep the machine busy by itself.
        thread::sleep(Duration::from_millis(1));
    }

    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < 1000 {
            *heard += &String::from_utf8_lossy(bytes);
        }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        let thread = self.thread.take();
        // It may be about to connect once more.
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            self.shared.connections().iter().for_each(Client::hang_up);
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        for client in self.shared.connections().drain(..) {
            client.vanish();
        }
    }
}
