//! Options of sockets. A socket has them before it is connected, when there is none of the kernel yet: what a guest sets
//! is set when it is connected.

use super::code::{self, Result};
use rustix::net::sockopt;
use std::os::fd::AsFd;
use std::time::Duration;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

/// The options of a socket that is not connected.
#[derive(Debug, Clone, Default)]
pub struct Options {
    keep_alive: Option<bool>,
    idle_time: Option<u64>,
    interval: Option<u64>,
    count: Option<u32>,
    hop_limit: Option<u8>,
    receive_buffer: Option<u64>,
    send_buffer: Option<u64>,
}

/// An option, to be read.
#[derive(Debug, Clone, Copy)]
pub enum Name {
    KeepAlive,
    IdleTime,
    Interval,
    Count,
    HopLimit,
    ReceiveBuffer,
    SendBuffer,
}

/// An option's value: times in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Setting {
    KeepAlive(bool),
    IdleTime(u64),
    Interval(u64),
    Count(u32),
    HopLimit(u8),
    ReceiveBuffer(u64),
    SendBuffer(u64),
}

const SECOND: u64 = 1_000_000_000;

// Linux' defaults (`tcp(7)`), and those of `ip(7)`.
const IDLE_TIME: u64 = 7200 * SECOND;
const INTERVAL: u64 = 75 * SECOND;
const COUNT: u32 = 9;
const HOP_LIMIT: u8 = 64;
const BUFFER: u64 = 208 * 1024;

/// Limits of Linux: `MAX_TCP_KEEPIDLE` in seconds, `MAX_TCP_KEEPCNT`.
const MOST_SECONDS: u64 = 32767;
const MOST_COUNT: u32 = 127;

/// A guest cannot make the kernel keep more for it, in bytes.
const MOST_BUFFER: u64 = 4 * 1024 * 1024;

impl Options {
    /// Remembers a setting.
    ///
    /// # Errors
    /// `InvalidArgument` for zero, where that has no meaning.
    pub fn set(&mut self, setting: Setting) -> Result<()> {
        check(setting)?;
        match setting {
            Setting::KeepAlive(on) => self.keep_alive = Some(on),
            Setting::IdleTime(time) => self.idle_time = Some(time),
            Setting::Interval(time) => self.interval = Some(time),
            Setting::Count(count) => self.count = Some(count),
            Setting::HopLimit(limit) => self.hop_limit = Some(limit),
            Setting::ReceiveBuffer(size) => self.receive_buffer = Some(size),
            Setting::SendBuffer(size) => self.send_buffer = Some(size),
        }
        Ok(())
    }

    pub fn get(&self, name: Name) -> Setting {
        match name {
            Name::KeepAlive => Setting::KeepAlive(self.keep_alive.unwrap_or(false)),
            Name::IdleTime => Setting::IdleTime(self.idle_time.unwrap_or(IDLE_TIME)),
            Name::Interval => Setting::Interval(self.interval.unwrap_or(INTERVAL)),
            Name::Count => Setting::Count(self.count.unwrap_or(COUNT)),
            Name::HopLimit => Setting::HopLimit(self.hop_limit.unwrap_or(HOP_LIMIT)),
            Name::ReceiveBuffer => Setting::ReceiveBuffer(self.receive_buffer.unwrap_or(BUFFER)),
            Name::SendBuffer => Setting::SendBuffer(self.send_buffer.unwrap_or(BUFFER)),
        }
    }

    /// Sets what was remembered. What the kernel refuses stays as it is: the guest was told that it was set.
    pub fn apply(&self, fd: impl AsFd, is_v6: bool) {
        let settings = [
            self.keep_alive.map(Setting::KeepAlive),
            self.idle_time.map(Setting::IdleTime),
            self.interval.map(Setting::Interval),
            self.count.map(Setting::Count),
            self.hop_limit.map(Setting::HopLimit),
            self.receive_buffer.map(Setting::ReceiveBuffer),
            self.send_buffer.map(Setting::SendBuffer),
        ];
        for setting in settings.into_iter().flatten() {
            let _ = set(&fd, is_v6, setting);
        }
    }
}

fn check(setting: Setting) -> Result<()> {
    match setting {
        Setting::IdleTime(0) | Setting::Interval(0) | Setting::Count(0) | Setting::HopLimit(0) => {
            Err(ErrorCode::InvalidArgument)
        }
        Setting::ReceiveBuffer(0) | Setting::SendBuffer(0) => Err(ErrorCode::InvalidArgument),
        _ => Ok(()),
    }
}

/// Sets an option of a socket of TCP.
///
/// # Errors
/// As [`Options::set`], and those of `setsockopt(2)`.
pub fn set(fd: impl AsFd, is_v6: bool, setting: Setting) -> Result<()> {
    check(setting)?;
    let time = |nanoseconds: u64| Duration::from_secs((nanoseconds / SECOND).clamp(1, MOST_SECONDS));
    let size = |bytes: u64| bytes.min(MOST_BUFFER) as usize;
    let set = match setting {
        Setting::KeepAlive(on) => sockopt::set_socket_keepalive(fd, on),
        Setting::IdleTime(nanoseconds) => sockopt::set_tcp_keepidle(fd, time(nanoseconds)),
        Setting::Interval(nanoseconds) => sockopt::set_tcp_keepintvl(fd, time(nanoseconds)),
        Setting::Count(count) => sockopt::set_tcp_keepcnt(fd, count.min(MOST_COUNT)),
        Setting::HopLimit(limit) if is_v6 => sockopt::set_ipv6_unicast_hops(fd, Some(limit)),
        Setting::HopLimit(limit) => sockopt::set_ip_ttl(fd, limit.into()),
        Setting::ReceiveBuffer(bytes) => sockopt::set_socket_recv_buffer_size(fd, size(bytes)),
        Setting::SendBuffer(bytes) => sockopt::set_socket_send_buffer_size(fd, size(bytes)),
    };
    set.map_err(|error| code::of_error(&error.into()))
}

/// Reads an option of a socket of TCP.
///
/// # Errors
/// Those of `getsockopt(2)`.
pub fn get(fd: impl AsFd, is_v6: bool, name: Name) -> Result<Setting> {
    let time = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    // Linux reports twice of what was set (`socket(7)`).
    let size = |bytes: usize| bytes as u64 / 2;
    let got = match name {
        Name::KeepAlive => sockopt::socket_keepalive(fd).map(Setting::KeepAlive),
        Name::IdleTime => sockopt::tcp_keepidle(fd).map(time).map(Setting::IdleTime),
        Name::Interval => sockopt::tcp_keepintvl(fd).map(time).map(Setting::Interval),
        Name::Count => sockopt::tcp_keepcnt(fd).map(Setting::Count),
        Name::HopLimit if is_v6 => sockopt::ipv6_unicast_hops(fd).map(Setting::HopLimit),
        Name::HopLimit => sockopt::ip_ttl(fd).map(|limit| Setting::HopLimit(u8::try_from(limit).unwrap_or(u8::MAX))),
        Name::ReceiveBuffer => sockopt::socket_recv_buffer_size(fd)
            .map(size)
            .map(Setting::ReceiveBuffer),
        Name::SendBuffer => sockopt::socket_send_buffer_size(fd).map(size).map(Setting::SendBuffer),
    };
    got.map_err(|error| code::of_error(&error.into()))
}
