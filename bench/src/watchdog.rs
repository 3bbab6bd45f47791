//! A measurement that hangs fails with a message. What it had started ends with us.

use std::sync::Mutex;
use std::time::Duration;

/// What is under way.
static CHAPTER: Mutex<&str> = Mutex::new("");

extern "C" fn hung(_: libc::c_int) {
    // Nobody holds the lock for long, and the signal comes to the thread that would wait for nothing
    // but its own: without the name, then.
    let chapter = CHAPTER.try_lock().map_or("?", |name| *name);
    for text in ["bench: ", chapter, " hangs: it should have been done long ago\n"] {
        // SAFETY: write may be called in a signal handler (`signal-safety(7)`).
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
        }
    }
    // SAFETY: so may _exit.
    unsafe { libc::_exit(2) }
}

/// Ends us if the chapter is not done in time.
pub fn expect_within(chapter: &'static str, time: Duration) {
    *CHAPTER.lock().unwrap_or_else(|error| error.into_inner()) = chapter;
    // SAFETY: `hung` does only what a signal handler may.
    unsafe {
        libc::signal(libc::SIGALRM, hung as *const () as libc::sighandler_t);
        libc::alarm(time.as_secs() as u32);
    }
}

/// All chapters are done.
pub fn leave() {
    // SAFETY: it takes an alarm away, if there is one.
    unsafe {
        libc::alarm(0);
    }
}
