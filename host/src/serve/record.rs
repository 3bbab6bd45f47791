//! The record of a connection, a datagram or a request: how it ended and what it used. It is one line in the log.
//!
//! All of them go through [`Record::write`], also those that no guest has served: refused, or without a module.

use super::handler::Handler;
use crate::config::Logged;
use crate::journal::{
    self, About, ConnectionId, FieldWriter, Fields, Frame, Level, Line, RateLimited, ShortDuration, Suppressed, field,
};
use crate::limits::Meter;
use crate::net::{Connection, Peer};
use crate::runtime::{Cause, GuestEnd};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wasm_sock_stats::{Ended, Outcome};

/// How a connection, a datagram or a request ended, and what it used.
pub struct Record<'a> {
    pub handler: &'a Handler,
    /// The client's address.
    pub peer: Option<&'a dyn Display>,
    pub connection: Option<ConnectionId>,
    pub end: End,
    /// `None`: no guest has served it.
    pub usage: Option<Usage>,
    pub http: Option<Http<'a>>,
}

/// How it ended.
pub struct End {
    pub outcome: Outcome,
    pub level: Level,
    /// As text; empty if there is nothing to say but that it ended.
    pub what: Cow<'static, str>,
    /// The guest's exit code, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The functions of a guest that trapped, the innermost first.
    pub backtrace: Arc<[Frame]>,
}

/// What it used.
#[derive(Default)]
pub struct Usage {
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From its acceptance, or the complete head of a request, to its end.
    pub duration: Duration,
    /// From the same to the first byte of the answer; `None`: none was sent.
    pub first_byte: Option<Duration>,
    /// CPU time of the guest; `None`: the guest serves several.
    pub cpu: Option<Duration>,
    /// The most memory of the guest, in bytes; `None`: the guest serves several.
    pub memory_peak: Option<u64>,
}

/// An HTTP request.
pub struct Http<'a> {
    /// Which request of the connection, counted from 1.
    pub request: u32,
    pub method: &'a str,
    pub path: &'a str,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

/// Whether a record has a line in the log.
pub enum LogLine<'a> {
    /// Each has one, as far as the handler's `log` and `log-sample` say.
    Each,
    /// What may happen very often.
    Limited(&'a RateLimited),
    /// It is only counted.
    None,
}

impl End {
    pub fn new(outcome: Outcome, level: Level, what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome,
            level,
            what: what.into(),
            exit_code: None,
            backtrace: Arc::default(),
        }
    }

    pub fn client_left() -> Self {
        Self::new(Outcome::ClientLeft, Level::Info, "client left")
    }

    /// The host exits, and what is in flight is reset.
    pub fn drained() -> Self {
        Self::new(Outcome::Drained, Level::Warning, "ended: the host exits")
    }

    /// The reason was logged, once for all clients.
    pub fn no_module() -> Self {
        Self::new(Outcome::NoModule, Level::Error, "no module")
    }

    /// An end with a `cause` whose text is for the log as it is.
    pub fn with_cause(level: Level, cause: Cause) -> Self {
        Self {
            backtrace: cause.backtrace,
            ..Self::new(cause.outcome, level, cause.why)
        }
    }
}

impl From<&GuestEnd> for End {
    fn from(end: &GuestEnd) -> Self {
        let (level, what) = end.report();
        let (exit_code, backtrace) = match end {
            GuestEnd::Exit(code) => (Some(*code), Arc::default()),
            GuestEnd::Trap(cause) => (None, cause.backtrace.clone()),
        };
        Self {
            exit_code,
            backtrace,
            ..Self::new(end.outcome(), level, what)
        }
    }
}

impl Usage {
    /// The CPU time and memory that `meter` has measured.
    pub fn of(meter: Option<&Meter>) -> Self {
        Self {
            cpu: meter.map(Meter::used),
            memory_peak: meter.map(Meter::memory_peak),
            ..Self::default()
        }
    }
}

impl Record<'_> {
    /// Writes the record: the only place that knows of every end. The handler has counted its beginning
    /// ([`begin`](wasm_sock_stats::HandlerStats::begin)).
    pub fn write(&self, logged: LogLine<'_>) {
        self.handler.guest_exit.add(&self.end);
        self.count();
        if !self.is_wanted() {
            return;
        }
        match logged {
            LogLine::Each => self.log(Suppressed::default()),
            LogLine::Limited(limit) => {
                if let Some(suppressed) = limit.take() {
                    self.log(suppressed);
                }
            }
            LogLine::None => {}
        }
    }

    /// Do `log` and `log-sample` want it in the log? Failures are what is logged with a level above information.
    fn is_wanted(&self) -> bool {
        let is_failure = self.end.level != Level::Info;
        match self.handler.config.logging.which {
            Logged::None => false,
            _ if is_failure => true,
            Logged::Failures => false,
            Logged::All => self.handler.is_sampled(),
        }
    }

    fn count(&self) {
        let usage = self.usage.as_ref();
        self.handler.stats.end(&Ended {
            outcome: self.end.outcome,
            bytes_in: usage.map_or(0, |usage| usage.bytes_in),
            bytes_out: usage.map_or(0, |usage| usage.bytes_out),
            duration: usage.map(|usage| usage.duration),
            first_byte: usage.and_then(|usage| usage.first_byte),
            cpu: usage.and_then(|usage| usage.cpu).unwrap_or_default(),
            memory_peak: usage.and_then(|usage| usage.memory_peak).unwrap_or_default(),
            status: self.http.as_ref().and_then(|http| http.status),
        });
    }

    fn log(&self, suppressed: Suppressed) {
        let about = About {
            handler: Some(&self.handler.name),
            peer: self.peer,
            connection: self.connection,
            request: self.http.as_ref().map(|http| http.request),
        };
        journal::write(&Line {
            level: self.end.level,
            about,
            message: format_args!("{self}{suppressed}"),
            fields: self,
        });
    }
}

