//! A connection as tokio's `AsyncRead` and `AsyncWrite`: for hyper, and for components of WASI 0.3.

use super::connection::{Connection, would_block};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

/// A connection as `AsyncRead` and `AsyncWrite`.
#[derive(Clone)]
pub struct ConnectionIo(pub Arc<Connection>);

impl AsyncRead for ConnectionIo {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A task whose input never ends has to let other tasks run (tokio's cooperative budget).
        let budget = ready!(poll_proceed(context));
        loop {
            match self.0.try_recv_unfilled(buffer) {
                Err(e) if would_block(&e) => {
                    let registered = self.0.registered()?;
                    ready!(registered.poll_read_ready(context))?.retain_ready();
                }
                result => {
                    budget.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl ConnectionIo {
    /// Is there something to read, the end of the input or an error included?
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.0.peek(&mut [0; 1]) {
                Err(e) if would_block(&e) => {
                    let Ok(registered) = self.0.registered() else {
                        return Poll::Ready(());
                    };
                    match ready!(registered.poll_read_ready(context)) {
                        Ok(mut ready) => ready.clear_ready(),
                        Err(_) => return Poll::Ready(()),
                    }
                }
                _ => return Poll::Ready(()),
            }
        }
    }

    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        mut send: impl FnMut(&Connection) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let budget = ready!(poll_proceed(context));
        loop {
            match send(&self.0) {
                Err(e) if would_block(&e) => {
                    let registered = self.0.registered()?;
                    ready!(registered.poll_write_ready(context))?.retain_ready();
                }
                result => {
                    budget.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |connection| connection.try_send(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |connection| connection.try_send_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shut_down_writing();
        Poll::Ready(Ok(()))
    }
}
