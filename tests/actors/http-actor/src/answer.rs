//! An answer, from the head to the trailers.

use std::io::{self, Result, Write};

use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, OutputStream};

/// An answer whose head is on its way. Dropped before its end, it is cut off.
pub struct Answer {
    // Before `body`, whose child it is: the host wants children to go first.
    pub bytes: OutputStream,
    body: OutgoingBody,
}

impl Answer {
    pub fn start(out: ResponseOutparam, headers: Fields) -> Self {
        Self::send(out, OutgoingResponse::new(headers))
    }

    pub fn send(out: ResponseOutparam, response: OutgoingResponse) -> Self {
        let body = response.body().expect("nobody has taken the body yet");
        let bytes = body.write().expect("nobody has taken the stream yet");
        ResponseOutparam::set(out, Ok(response));
        Self { bytes, body }
    }

    pub fn end(self, trailers: Option<Fields>) -> Result<()> {
        let Self { bytes, body } = self;
        bytes.blocking_flush().map_err(io::Error::other)?;
        drop(bytes);
        OutgoingBody::finish(body, trailers).map_err(io::Error::other)
    }
}

pub fn text(out: ResponseOutparam, text: &str) -> Result<()> {
    say(out, OutgoingResponse::new(plain()), text)
}

pub fn say(out: ResponseOutparam, response: OutgoingResponse, text: &str) -> Result<()> {
    let mut answer = Answer::send(out, response);
    answer.bytes.write_all(text.as_bytes())?;
    answer.end(None)
}

pub fn plain() -> Fields {
    one("content-type", "text/plain")
}

pub fn one(name: &str, value: &str) -> Fields {
    let headers = Fields::new();
    let set = headers.append(name, value.as_bytes());
    set.expect("a plain header that the guest may set");
    headers
}

/// The body of a request, and the stream of its bytes, which must be dropped first.
pub fn body(request: &IncomingRequest) -> (IncomingBody, InputStream) {
    let body = request.consume().expect("nobody has taken the body yet");
    let bytes = body.stream().expect("nobody has taken the stream yet");
    (body, bytes)
}
