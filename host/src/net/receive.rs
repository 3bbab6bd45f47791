//! Reading from a connection: streams, packets, peeking, the end of the input.

use super::connection::{Connection, Transport, would_block};
use crate::sync::lock;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::{Interest, ReadBuf};
use tokio::task::coop::consume_budget;

impl Connection {
    /// Reads from a stream into a buffer of `room` bytes.
    fn receive(
        &self,
        room: usize,
        mut operation: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let mut all = None;
        let result = self.attempt(Interest::READABLE, |fd| {
            let count = operation(fd)?;
            if (1..room).contains(&count) && self.short_is_all.load(Relaxed) {
                // A short read means the same as `EAGAIN`: the receive queue is empty (epoll(7)).
                all = Some(count);
                return Err(Errno::AGAIN);
            }
            Ok(count)
        });
        let count = all.map_or(result, Ok)?;
        if count == 0 && room > 0 {
            self.expect_end()?;
            self.ended.store(true, Relaxed);
        }
        self.received.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Reads what has arrived: bytes of a stream, or one packet. 0 bytes: the client will send no more (or an empty
    /// packet, see [`Self::has_ended`]).
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; else those of `recv(2)`.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.transport == Transport::Packets {
            return self.try_recv_packet(buffer);
        }
        self.receive(buffer.len(), |fd| {
            rustix::net::recv(fd, &mut *buffer, RecvFlags::empty()).map(|(count, _)| count)
        })
    }

    /// Reads one packet. The part that does not fit the buffer is kept for the next reads; `recv(2)` would discard
    /// it.
    fn try_recv_packet(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let mut unread = lock(&self.unread);
        if unread.is_empty() {
            // An empty packet is consumed, too, though it looks like the end.
            let mut packet = Vec::with_capacity(self.packet_size()?.max(1));
            self.attempt(Interest::READABLE, |fd| {
                rustix::net::recv(fd, spare_capacity(&mut packet), RecvFlags::empty()).map(|(count, _)| count)
            })?;
            self.received.fetch_add(packet.len() as u64, Relaxed);
            *unread = packet.into();
        }
        let count = buffer.len().min(unread.len());
        buffer[..count].copy_from_slice(&unread.split_to(count));
        Ok(count)
    }

    /// The size of the next packet in bytes; 0 at the end.
    fn packet_size(&self) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        self.attempt(Interest::READABLE, |fd| {
            // With MSG_TRUNC the kernel returns the size of the packet, and not that of the copy.
            rustix::net::recv(fd, &mut [0u8; 1], flags).map(|(_, size)| size)
        })
    }

    /// Like [`Self::try_recv`], into the unused capacity of `buffer`, which may not be empty.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub fn try_recv_into(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.transport == Transport::Packets {
            buffer.resize(buffer.capacity(), 0);
            let received = self.try_recv_packet(buffer);
            buffer.truncate(*received.as_ref().unwrap_or(&0));
            return received;
        }
        let room = buffer.capacity() - buffer.len();
        self.receive(room, |fd| {
            rustix::net::recv(fd, spare_capacity(buffer), RecvFlags::empty()).map(|(count, _)| count)
        })
    }

    /// Like [`Self::try_recv`], into the unfilled part of `buffer`, without initialising it first.
    pub(super) fn try_recv_unfilled(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.transport == Transport::Packets {
            let count = self.try_recv_packet(buffer.initialize_unfilled())?;
            buffer.advance(count);
            return Ok(());
        }
        // SAFETY: recv(2) only writes to it, so initialised bytes stay initialised.
        let unfilled = unsafe { buffer.unfilled_mut() };
        let count = self.receive(unfilled.len(), |fd| {
            let received = rustix::net::recv(fd, &mut *unfilled, RecvFlags::empty());
            received.map(|((filled, _), _)| filled.len())
        })?;
        // SAFETY: recv(2) has written `count` bytes.
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Ok(())
    }

    /// Reads without consuming (`MSG_PEEK`).
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; else those of `recv(2)`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let unread = lock(&self.unread);
        if !unread.is_empty() {
            let count = buffer.len().min(unread.len());
            buffer[..count].copy_from_slice(&unread[..count]);
            return Ok(count);
        }
        drop(unread);
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let count = self.attempt(Interest::READABLE, |fd| {
            rustix::net::recv(fd, &mut *buffer, RecvFlags::PEEK).map(|(count, _)| count)
        })?;
        if count == 0 {
            self.expect_end()?;
        }
        Ok(count)
    }

    /// At what looks like the end of the input: fails if the client has reset the connection.
    fn expect_end(&self) -> io::Result<()> {
        match self.was_reset.load(Relaxed) {
            true => Err(Errno::CONNRESET.into()),
            false => Ok(()),
        }
    }

    /// Waits until there is something to read, the end of the input included.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`; an error of the socket is returned by the next read.
    pub async fn readable(&self) -> io::Result<()> {
        if self.reads_no_more.load(Relaxed) || !lock(&self.unread).is_empty() {
            return Ok(());
        }
        loop {
            self.wait(Interest::READABLE).await?;
            // The event loop's readiness may be stale: the input may have been read since.
            match self.peek(&mut [0; 1]) {
                Err(e) if would_block(&e) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Reads at least one byte, or 0 when the client will send no more.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_recv(buffer) {
                Err(e) if would_block(&e) => self.wait(Interest::READABLE).await?,
                result => return result,
            }
        }
    }
}
