//! A run that answers an HTTP request.

use super::Exec;
use crate::CommandError;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Sends a request with this body. The answer's body goes to `output`. Returns 0, or 1 if its status is 400 or more:
/// what `curl --fail` takes for a failure, too.
///
/// # Errors
/// When the request is not valid, or is not answered.
pub fn request(socket: UnixStream, exec: &Exec, body: Option<File>, output: File) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(exchange(socket, exec, body, output))
}

async fn exchange(socket: UnixStream, exec: &Exec, body: Option<File>, output: File) -> Result<u8, CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::Failed(format!("no answer: {error}"));
    let request = message(exec, body)?;
    socket.set_nonblocking(true)?;
    let socket = TokioIo::new(tokio::net::UnixStream::from_std(socket)?);
    let (mut sender, connection) = http1::handshake(socket).await.map_err(|error| failed(&error))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        answer(response, output).await
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        result = &mut exchange => result,
        // The connection has ended; what was received is answered from now.
        _ = &mut connection => exchange.await,
    }
}

async fn answer(response: Response<Incoming>, mut output: File) -> Result<u8, CommandError> {
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CommandError::Failed(format!("the answer is cut off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        match output.write_all(&data) {
            Ok(()) => {}
            // Such as `| head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(CommandError::Failed(format!("cannot write the output: {error}"))),
        }
    }
    if status.as_u16() >= 400 {
        eprintln!("wasm-sock: the answer is {status}");
        return Ok(1);
    }
    Ok(0)
}

fn message(exec: &Exec, body: Option<File>) -> Result<Request<StreamBody<Blocks>>, CommandError> {
    let wrong = |what: &str, why: &dyn std::fmt::Display| CommandError::Failed(format!("{what}: {why}"));
    let path = exec.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') {
        return Err(wrong("--path", &format_args!("{path:?} does not begin with \"/\"")));
    }
    let default = if body.is_some() { Method::POST } else { Method::GET };
    let method = match exec
        .method
        .as_deref()
        .map(|method| Method::from_bytes(method.as_bytes()))
    {
        Some(method) => method.map_err(|error| wrong("--method", &error))?,
        None => default,
    };
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", "localhost").header("connection", "close");
    request = request.header("user-agent", concat!("wasm-sock/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = &body
        && let Ok(metadata) = file.metadata()
        && metadata.is_file()
    {
        request = request.header("content-length", metadata.len());
    } else if body.is_none() {
        request = request.header("content-length", 0);
    }
    request
        .body(StreamBody::new(Blocks::of(body)))
        .map_err(|error| wrong("--path", &error))
}

/// A file that is read by a thread, because reading a pipe would block the answer.
struct Blocks(Option<mpsc::Receiver<std::io::Result<Bytes>>>);

const BLOCK: usize = 64 * 1024;

impl Blocks {
    fn of(file: Option<File>) -> Self {
        let Some(mut file) = file else { return Self(None) };
        let (sender, receiver) = mpsc::channel(2);
        std::thread::spawn(move || {
            loop {
                let mut block = vec![0; BLOCK];
                let read = match file.read(&mut block) {
                    Ok(0) => return,
                    Ok(count) => {
                        block.truncate(count);
                        Ok(block.into())
                    }
                    Err(error) => Err(error),
                };
                let is_last = read.is_err();
                // The receiver is gone when the answer is complete.
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self(Some(receiver))
    }
}

impl futures_core::Stream for Blocks {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Some(receiver) => receiver
                .poll_recv(context)
                .map(|block| block.map(|block| block.map(Frame::data))),
            None => Poll::Ready(None),
        }
    }
}
