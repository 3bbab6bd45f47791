//! One datagram and its answer, as a guest's standard input and output.

use crate::limits::sent_more;
use crate::sync::lock;
use bytes::Bytes;
use rustix::io::Errno;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest answer, in bytes: what a UDP datagram over IPv4 can carry.
pub const LARGEST: usize = 65_507;

/// A datagram that was received, and what its guest has written.
pub struct Datagram {
    /// The limit of the answer, in bytes.
    most: usize,
    exchange: Mutex<DatagramBuffers>,
}

struct DatagramBuffers {
    unread: Bytes,
    answer: Vec<u8>,
    overflowed: bool,
}

/// The answer exceeds the size of a datagram, or `max-output`.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum TooLong {
    #[error("it has more than {LARGEST} bytes, which no datagram can carry")]
    ForDatagrams,
    #[error("it {}", sent_more(*.0))]
    ForLimit(u64),
}

impl Datagram {
    /// A received datagram; `most` is the limit of the answer, in bytes.
    pub fn new(received: Bytes, most: Option<u64>) -> Self {
        let most = most.and_then(|most| usize::try_from(most).ok());
        Self {
            most: most.map_or(LARGEST, |most| most.min(LARGEST)),
            exchange: Mutex::new(DatagramBuffers {
                unread: received,
                answer: Vec::new(),
                overflowed: false,
            }),
        }
    }

    fn exchange(&self) -> MutexGuard<'_, DatagramBuffers> {
        lock(&self.exchange)
    }

    /// Reads the next bytes, at most `size`; none at the end of the datagram.
    pub fn read(&self, size: usize) -> Bytes {
        let unread = &mut self.exchange().unread;
        unread.split_to(size.min(unread.len()))
    }

    /// As [`Self::read`], without consuming the bytes.
    pub fn peek(&self, size: usize) -> Bytes {
        let unread = &self.exchange().unread;
        unread.slice(..size.min(unread.len()))
    }

    /// Appends to the answer.
    ///
    /// # Errors
    /// `EMSGSIZE` when it exceeds the limit.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut exchange = self.exchange();
        if exchange.overflowed || exchange.answer.len() + bytes.len() > self.most {
            exchange.overflowed = true;
            return Err(Errno::MSGSIZE.into());
        }
        exchange.answer.extend_from_slice(bytes);
        Ok(())
    }

    /// The answer, which may be empty.
    ///
    /// # Errors
    /// [`TooLong`]: nothing is sent.
    pub fn answer(&self) -> Result<Vec<u8>, TooLong> {
        let mut exchange = self.exchange();
        if exchange.overflowed {
            return Err(match self.most {
                LARGEST => TooLong::ForDatagrams,
                most => TooLong::ForLimit(most as u64),
            });
        }
        Ok(std::mem::take(&mut exchange.answer))
    }
}

/// A datagram as `AsyncRead` and `AsyncWrite`. It never has to wait.
pub struct DatagramIo(pub Arc<Datagram>);

impl AsyncRead for DatagramIo {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buffer.put_slice(&self.0.read(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DatagramIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_to_its_end_and_answered_with_all_that_was_written() {
        let datagram = Datagram::new(Bytes::from_static(b"query"), None);
        assert_eq!(datagram.read(3), "que");
        assert_eq!(datagram.read(9), "ry");
        assert_eq!(datagram.read(9), "");
        datagram.write(b"ans").unwrap();
        datagram.write(b"wer").unwrap();
        assert_eq!(datagram.answer(), Ok(b"answer".to_vec()));
    }

    #[test]
    fn an_answer_that_no_datagram_can_carry_is_refused_as_a_whole() {
        let datagram = Datagram::new(Bytes::new(), None);
        datagram.write(&vec![0; LARGEST]).unwrap();
        let error = datagram.write(b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::MSGSIZE.raw_os_error()));
        assert_eq!(datagram.answer(), Err(TooLong::ForDatagrams));
    }

    #[test]
    fn an_answer_may_have_a_limit_of_its_own() {
        let datagram = Datagram::new(Bytes::new(), Some(3));
        datagram.write(b"abc").unwrap();
        datagram.write(b"d").unwrap_err();
        assert_eq!(datagram.answer(), Err(TooLong::ForLimit(3)));
    }
}
