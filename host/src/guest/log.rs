//! A guest's standard error: lines in the log, with the handler's name and the peer.

use super::environment::Who;
use crate::journal::Level;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line that is kept whole, in bytes; the journal splits longer ones, too.
const LINE: usize = 2048;

/// What the guest may hand over at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Collects what a guest writes to standard error, or prints to nobody, and logs each line of it.
#[derive(Clone)]
pub struct Lines(Arc<Writer>);

struct Writer {
    who: Arc<Who>,
    /// The beginning of a line that has not ended.
    partial: Mutex<Vec<u8>>,
}

impl Lines {
    pub fn new(who: Arc<Who>) -> Self {
        Self(Arc::new(Writer {
            who,
            partial: Mutex::default(),
        }))
    }
}

impl Writer {
    fn write(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            for part in piece.chunks(LINE) {
                partial.extend_from_slice(part);
                if partial.ends_with(b"\n") || partial.len() >= LINE {
                    self.log(&partial);
                    partial.clear();
                }
            }
        }
    }

    fn log(&self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            let text = String::from_utf8_lossy(line);
            self.who.log(Level::Info, text);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        self.log(&partial.into_inner().unwrap_or_else(PoisonError::into_inner));
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
    async fn ready(&mut self) {}
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
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
