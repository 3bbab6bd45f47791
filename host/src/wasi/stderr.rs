//! A guest's standard error: lines in the log, with the handler's name and the peer, rate-limited by `max-log`.
//!
//! Without a limit one guest could fill the journal and suppress the lines of others: journald drops lines of the
//! whole service (`LogRateLimitBurst=`, 10,000 in 30 s). So the guests of each handler have a limit of their own.
//! Lines beyond it are counted and dropped before they are formatted.

use super::environment::GuestContext;
use crate::journal::{Level, Window};
use crate::sync::lock;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::AsyncWrite;
use tokio::task::coop::{consume_budget, poll_proceed};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line that is logged in one piece, in bytes. Longer ones are split.
const LINE: usize = 2048;

/// The most that the guest may write in one call, in bytes.
const CHUNK: usize = 64 * 1024;

/// Logs each line that a guest writes to standard error, or to a standard output without a client.
#[derive(Clone)]
pub struct Lines(Arc<LineLogger>);

struct LineLogger {
    guest: Arc<GuestContext>,
    state: Mutex<LogState>,
}

/// The line that is being written, and the rate limit of one guest.
#[derive(Default)]
struct LogState {
    /// The beginning of a line without its end.
    partial: Vec<u8>,
    window: Window,
    /// Lines that were dropped since the last line that was logged.
    dropped: u64,
}

impl Lines {
    pub fn new(guest: Arc<GuestContext>) -> Self {
        Self(Arc::new(LineLogger {
            guest,
            state: Mutex::default(),
        }))
    }
}

impl LineLogger {
    fn write(&self, bytes: &[u8]) {
        let now = Instant::now();
        let state = &mut *lock(&self.state);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            for part in piece.chunks(LINE) {
                state.partial.extend_from_slice(part);
                if state.partial.ends_with(b"\n") || state.partial.len() >= LINE {
                    self.log(state, now);
                    state.partial.clear();
                }
            }
        }
    }

    /// Logs the collected line, or counts it as dropped.
    fn log(&self, state: &mut LogState, now: Instant) {
        let line = &state.partial[..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        if !self.guest.log_limit.allows(&mut state.window, now) {
            state.dropped += 1;
            self.guest.stats.dropped_lines(1);
            return;
        }
        self.report_dropped(&mut state.dropped);
        self.guest.log_written(&String::from_utf8_lossy(line));
    }

    fn report_dropped(&self, dropped: &mut u64) {
        let count = std::mem::take(dropped);
        if count > 0 {
            let message = format_args!("{count} lines dropped (raise `max-log` if it may log more)");
            self.guest.log(Level::Warning, message);
        }
    }
}

impl Drop for LineLogger {
    fn drop(&mut self) {
        let state = std::mem::take(&mut self.state);
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.log(&mut state, Instant::now());
        self.report_dropped(&mut state.dropped);
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Lines {
    /// Always ready; gives way to other tasks of the thread (tokio's cooperative budget).
    async fn ready(&mut self) {
        consume_budget().await;
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(context)).made_progress();
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
