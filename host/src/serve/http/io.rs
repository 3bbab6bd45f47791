//! The socket as hyper reads and writes it (`AsyncRead`, `AsyncWrite`): an adapter that reports what arrives to the
//! connection's state, and enforces the read budget.

use super::state::ConnectionState;
use crate::net::{Connection, ConnectionIo};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// A connection for hyper.
pub struct HttpIo {
    stream: ConnectionIo,
    state: Arc<ConnectionState>,
}

impl HttpIo {
    /// Reports what arrives on `connection` to `state`.
    pub fn new(connection: Arc<Connection>, state: Arc<ConnectionState>) -> Self {
        connection.carries_http();
        let stream = ConnectionIo(connection);
        Self { stream, state }
    }
}

impl AsyncRead for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.read_budget.is_spent() {
            // Unlike waking the task, this also lets tasks run that wait for epoll(7).
            let _ = pin!(yield_now()).poll(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let arrived = &buffer.filled()[before..];
            self.state.read_budget.spend(arrived.len());
            self.state.bytes_arrived(arrived);
        }
        poll
    }
}

impl AsyncWrite for HttpIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
