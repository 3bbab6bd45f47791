//! The socket of an outgoing connection, as hyper reads and writes it.

use crate::net::{Connection, ConnectionIo, Transport};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// What one poll of a connection reads at most, in bytes, before other tasks of the thread are polled: a server that
/// sends what hyper only skips (1xx heads, frames of HTTP/2) would keep them waiting.
const READ_BUDGET: usize = 256 * 1024;

pub struct OutgoingIo {
    stream: ConnectionIo,
    /// Bytes that were read since others had their turn.
    read: usize,
}

impl OutgoingIo {
    /// `fd` is a connected, non-blocking stream.
    pub fn new(fd: OwnedFd, transport: Transport) -> Self {
        let connection = Connection::new(Arc::new(fd), transport);
        connection.carries_http();
        Self {
            stream: ConnectionIo(Arc::new(connection)),
            read: 0,
        }
    }
}

impl AsyncRead for OutgoingIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= READ_BUDGET {
            self.read = 0;
            // Unlike waking the task, this also lets tasks run that wait for epoll(7).
            let _ = pin!(yield_now()).poll(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) else {
            self.read = 0;
            return Poll::Pending;
        };
        self.read += buffer.filled().len() - before;
        Poll::Ready(result)
    }
}

impl AsyncWrite for OutgoingIo {
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
