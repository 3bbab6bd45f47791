//! Waits for clients at the sockets, and for signals (`epoll(7)`).

use crate::environment;
use crate::signals::Signals;
use core::ffi::c_int;
use libc::{EPOLLIN, epoll_event};

/// The first descriptor that is passed (`sd_listen_fds(3)`).
const FIRST: c_int = 3;

/// What has happened.
pub enum Event {
    /// There is a client or a datagram at one of the sockets.
    Knock,
    /// There is a signal to take.
    Signal,
    /// The host has something to tell the manager.
    Message,
}

pub struct Watch {
    /// Sockets and signals.
    asleep: c_int,
    /// The host's messages and signals.
    awake: c_int,
}

impl Watch {
    /// Watches the sockets that were passed, and the messages of hosts. `None`: it is not possible.
    pub fn new(signals: &Signals, messages: c_int) -> Option<Self> {
        let text = environment::value("LISTEN_FDS")?;
        let mut count = 0u32;
        for digit in text.to_bytes() {
            count = count.checked_mul(10)?.checked_add(digit.wrapping_sub(b'0').into())?;
        }
        // SAFETY: they have no conditions.
        let [asleep, awake] = [(); 2].map(|()| unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let signals = signals.descriptor();
        let is_watched = watch(asleep, signals, Event::Signal) && watch(awake, signals, Event::Signal);
        // It fails if there are none.
        watch(awake, messages, Event::Message);
        for socket in 0..count {
            // It fails for what is no socket, or not open: the host tells of that.
            watch(asleep, FIRST + socket as c_int, Event::Knock);
        }
        is_watched.then_some(Self { asleep, awake })
    }

    /// Waits while no host runs.
    pub fn next(&self) -> Event {
        wait(self.asleep)
    }

    /// Waits while a host runs.
    pub fn next_of_host(&self) -> Event {
        wait(self.awake)
    }
}

/// Waits for the next event.
fn wait(epoll: c_int) -> Event {
    let mut event = epoll_event { events: 0, u64: 0 };
    loop {
        // SAFETY: there is room for one event. It fails when a signal comes that is not blocked (EINTR).
        if unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) } == 1 {
            return match event.u64 {
                SIGNAL => Event::Signal,
                MESSAGE => Event::Message,
                _ => Event::Knock,
            };
        }
    }
}

const SIGNAL: u64 = Event::Signal as u64;
const MESSAGE: u64 = Event::Message as u64;

fn watch(epoll: c_int, descriptor: c_int, event: Event) -> bool {
    let mut event = epoll_event {
        events: EPOLLIN as u32,
        u64: event as u64,
    };
    // SAFETY: the event is read only.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) == 0 }
}
