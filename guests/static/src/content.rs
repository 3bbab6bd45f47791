//! What is sent: a text, or a part of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use wstd::http::body::util::Empty;
use wstd::http::body::{Body, Bytes, Frame, HttpBody};

/// Bytes that are read from a file at a time.
const CHUNK: usize = 64 * 1024;

pub enum Content {
    /// Not even a body of zero bytes: after HEAD, and with 304, writing one can fail.
    Nothing,
    Text(&'static str),
    Part(Part),
}

impl Content {
    /// The part of a file from byte `first` on.
    pub fn part(mut file: File, first: u64, length: u64) -> io::Result<Content> {
        file.seek(SeekFrom::Start(first))?;
        Ok(Content::Part(Part { file, left: length }))
    }

    pub fn into_body(self) -> Body {
        match self {
            Content::Nothing => Body::from_http_body(Empty::<Bytes>::new()),
            Content::Text(text) => text.into(),
            Content::Part(part) => Body::from_http_body(part),
        }
    }
}

/// A part of a file, which is read while the client takes it: a file of any size needs one chunk of memory.
pub struct Part {
    file: File,
    left: u64,
}

impl Part {
    /// The next bytes; `None`: that was all.
    ///
    /// # Errors
    /// Also when the file has become shorter. The connection is then reset, and the client knows that it has not got
    /// everything.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let length = CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK));
        if length == 0 {
            return None;
        }
        let mut chunk = vec![0; length];
        Some(self.file.read_exact(&mut chunk).map(|()| {
            self.left -= length as u64;
            chunk.into()
        }))
    }
}

impl HttpBody for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.next().map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
impl Content {
    pub fn read(self) -> io::Result<Vec<u8>> {
        match self {
            Content::Nothing => Ok(Vec::new()),
            Content::Text(text) => Ok(text.into()),
            Content::Part(mut part) => {
                let chunks = std::iter::from_fn(move || part.next());
                Ok(chunks.collect::<io::Result<Vec<Bytes>>>()?.concat())
            }
        }
    }
}
