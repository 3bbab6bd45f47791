//! What the service manager is told (`sd_notify(3)`).

use crate::environment;
use crate::host::Ending;
use crate::text::{Text, monotonic};
use core::ffi::{CStr, c_int};
use libc::{AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM, sockaddr_un, socklen_t};

pub struct Manager {
    /// `None`: there is none.
    socket: Option<c_int>,
    /// Where hosts write what it is to be told, and where that is read: a pair of sockets.
    hosts: Option<[c_int; 2]>,
    address: sockaddr_un,
    length: socklen_t,
    /// `WatchdogSec=` of the service, in microseconds.
    watchdog: Option<&'static CStr>,
}

impl Manager {
    /// Makes the socket for `$NOTIFY_SOCKET`. It is not connected: the manager may have made another one of its name, as
    /// years pass.
    pub fn new() -> Self {
        let mut address = sockaddr_un {
            sun_family: AF_UNIX as u16,
            sun_path: [0; 108],
        };
        let mut length = 0;
        let path = environment::value("NOTIFY_SOCKET").unwrap_or_default().to_bytes();
        for (place, byte) in address.sun_path.iter_mut().zip(path) {
            // `@` stands for the zero byte of an abstract name (unix(7)).
            *place = if length == 0 && *byte == b'@' { 0 } else { *byte as _ };
            length += 1;
        }
        // SAFETY: it has no conditions.
        let socket = (length > 0).then(|| unsafe { libc::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) });
        let socket = socket.filter(|socket| *socket >= 0);
        Self {
            socket,
            hosts: socket.and_then(|_| pair()),
            address,
            length: length + size_of::<libc::sa_family_t>() as socklen_t,
            watchdog: environment::value("WATCHDOG_USEC"),
        }
    }

    /// The socket; -1: there is none.
    pub fn descriptor(&self) -> c_int {
        self.socket.unwrap_or(-1)
    }

    /// The descriptor to which hosts write.
    pub fn for_hosts(&self) -> Option<c_int> {
        self.hosts.map(|[write, _]| write)
    }

    /// The descriptor from which that is read; -1: there is none.
    pub fn of_hosts(&self) -> c_int {
        self.hosts.map_or(-1, |[_, read]| read)
    }

    /// Passes on what hosts have written.
    pub fn pass_on(&self) {
        let mut message = [0u8; 512];
        loop {
            // SAFETY: there is room for as many bytes. (More than a host says at once; what is longer is cut off.)
            let length = unsafe {
                let room = message.as_mut_ptr().cast();
                libc::recv(self.of_hosts(), room, message.len(), MSG_DONTWAIT)
            };
            match usize::try_from(length).ok().and_then(|length| message.get(..length)) {
                Some(text) if !text.is_empty() => self.tell_bytes(text),
                _ => return,
            }
        }
    }

    /// The keeper has begun.
    pub fn ready(&self) {
        self.tell(Text::new().push(b"READY=1\n").push(ASLEEP).now());
        self.stop_watchdog();
    }

    /// A host was started. It tells its state itself; the watchdog is for it.
    pub fn awake(&self) {
        if let Some(time) = self.watchdog {
            // Two messages: the first moves the watchdog's deadline, which may have been long ago.
            self.tell(Text::new().push(b"WATCHDOG=1"));
            self.tell(Text::new().push(b"WATCHDOG_USEC=").push(time.to_bytes()));
        }
    }

    /// The host has ended.
    pub fn asleep(&self, ending: Ending) {
        self.stop_watchdog();
        let mut message = Text::new();
        message.push(ASLEEP).now();
        if ending.is_failure() {
            message.push(b"; the last host ");
            ending.describe(&mut message);
        }
        self.tell(&message);
    }

    /// There was nothing to reload: the next host reads its configuration (`Type=notify-reload`).
    pub fn reloaded(&self) {
        self.tell(Text::new().push(b"RELOADING=1\nMONOTONIC_USEC=").number(monotonic(), 1));
        self.tell(Text::new().push(b"READY=1"));
    }

    /// The keeper ends.
    pub fn stopping(&self) {
        self.tell(Text::new().push(b"STOPPING=1"));
    }

    /// While no host runs, there is nothing that has to be alive.
    fn stop_watchdog(&self) {
        if self.watchdog.is_some() {
            self.tell(Text::new().push(b"WATCHDOG_USEC=0"));
        }
    }

    fn tell(&self, message: &Text) {
        self.tell_bytes(message.as_bytes());
    }

    fn tell_bytes(&self, text: &[u8]) {
        let Some(socket) = self.socket else {
            return;
        };
        // SAFETY: text and address are valid, and as long as it says. A failure is the manager's: what it is told is for
        // people.
        unsafe {
            libc::sendto(
                socket,
                text.as_ptr().cast(),
                text.len(),
                MSG_NOSIGNAL,
                (&raw const self.address).cast(),
                self.length,
            );
        }
    }
}

/// Sockets that are connected: the first is inherited by programs that are executed.
fn pair() -> Option<[c_int; 2]> {
    let mut pair = [0; 2];
    // SAFETY: there is room for both, and the second is open then.
    unsafe {
        if libc::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair.as_mut_ptr()) != 0 {
            return None;
        }
        libc::fcntl(pair[1], libc::F_SETFD, libc::FD_CLOEXEC);
    }
    Some(pair)
}

const ASLEEP: &[u8] = b"STATUS=asleep since ";
