//! Texts in a buffer of a fixed size, and the time in words.

use core::ffi::c_char;
use libc::timespec;

/// The most bytes of a text, its zero byte included.
const SIZE: usize = 384;

/// A text that ends with a zero byte. What does not fit is left out.
pub struct Text {
    bytes: [u8; SIZE],
    length: usize,
}

impl Text {
    pub const fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            length: 0,
        }
    }

    /// Makes it empty.
    pub fn clear(&mut self) -> &mut Self {
        *self = Self::new();
        self
    }

    pub fn push(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            self.byte(*byte);
        }
        self
    }

    /// In decimal digits, at least `width` of them.
    pub fn number(&mut self, number: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let (mut rest, mut needed) = (number, 0);
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            if rest > 0 || place < width {
                needed = place + 1;
            }
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.push(digits.get(digits.len() - needed..).unwrap_or_default())
    }

    /// The time of day and the date, UTC.
    pub fn now(&mut self) -> &mut Self {
        let seconds = clock(libc::CLOCK_REALTIME).tv_sec.max(0) as u64;
        let (year, month, day) = date(seconds / 86_400);
        self.number(year, 4)
            .push(b"-")
            .number(month, 2)
            .push(b"-")
            .number(day, 2);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        self.push(b" ")
            .number(hour, 2)
            .push(b":")
            .number(minute, 2)
            .push(b":")
            .number(second, 2);
        self.push(b" UTC")
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    fn byte(&mut self, byte: u8) {
        // The last one stays zero.
        if self.length + 1 < SIZE
            && let Some(place) = self.bytes.get_mut(self.length)
        {
            *place = byte;
            self.length += 1;
        }
    }
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Microseconds of a clock that is never set.
pub fn monotonic() -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

fn clock(clock: libc::clockid_t) -> timespec {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes the time there. Not by clock_gettime(3), which uses the kernel's page of code (filter.rs).
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    time
}
