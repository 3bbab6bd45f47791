//! Bodies in WASI 0.3: a stream carries the bytes, a future the trailers or what went wrong.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

use crate::script::{CHUNK, Sum};

pub type Result<T> = std::result::Result<T, ErrorCode>;
pub type Trailers = FutureReader<Result<Option<Fields>>>;

/// An answer whose head is on its way while `body` writes what follows, and returns the trailers.
/// If that fails, the answer is cut off.
pub fn stream<F>(headers: Fields, body: F) -> Response
where
    F: AsyncFnOnce(StreamWriter<u8>) -> Result<Option<Fields>> + 'static,
{
    let (bytes, contents) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    spawn_local(async move {
        // The other side may be gone; then nobody is left to tell.
        let _ = end.write(body(bytes).await).await;
    });
    response
}

pub fn text(text: impl Into<Vec<u8>>) -> Result<Response> {
    Ok(say(plain(), text))
}

pub fn say(headers: Fields, text: impl Into<Vec<u8>>) -> Response {
    let text = text.into();
    stream(headers, async |mut bytes| {
        write(&mut bytes, text).await?;
        Ok(None)
    })
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

/// Writes all of `chunk`, and gives it back empty, to be filled again.
pub async fn write(bytes: &mut StreamWriter<u8>, chunk: Vec<u8>) -> Result<Vec<u8>> {
    let rest = bytes.write_all(chunk).await;
    if rest.is_empty() {
        Ok(rest)
    } else {
        Err(ErrorCode::ConnectionTerminated)
    }
}

/// The body of a request, and what comes after it.
pub fn body(request: Request) -> (StreamReader<u8>, Trailers) {
    let (_, taken) = wit_future::new(|| Ok(()));
    Request::consume_body(request, taken)
}

/// Reads into `chunk`, which must be empty; `None` at the end.
pub async fn read(bytes: &mut StreamReader<u8>, mut chunk: Vec<u8>) -> Option<Vec<u8>> {
    chunk.reserve(CHUNK);
    loop {
        let (status, read) = bytes.read(chunk).await;
        match status {
            _ if !read.is_empty() => return Some(read),
            StreamResult::Complete(_) => chunk = read,
            StreamResult::Dropped | StreamResult::Cancelled => return None,
        }
    }
}

pub async fn sum(mut bytes: StreamReader<u8>) -> Sum {
    let mut sum = Sum::new();
    let mut chunk = Vec::new();
    while let Some(mut some) = read(&mut bytes, chunk).await {
        sum.add(&some);
        some.clear();
        chunk = some;
    }
    sum
}
