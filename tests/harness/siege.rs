//! A handler under attack, and a neighbour in the same host that must not notice.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Address, Host, Kind, World, eventually};

/// How long the neighbour's answer may take. It is a matter of milliseconds, but the machine has
/// the attackers to run, too.
const PROMPT: Duration = Duration::from_secs(2);

/// How much more memory the host may touch than before the attack, in bytes. Attacks send or ask for
/// several times as much, so that a host which keeps it all is found out; a host which does not needs
/// some of it for guests that work at the same time.
const ROOM: u64 = 96 * 1024 * 1024;

/// The one under attack, and its neighbour: with a socket each.
const HANDLERS: usize = 2;

/// A host with the handler `target` and its neighbour, who is asked all the time from the beginning
/// to the end.
pub struct Siege {
    // Before the world: a host that is still there when its test fails tells what it said.
    pub host: Host,
    pub target: Address,
    canary: Canary,
    memory_before: u64,
    _world: World,
}

impl Siege {
    /// Both guests are of `kind`; `settings` are those of the handler under attack.
    #[track_caller]
    pub fn begin(kind: Kind, settings: &str) -> Self {
        let world = World::new(kind);
        let target = world.web_port("target", settings);
        let neighbour = world.web_port("neighbour", "");
        let host = world.start(&[]);
        for address in [&target, &neighbour] {
            address.get("/hello").expect(200, "hello\n");
        }
        host.expect_in_flight(0);
        Self {
            memory_before: host.memory("VmRSS:"),
            canary: Canary::start(neighbour),
            host,
            target,
            _world: world,
        }
    }

    /// The neighbour is answered while things are as they are: how long three answers took.
    #[track_caller]
    pub fn neighbour_is_answered(&self) -> Duration {
        let start = Instant::now();
        let before = self.canary.answers.load(Relaxed);
        eventually("the neighbour is answered", || {
            self.canary.has_failed() || self.canary.answers.load(Relaxed) >= before + 3
        });
        start.elapsed()
    }

    /// A request gets through to the handler itself.
    #[track_caller]
    pub fn target_answers(&self) {
        self.target.get("/hello").expect(200, "hello\n");
    }

    /// All attackers are gone: nothing of them is left in the host, and it ends well. Returned is
    /// all that it said.
    #[track_caller]
    pub fn end(self) -> String {
        let Self { mut host, canary, .. } = self;
        // The last guests of the attackers may still hold the places of requests.
        eventually("the handler answers again", || self.target.get("/hello").status == 200);
        eventually("the neighbour is answered", || {
            canary.has_failed() || canary.answers.load(Relaxed) > 0
        });
        canary.stop();
        host.expect_in_flight(0);
        // All but the one that listens, of each handler.
        // Besides those of the handlers there is one to the service manager.
        eventually("all connections are closed", || sockets(&host) == HANDLERS + 1);
        let more = host.memory("VmHWM:").saturating_sub(self.memory_before);
        eprintln!("{} KiB more", more / 1024);
        assert!(more < ROOM, "the host took {more} bytes more");
        host.signal(Signal::TERM);
        assert!(host.ends_within(PROMPT * 2), "it waits for somebody");
        host.expect_exit(0);
        let log = host.log.text();
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

/// Sockets that the host has open, connections or not.
fn sockets(host: &Host) -> usize {
    let folder = format!("/proc/{}/fd", host.pid());
    let descriptors = fs::read_dir(folder).expect("the host is there");
    let is_socket =
        |path: PathBuf| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
    descriptors
        .filter(|entry| entry.as_ref().is_ok_and(|entry| is_socket(entry.path())))
        .count()
}

/// A client that asks all the time.
struct Canary {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

impl Canary {
    fn start(address: Address) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let (stop, count) = (is_over.clone(), answers.clone());
        let thread = thread::spawn(move || {
            while !stop.load(Relaxed) {
                let asked = Instant::now();
                let target = format!("/head?{}", count.load(Relaxed));
                let response = address.get(&target);
                response.expect_status(200);
                let text = response.text();
                assert!(text.contains(&format!(":path: {target}\n")), "{text}");
                let took = asked.elapsed();
                assert!(took < PROMPT, "the neighbour waited {took:?}");
                count.fetch_add(1, Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            is_over,
            answers,
            thread: Some(thread),
        }
    }

    fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    #[track_caller]
    fn stop(mut self) {
        self.is_over.store(true, Relaxed);
        let answers = self.answers.load(Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("the neighbour was answered well");
        assert!(answers > 0, "the neighbour was never answered");
    }
}
