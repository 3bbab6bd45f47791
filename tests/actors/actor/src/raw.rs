//! Calls of the host that std does not make, or not as large as this.

#[cfg(target_env = "p1")]
mod p1 {
    use std::hint::black_box;

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn random_get(buffer: *mut u8, length: usize) -> i32;
        fn poll_oneoff(
            subscriptions: *const Subscription,
            events: *mut Event,
            count: usize,
            happened: *mut usize,
        ) -> i32;
    }

    /// A subscription to a clock.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Subscription {
        userdata: u64,
        tag: u64,
        clock: u64,
        timeout: u64,
        precision: u64,
        flags: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Event([u64; 4]);

    /// That many random bytes, in one call.
    pub fn random(count: usize) {
        let mut bytes = vec![0u8; count];
        // SAFETY: the buffer is as long as is said.
        unsafe { random_get(bytes.as_mut_ptr(), count) };
        black_box(bytes);
    }

    /// Waits for that many timers of a millisecond and more.
    pub fn wait_for_timers(count: usize) {
        let timer = |n: usize| Subscription {
            userdata: n as u64,
            tag: 0,
            clock: 1,
            timeout: 1_000_000 + n as u64,
            precision: 0,
            flags: 0,
        };
        let timers: Vec<Subscription> = (0..count).map(timer).collect();
        let mut events = vec![Event([0; 4]); count];
        let mut happened = 0;
        // SAFETY: both lists have as many elements as is said.
        unsafe { poll_oneoff(timers.as_ptr(), events.as_mut_ptr(), count, &mut happened) };
        black_box(events);
    }
}

#[cfg(target_env = "p2")]
mod p2 {
    use std::hint::black_box;
    use std::io::{self, Write};

    use wasip2::cli::stdin::get_stdin;
    use wasip2::clocks::monotonic_clock::subscribe_duration;
    use wasip2::io::poll::poll;
    use wasip2::io::streams::StreamError;
    use wasip2::random::random::get_random_bytes;

    /// That many random bytes, in one call.
    pub fn random(count: usize) {
        black_box(get_random_bytes(count as u64));
    }

    /// As many timers as a guest may have, each of them in the list as often as it takes.
    pub fn wait_for_timers(count: usize) {
        let timers: Vec<_> = (0..count.min(100))
            .map(|n| subscribe_duration(1_000_000 + n as u64))
            .collect();
        let list: Vec<_> = timers.iter().cycle().take(count).collect();
        black_box(poll(&list));
    }

    /// Says that it is ready, reads stdin until it is told an error, and tells stderr which: `closed`, or
    /// `last-operation-failed` and why.
    pub fn receive() -> io::Result<()> {
        crate::say("ready\n")?;
        let stdin = get_stdin();
        let error = loop {
            if let Err(error) = stdin.blocking_read(64 * 1024) {
                break error;
            }
        };
        let told = match error {
            StreamError::Closed => "closed\n".to_owned(),
            StreamError::LastOperationFailed(why) => {
                format!("last-operation-failed: {}\n", why.to_debug_string())
            }
        };
        io::stderr().write_all(told.as_bytes())
    }
}

#[cfg(target_env = "p1")]
pub use p1::{random, wait_for_timers};
#[cfg(target_env = "p2")]
pub use p2::{random, receive, wait_for_timers};
