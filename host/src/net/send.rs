//! Writing to a connection: vectored and buffered writes, `max-output`, `TCP_NODELAY`.

use super::connection::{Connection, would_block};
use crate::sync::lock;
use crate::trace::{self, Mark};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::Interest;
use tokio::task::coop::consume_budget;

impl Connection {
    pub(super) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send_with(bytes.len(), |fd| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL))
    }

    /// Writes as much of `buffers` as possible without waiting, or all of them as one packet.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can be written; else those of `send(2)`.
    pub fn try_send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [buffer] = buffers {
            return self.try_send(buffer);
        }
        let size = buffers.iter().map(|buffer| buffer.len()).sum();
        self.try_send_with(size, |fd| {
            let mut no_more = SendAncillaryBuffer::default();
            rustix::net::sendmsg(fd, buffers, &mut no_more, SendFlags::NOSIGNAL)
        })
    }

    fn try_send_with(
        &self,
        size: usize,
        send: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let sent = self.sent.load(Relaxed);
        if sent.saturating_add(size as u64) > self.most.load(Relaxed) {
            // Fails when it was set before.
            let _ = self.overran.set(());
            return Err(Errno::PIPE.into());
        }
        if self.no_delay.load(Relaxed) && sent > 0 {
            self.no_delay.store(false, Relaxed);
            // An error is ignored: without it the answer is only delayed.
            let _ = sockopt::set_tcp_nodelay(&*self.fd, true);
        }
        let sent = self.attempt(Interest::WRITABLE, send);
        self.is_full.store(sent.as_ref().is_err_and(would_block), Relaxed);
        let count = sent?;
        trace::pass(Mark::FirstByte);
        if self.sent.fetch_add(count as u64, Relaxed) == 0 {
            // The clock is read once a connection.
            let nanoseconds = self.accepted.elapsed().as_nanos() as u64;
            self.first_byte.store(nanoseconds.max(1), Relaxed);
        }
        Ok(count)
    }

    /// Writes some of `buffers`, or all of them as one packet. Returns how many bytes.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn send_some(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_send_vectored(buffers) {
                Err(e) if would_block(&e) => self.wait(Interest::WRITABLE).await?,
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.send_some(&[IoSlice::new(bytes)]).await?..];
        }
        Ok(())
    }

    /// Buffers `bytes`, to be sent as soon as the socket is writable. `false`: the buffer still has unsent bytes, and
    /// `bytes` were not taken.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub fn enqueue(&self, bytes: Bytes) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        if !unsent.is_empty() {
            return Ok(false);
        }
        *unsent = bytes;
        drop(unsent);
        self.try_flush()?;
        Ok(true)
    }

    /// Sends what is buffered, as far as possible without waiting. `true` when nothing is left.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub fn try_flush(&self) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        while !unsent.is_empty() {
            match self.try_send(&unsent) {
                Ok(count) => drop(unsent.split_to(count)),
                Err(e) if would_block(&e) => return Ok(false),
                Err(e) => {
                    // A retry would fail, too, and a packet that is too large would block the next ones.
                    unsent.clear();
                    return Err(e);
                }
            }
        }
        Ok(true)
    }

    /// Waits until the socket has accepted everything that is buffered.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn flush(&self) -> io::Result<()> {
        while !self.try_flush()? {
            self.wait(Interest::WRITABLE).await?;
        }
        Ok(())
    }

    /// Waits until the socket may be writable again.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub async fn writable(&self) -> io::Result<()> {
        match self.is_full.load(Relaxed) {
            true => self.wait(Interest::WRITABLE).await,
            false => Ok(()),
        }
    }
}
