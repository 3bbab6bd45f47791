//! The socket of an outgoing connection, as hyper reads and writes it.

use crate::net::{Connection, ConnectionIo, Transport};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, Join, ReadBuf, join};
use tokio::task::yield_now;

/// What one poll of a connection reads at most, in bytes, before other tasks of the thread are polled: a server that
/// sends what hyper only skips (1xx heads, frames of HTTP/2) would keep them waiting.
const READ_BUDGET: usize = 256 * 1024;

/// The reading half.
pub struct OutgoingReader {
    stream: ConnectionIo,
    /// Bytes that were read since others had their turn.
    read: usize,
}

pub type OutgoingIo = Join<OutgoingReader, ConnectionIo>;

/// `fd` is a connected, non-blocking stream.
pub fn outgoing(fd: OwnedFd, transport: Transport) -> OutgoingIo {
    let connection = Arc::new(Connection::new(Arc::new(fd), transport));
    connection.carries_http();
    let stream = ConnectionIo(connection.clone());
    join(OutgoingReader { stream, read: 0 }, ConnectionIo(connection))
}

impl AsyncRead for OutgoingReader {
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
