//! A connection or a datagram as a guest's standard input and output, with WASI's stream traits.
//!
//! The streams read and write the socket directly, without a task or buffer in between. So back-pressure works in
//! both directions: a guest that does not read makes its client wait, and vice versa.

use super::connection::{CHUNK, Connection, Transport};
use super::datagram::{Datagram, DatagramIo};
use super::polled::ConnectionIo;
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::task::coop::consume_budget;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// What a guest reads as standard input and writes as standard output.
#[derive(Clone)]
pub enum Stdio {
    Connection(Arc<Connection>),
    Datagram(Arc<Datagram>),
}

impl Stdio {
    /// Reads at least one byte, or 0 at the end.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Connection(connection) => connection.recv(buffer).await,
            Self::Datagram(datagram) => Ok(datagram_into(datagram, buffer)),
        }
    }

    /// Writes all of `buffers`, as one packet on a `SOCK_SEQPACKET` socket. Returns the number of bytes: fewer only
    /// after an error, which the next call returns.
    ///
    /// # Errors
    /// Those of `send(2)`; `EMSGSIZE` when it does not fit a packet or datagram.
    pub async fn send(&self, mut buffers: &mut [IoSlice<'_>]) -> io::Result<usize> {
        let size: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let connection = match self {
            Self::Connection(connection) => connection,
            Self::Datagram(datagram) => {
                for buffer in buffers {
                    datagram.write(buffer)?;
                }
                return Ok(size);
            }
        };
        let mut sent = 0;
        while sent < size {
            match connection.send_some(buffers).await {
                Ok(count) => {
                    sent += count;
                    IoSlice::advance_slices(&mut buffers, count);
                }
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

impl Stdio {
    /// Is it a stream, and not packets?
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Connection(connection) => connection.transport() != Transport::Packets,
            Self::Datagram(_) => false,
        }
    }

    /// As [`Self::recv`], without waiting.
    ///
    /// # Errors
    /// As there, and `WouldBlock`.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Connection(connection) => connection.try_recv(buffer),
            Self::Datagram(datagram) => Ok(datagram_into(datagram, buffer)),
        }
    }

    /// As [`Self::recv`], without consuming the bytes; without waiting if `is_nonblocking`.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub async fn peek(&self, buffer: &mut [u8], is_nonblocking: bool) -> io::Result<usize> {
        match self {
            Self::Connection(connection) => {
                match is_nonblocking {
                    true => consume_budget().await,
                    // An error of the socket is returned by the next call.
                    false => connection.readable().await?,
                }
                connection.peek(buffer)
            }
            Self::Datagram(datagram) => {
                let bytes = datagram.peek(buffer.len());
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
    }

    /// As [`Self::send`], as much as possible without waiting.
    ///
    /// # Errors
    /// As there, and `WouldBlock` when nothing can be written.
    pub fn try_send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Connection(connection) => connection.try_send_vectored(buffers),
            Self::Datagram(datagram) => {
                for buffer in buffers {
                    datagram.write(buffer)?;
                }
                Ok(buffers.iter().map(|buffer| buffer.len()).sum())
            }
        }
    }
}

fn datagram_into(datagram: &Datagram, buffer: &mut [u8]) -> usize {
    let bytes = datagram.read(buffer.len());
    buffer[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

/// The guest's standard input.
#[derive(Clone)]
pub struct Stdin(pub Stdio);

/// The guest's standard output.
#[derive(Clone)]
pub struct Stdout(pub Stdio);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        match &self.0 {
            Stdio::Connection(connection) => Box::new(ConnectionIo(connection.clone())),
            Stdio::Datagram(datagram) => Box::new(DatagramIo(datagram.clone())),
        }
    }
}

impl StdoutStream for Stdout {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        match &self.0 {
            Stdio::Connection(connection) => Box::new(ConnectionIo(connection.clone())),
            Stdio::Datagram(datagram) => Box::new(DatagramIo(datagram.clone())),
        }
    }
}

/// Reports a reset as an error and not as the end of the input, so that a guest does not accept a truncated upload.
fn input_error(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// Maps `EPIPE` and `ECONNRESET` to a closed stream.
fn stream_error(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => StreamError::Closed,
        _ => StreamError::LastOperationFailed(error.into()),
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        if let Stdio::Connection(connection) = &self.0 {
            // An error is reported by the read that follows.
            let _ = connection.readable().await;
        }
    }
}

#[async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let connection = match &self.0 {
            Stdio::Connection(connection) => connection,
            Stdio::Datagram(datagram) => {
                let bytes = datagram.read(size);
                return match bytes.is_empty() {
                    true => Err(StreamError::Closed),
                    false => Ok(bytes),
                };
            }
        };
        let mut buffer = Vec::with_capacity(size.min(CHUNK));
        match connection.try_recv_into(&mut buffer) {
            Ok(0) => Err(StreamError::Closed),
            Ok(_) => Ok(buffer.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(e) => Err(input_error(e)),
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        loop {
            let bytes = self.read(size)?;
            if !bytes.is_empty() || size == 0 {
                return Ok(bytes);
            }
            if let Stdio::Connection(connection) = &self.0 {
                let waited = connection.wait(Interest::READABLE).await;
                waited.map_err(input_error)?;
            }
        }
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        if let Stdio::Connection(connection) = &self.0 {
            // An error is reported by the `check_write` that follows.
            let _ = connection.flush().await;
            let _ = connection.writable().await;
        }
    }
}

#[async_trait]
impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let taken = match &self.0 {
            Stdio::Connection(connection) if bytes.len() <= CHUNK => connection.enqueue(bytes),
            Stdio::Connection(_) => Ok(false),
            Stdio::Datagram(datagram) => datagram.write(&bytes).map(|()| true),
        };
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(StreamError::trap("wrote more than check-write allowed")),
            Err(e) => Err(stream_error(e)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        match &self.0 {
            Stdio::Connection(connection) => connection.try_flush().map(drop).map_err(stream_error),
            Stdio::Datagram(_) => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let flushed = match &self.0 {
            Stdio::Connection(connection) => connection.try_flush().map_err(stream_error)?,
            Stdio::Datagram(_) => true,
        };
        Ok(if flushed { CHUNK } else { 0 })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        match &self.0 {
            Stdio::Connection(connection) => {
                connection.flush().await.map_err(stream_error)?;
                connection.send(&bytes).await.map_err(stream_error)
            }
            Stdio::Datagram(datagram) => datagram.write(&bytes).map_err(stream_error),
        }
    }
}
