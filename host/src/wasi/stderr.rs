//! A guest's standard error: lines in the log, with the handler's name and the peer.
//!
//! A flood of them would fill the journal, and drown what others say: journald drops lines of a whole
//! service at once (`LogRateLimitBurst=`, 10,000 in 30 s). So a handler's guests have a limit of their
//! own, `max-log`, and what is beyond it is counted and dropped before it costs more than that.

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

/// The longest line that is kept whole, in bytes; the journal splits longer ones, too.
const LINE: usize = 2048;

/// What the guest may hand over at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Collects what a guest writes to standard error, or prints to nobody, and logs each line of it.
#[derive(Clone)]
pub struct Lines(Arc<LineLogger>);

struct LineLogger {
    guest: Arc<GuestContext>,
    said: Mutex<LogState>,
}

/// What a guest has said so far.
#[derive(Default)]
struct LogState {
    /// The beginning of a line that has not ended.
    partial: Vec<u8>,
    window: Window,
    /// Lines that were one too many, since the last that was not.
    dropped: u64,
}

impl Lines {
    pub fn new(guest: Arc<GuestContext>) -> Self {
        Self(Arc::new(LineLogger {
            guest,
            said: Mutex::default(),
        }))
    }
}

impl LineLogger {
    fn write(&self, bytes: &[u8]) {
        let now = Instant::now();
        let said = &mut *lock(&self.said);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            for part in piece.chunks(LINE) {
                said.partial.extend_from_slice(part);
                if said.partial.ends_with(b"\n") || said.partial.len() >= LINE {
                    self.log(said, now);
                    said.partial.clear();
                }
            }
        }
    }

    /// Logs the line that has ended.
    fn log(&self, said: &mut LogState, now: Instant) {
        let line = &said.partial[..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        if !self.guest.log_limit.allows(&mut said.window, now) {
            said.dropped += 1;
            return;
        }
        self.tell_dropped(&mut said.dropped);
        self.guest.log(Level::Info, String::from_utf8_lossy(line));
    }

    fn tell_dropped(&self, dropped: &mut u64) {
        let count = std::mem::take(dropped);
        if count > 0 {
            let message = format_args!("{count} lines dropped (raise `max-log` if it may log more)");
            self.guest.log(Level::Warning, message);
        }
    }
}

impl Drop for LineLogger {
    fn drop(&mut self) {
        let said = std::mem::take(&mut self.said);
        let mut said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.log(&mut said, Instant::now());
        self.tell_dropped(&mut said.dropped);
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
    /// It always is, and that would never let the others have their turn.
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
