//! `wasm-sock-keeper`: what a host with `when-idle = "park"` becomes. It holds the sockets that the service manager
//! passed, and nothing else; when a client knocks, it starts a host with them, and waits until that has ended.
//!
//! It takes as little memory as a process can: one thread, no heap, none of Rust's library beyond `core`, and no page
//! that it does not need. `wasm-sock host` executes it (host/src/startup/park.rs), with the host and its arguments
//! as its own.

#![no_main]

mod environment;
mod filter;
mod host;
mod log;
mod manager;
mod signals;
mod text;
mod watch;

use core::ffi::{c_char, c_int};
use host::{Ending, Host, KEEP_NO_MORE, NOTHING_ACCEPTED};
use libc::{SIGABRT, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, pid_t};
use log::Log;
use manager::Manager;
use signals::Signals;
use watch::{Event, Watch};

/// How soon another host follows one that failed, in milliseconds: `RestartSec=` of the shipped units.
const AFTER_FAILURE: u32 = 1000;

/// How soon another host follows one that accepted nothing, in milliseconds: a socket may be readable for ever.
const AFTER_NOTHING: u32 = 250;

/// A host that has lived for so many microseconds needs no pause after it.
const LONG: u64 = 1_000_000;

/// The exit code of a host with a bad configuration (`EX_CONFIG`), which has turned clients away for a while.
const BAD_CONFIGURATION: c_int = 78;

/// # Safety
/// C's `main`: `arguments` are as many valid strings as `count` says, and a null pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let log = Log::new();
    let signals = Signals::new();
    let manager = Manager::new();
    let notify = manager.for_hosts();
    // SAFETY: by the caller's promise.
    let host = unsafe {
        (count > 1)
            .then(|| Host::new(arguments.add(1), &signals, notify))
            .flatten()
    };
    let Some((host, watch)) = host.zip(Watch::new(&signals, manager.of_hosts())) else {
        log.usage();
        return 2;
    };
    if !filter::confine(&manager, host.path().as_ptr()) {
        log.cannot("filter its system calls");
    }
    let mut keeper = Keeper {
        host,
        manager,
        signals,
        watch,
        log,
        terminations: 0,
    };
    keeper.keep();
    0
}

struct Keeper {
    host: Host,
    manager: Manager,
    signals: Signals,
    watch: Watch,
    log: Log,
    /// How often the keeper was told to end.
    terminations: c_int,
}

/// What to do after a host has ended.
enum Next {
    Watch,
    /// Not before so many milliseconds.
    Pause(u32),
    End,
}

impl Keeper {
    /// Starts hosts until it is told to end.
    fn keep(&mut self) {
        self.manager.ready();
        loop {
            match self.watch.next() {
                Event::Knock => match self.serve() {
                    Next::Watch => {}
                    Next::Pause(milliseconds) => {
                        if let Some(signal) = self.signals.next_within(milliseconds) {
                            self.take(signal);
                        }
                    }
                    Next::End => break,
                },
                Event::Signal => self.take(self.signals.next()),
                Event::Message => {}
            }
            if self.terminations > 0 {
                break;
            }
        }
        self.manager.stopping();
    }

    /// A signal while no host runs.
    fn take(&mut self, signal: c_int) {
        match signal {
            SIGTERM | SIGINT | SIGQUIT => self.terminations += 1,
            SIGHUP => self.manager.reloaded(),
            SIGABRT => self.signals.abort(),
            // Processes that a host has left behind.
            _ => while host::reap().is_some() {},
        }
    }

    /// Starts a host, and returns when it has ended.
    fn serve(&mut self) -> Next {
        let start = text::monotonic();
        let ending = match self.host.start() {
            Ok(process) => {
                self.manager.awake();
                self.wait(process)
            }
            Err(error) => Ending::NotStarted(error),
        };
        if self.terminations > 0 || ending == Ending::Exit(KEEP_NO_MORE) {
            return Next::End;
        }
        self.log.ending(ending, self.host.path());
        self.manager.asleep(ending);
        let was_long = text::monotonic() - start >= LONG;
        match ending {
            Ending::Exit(0) => Next::Watch,
            Ending::Exit(NOTHING_ACCEPTED | BAD_CONFIGURATION) if was_long => Next::Watch,
            Ending::Exit(NOTHING_ACCEPTED) => Next::Pause(AFTER_NOTHING),
            _ => Next::Pause(AFTER_FAILURE),
        }
    }

    /// Waits for the end of the host, and passes signals on to it meanwhile.
    fn wait(&mut self, process: pid_t) -> Ending {
        let mut is_aborted = false;
        loop {
            let Event::Signal = self.watch.next_of_host() else {
                self.manager.pass_on();
                continue;
            };
            match self.signals.next() {
                signal @ (SIGTERM | SIGINT | SIGQUIT) => {
                    self.terminations += 1;
                    if self.terminations == 1 {
                        self.manager.stopping();
                    }
                    host::terminate(process, signal, self.terminations);
                }
                SIGHUP => host::signal(process, SIGHUP),
                // The watchdog of the service manager: the host leaves its core, and the keeper ends as it did.
                SIGABRT => {
                    is_aborted = true;
                    host::signal(process, SIGABRT);
                    host::signal(process, SIGCONT);
                }
                _ => {
                    while let Some((ended, ending)) = host::reap() {
                        if ended == process && is_aborted {
                            self.signals.abort();
                        }
                        if ended == process {
                            self.manager.pass_on();
                            return ending;
                        }
                    }
                }
            }
        }
    }
}
