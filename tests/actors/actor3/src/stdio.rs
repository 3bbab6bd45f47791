//! Byte streams of WASI 0.3: a stream carries the bytes, a future tells how it ended.

use std::fmt::Display;

use wasip3::cli::types::ErrorCode;
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::wit_stream;

use crate::Result;

type End = FutureReader<std::result::Result<(), ErrorCode>>;

pub const CHUNK: usize = 64 * 1024;

/// What the guest writes, to stdout or to stderr.
pub struct Output {
    bytes: StreamWriter<u8>,
    end: End,
}

impl Output {
    pub fn to(write_via_stream: fn(StreamReader<u8>) -> End) -> Self {
        let (bytes, reader) = wit_stream::new();
        let end = write_via_stream(reader);
        Self { bytes, end }
    }

    pub async fn say(&mut self, text: impl Display) -> Result {
        self.write(text.to_string().into_bytes()).await.map(drop)
    }

    /// Writes all of `chunk`, and gives it back empty, to be filled again.
    pub async fn write(&mut self, chunk: Vec<u8>) -> Result<Vec<u8>> {
        let rest = self.bytes.write_all(chunk).await;
        if rest.is_empty() { Ok(rest) } else { Err(()) }
    }

    /// Waits until the host has passed everything on.
    pub async fn close(self) -> Result {
        drop(self.bytes);
        self.end.await.map_err(drop)
    }
}

/// What the guest reads, from stdin.
pub struct Input {
    bytes: StreamReader<u8>,
    end: End,
}

impl Input {
    pub fn from(read_via_stream: fn() -> (StreamReader<u8>, End)) -> Self {
        let (bytes, end) = read_via_stream();
        Self { bytes, end }
    }

    /// Reads into `chunk`, which must be empty; `None` at the end.
    pub async fn read(&mut self, mut chunk: Vec<u8>) -> Option<Vec<u8>> {
        chunk.reserve(CHUNK);
        loop {
            let (status, read) = self.bytes.read(chunk).await;
            match status {
                _ if !read.is_empty() => return Some(read),
                StreamResult::Complete(_) => chunk = read,
                StreamResult::Dropped | StreamResult::Cancelled => return None,
            }
        }
    }

    pub async fn close(self) -> Result {
        self.end().await.map_err(drop)
    }

    /// What the future tells of the stream's end.
    pub async fn end(self) -> std::result::Result<(), ErrorCode> {
        drop(self.bytes);
        self.end.await
    }
}
