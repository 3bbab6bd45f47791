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
}

pub struct Watch(c_int);

impl Watch {
    /// Watches the sockets that were passed. `None`: it is not possible.
    pub fn new(signals: &Signals) -> Option<Self> {
        let text = environment::value("LISTEN_FDS")?;
        let mut count = 0u32;
        for digit in text.to_bytes() {
            count = count.checked_mul(10)?.checked_add(digit.wrapping_sub(b'0').into())?;
        }
        // SAFETY: it has no conditions.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let is_watched = watch(epoll, signals.descriptor(), Event::Signal);
        for socket in 0..count {
            // It fails for what is no socket, or not open: the host tells of that.
            watch(epoll, FIRST + socket as c_int, Event::Knock);
        }
        is_watched.then_some(Self(epoll))
    }

    /// Waits.
    pub fn next(&self) -> Event {
        let mut event = epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: there is room for one event.
            match unsafe { libc::epoll_wait(self.0, &raw mut event, 1, -1) } {
                1 if event.u64 == Event::Signal as u64 => return Event::Signal,
                1 => return Event::Knock,
                // EINTR
                _ => {}
            }
        }
    }
}

fn watch(epoll: c_int, descriptor: c_int, event: Event) -> bool {
    let mut event = epoll_event {
        events: EPOLLIN as u32,
        u64: event as u64,
    };
    // SAFETY: the event is read only.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) == 0 }
}