/// The message: `served (1.2ms, cpu 0.3ms, 10 bytes in, 20 out)`, `GET / 200 (…)`.
impl Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = itoa::Buffer::new();
        let what = &*self.end.what;
        if let Some(http) = &self.http {
            for part in [http.method, " ", http.path] {
                f.write_str(part)?;
            }
            if let Some(status) = http.status {
                f.write_str(" ")?;
                f.write_str(digits.format(status))?;
            }
            if !what.is_empty() {
                f.write_str(": ")?;
            }
        }
        f.write_str(what)?;
        let Some(usage) = &self.usage else {
            return Ok(());
        };
        f.write_str(" (")?;
        ShortDuration(usage.duration).fmt(f)?;
        if let Some(cpu) = usage.cpu {
            f.write_str(", cpu ")?;
            ShortDuration(cpu).fmt(f)?;
        }
        f.write_str(", ")?;
        f.write_str(digits.format(usage.bytes_in))?;
        f.write_str(" bytes in, ")?;
        f.write_str(digits.format(usage.bytes_out))?;
        f.write_str(" out)")
    }
}

impl Fields for Record<'_> {
    fn write(&self, to: &mut dyn FieldWriter) {
        let microseconds = |time: Duration| (time.as_nanos() as u64 + 500) / 1000;
        to.text(field::OUTCOME, &self.end.outcome.as_str());
        if let Some(code) = self.end.exit_code {
            to.text(field::EXIT_CODE, &code);
        }
        if let Some(usage) = &self.usage {
            to.number(field::BYTES_IN, usage.bytes_in);
            to.number(field::BYTES_OUT, usage.bytes_out);
            to.number(field::DURATION_USEC, microseconds(usage.duration));
            if let Some(first_byte) = usage.first_byte {
                to.number(field::FIRST_BYTE_USEC, microseconds(first_byte));
            }
            if let Some(cpu) = usage.cpu {
                to.number(field::CPU_USEC, microseconds(cpu));
            }
            if let Some(peak) = usage.memory_peak {
                to.number(field::MEMORY_PEAK, peak);
            }
        }
        if let Some(http) = &self.http {
            to.text(field::METHOD, &http.method);
            to.text(field::PATH, &http.path);
            if let Some(status) = http.status {
                to.number(field::STATUS, status.into());
            }
        }
        let sample = self.handler.config.logging.sample;
        if sample > 1 && self.end.level == Level::Info {
            to.number(field::SAMPLE, sample.into());
        }
        if !self.end.backtrace.is_empty() {
            to.frames(field::BACKTRACE, &self.end.backtrace);
        }
    }
}

/// A connection that has no record yet. If it is dropped before that, its task was dropped, because the host exits.
pub struct Unrecorded<'a> {
    handler: &'a Handler,
    pub connection: &'a Connection,
    pub peer: Peer,
    /// The meter of its guest.
    pub meter: Option<Arc<Meter>>,
    is_recorded: bool,
}

impl<'a> Unrecorded<'a> {
    /// Counts the connection as begun.
    pub fn new(handler: &'a Handler, connection: &'a Connection, peer: Peer) -> Self {
        handler.stats.begin();
        Self {
            handler,
            connection,
            peer,
            meter: None,
            is_recorded: false,
        }
    }

    /// It carries requests, which have records of their own.
    pub fn carries_requests(mut self) -> Peer {
        self.handler.stats.take_back();
        self.is_recorded = true;
        self.peer.clone()
    }

    /// It has ended.
    pub fn write(mut self, end: End, logged: LogLine<'_>) {
        self.record(end, logged);
    }

    fn record(&mut self, end: End, logged: LogLine<'_>) {
        self.is_recorded = true;
        let connection = self.connection;
        let usage = Usage {
            bytes_in: connection.received.load(Relaxed),
            bytes_out: connection.sent.load(Relaxed),
            duration: connection.accepted.elapsed(),
            first_byte: connection.first_byte(),
            ..Usage::of(self.meter.as_deref())
        };
        let record = Record {
            handler: self.handler,
            peer: Some(&self.peer),
            connection: Some(connection.id),
            end,
            usage: Some(usage),
            http: None,
        };
        record.write(logged);
    }
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record(End::drained(), LogLine::Each);
        }
    }
}
