use std::io::{self, Read, Result, Write};
use std::process::abort;
use std::thread;
use std::time::Duration;

use wasip2::cli::environment::get_environment;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingRequest, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, StreamError};

use crate::answer::{Answer, body, one, plain, say, text};
use crate::script::{self, Sum};

/// Streams a body of `bytes` bytes, in chunks if no header tells how many.
pub fn big(out: ResponseOutparam, bytes: u64, headers: Fields) -> Result<()> {
    let mut answer = Answer::start(out, headers);
    for chunk in script::big(bytes) {
        answer.bytes.write_all(&chunk)?;
    }
    answer.end(None)
}

/// Copies the body of the request, through the guest's own memory.
pub fn echo(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let mut answer = Answer::start(out, content_type(request));
    let (_body, mut bytes) = body(request);
    io::copy(&mut bytes, &mut answer.bytes)?;
    answer.end(None)
}

/// Reads nothing for a while, then copies the body of the request.
pub fn echo_after(out: ResponseOutparam, request: &IncomingRequest, milliseconds: u64) -> Result<()> {
    thread::sleep(Duration::from_millis(milliseconds));
    echo(out, request)
}

/// Says something, and copies the body of the request a while later.
pub fn echo_begun(out: ResponseOutparam, request: &IncomingRequest, milliseconds: u64) -> Result<()> {
    let mut answer = Answer::start(out, content_type(request));
    answer.bytes.write_all(b"before\n")?;
    answer.bytes.blocking_flush().map_err(io::Error::other)?;
    thread::sleep(Duration::from_millis(milliseconds));
    let (_body, mut bytes) = body(request);
    io::copy(&mut bytes, &mut answer.bytes)?;
    answer.end(None)
}

/// Reads all of the body, then answers with its sum.
pub fn echo_late(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let (_body, mut bytes) = body(request);
    let sum = sum(&mut bytes)?;
    text(out, &format!("{sum}\n"))
}

/// Answers with that status and a body that never ends.
pub fn endless(out: ResponseOutparam, code: u64) -> Result<()> {
    let response = OutgoingResponse::new(plain());
    let set = u16::try_from(code).map_err(drop);
    set.and_then(|code| response.set_status_code(code)).expect("a status");
    let mut answer = Answer::send(out, response);
    loop {
        answer.bytes.write_all(&[b'x'; 4096])?;
    }
}

pub fn env(out: ResponseOutparam) -> Result<()> {
    text(out, &script::env(get_environment()))
}

/// Answers with an error instead of a response.
pub fn error(out: ResponseOutparam) -> Result<()> {
    let error = ErrorCode::InternalError(Some("asked for".to_owned()));
    ResponseOutparam::set(out, Err(error));
    Ok(())
}

/// Tries to set headers that are not the guest's to set, and tells of each how that went.
pub fn forbidden(out: ResponseOutparam) -> Result<()> {
    let headers = plain();
    let mut told = String::new();
    for name in script::ASKED_FOR {
        let verdict = script::verdict(headers.append(name, b"close"));
        told += &format!("{name}: {verdict}\n");
    }
    say(out, OutgoingResponse::new(headers), &told)
}

pub fn head(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let head = script::head(
        request.method(),
        request.path_with_query(),
        request.scheme(),
        request.authority(),
        request.headers().entries(),
    );
    text(out, &head)
}

/// Answers with that many headers, or tells at which one the host had enough.
pub fn headers(out: ResponseOutparam, count: u64) -> Result<()> {
    let headers = plain();
    for (name, value) in script::headers(count) {
        if headers.append(&name, &value).is_err() {
            return text(out, &format!("{name}: refused\n"));
        }
    }
    let told = format!("{count} headers\n");
    say(out, OutgoingResponse::new(headers), &told)
}

/// Goes on working after its answer is complete, and tells stderr when it is done.
pub fn linger(out: ResponseOutparam, milliseconds: u64) -> Result<()> {
    text(out, "answered\n")?;
    thread::sleep(Duration::from_millis(milliseconds));
    eprintln!("lingered {milliseconds} ms");
    Ok(())
}

/// Fetches a URL, and tells the status or the error.
pub fn outbound(out: ResponseOutparam, url: &str) -> Result<()> {
    let told = match fetch(url) {
        Ok(status) => format!("status: {status}\n"),
        Err(error) => format!("error: {error:?}\n"),
    };
    text(out, &told)
}

fn fetch(url: &str) -> std::result::Result<u16, ErrorCode> {
    let (scheme, authority, path) = script::url(url);
    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let response = outgoing_handler::handle(request, None)?;
    response.subscribe().block();
    let response = response.get().expect("it is there: we waited for it");
    let response = response.expect("it was not taken before")?;
    Ok(response.status())
}

pub fn sized(out: ResponseOutparam, bytes: u64) -> Result<()> {
    big(out, bytes, one("content-length", &bytes.to_string()))
}

/// Promises `bytes` bytes, and writes something else, of which it does not even say that it is all.
pub fn promise(out: ResponseOutparam, bytes: u64) -> Result<()> {
    let mut answer = Answer::start(out, one("content-length", &bytes.to_string()));
    let written = answer.bytes.write_all(script::NOT_AS_PROMISED);
    std::mem::forget(answer);
    written
}

pub fn sleep(out: ResponseOutparam, milliseconds: u64) -> Result<()> {
    thread::sleep(Duration::from_millis(milliseconds));
    text(out, &format!("slept {milliseconds} ms\n"))
}

/// Copies the body of the request by handing one stream to the other: the host moves the bytes.
pub fn splice(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let answer = Answer::start(out, content_type(request));
    let (_body, bytes) = body(request);
    loop {
        match answer.bytes.blocking_splice(&bytes, script::CHUNK as u64) {
            Ok(_) => {}
            Err(StreamError::Closed) => return answer.end(None),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(io::Error::other(error.to_debug_string()));
            }
        }
    }
}

/// Answers with that status and an empty body.
pub fn status(out: ResponseOutparam, code: u64) -> Result<()> {
    let response = OutgoingResponse::new(Fields::new());
    let set = u16::try_from(code).map_err(drop);
    match set.and_then(|code| response.set_status_code(code)) {
        Ok(()) => say(out, response, ""),
        Err(()) => text(out, &format!("status {code}: refused\n")),
    }
}

pub fn stderr(out: ResponseOutparam, line: &str) -> Result<()> {
    eprintln!("{line}");
    text(out, "ok\n")
}

/// Tells the trailers of the request; the sum of its body is the trailer of the answer.
pub fn trailers(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let (body, mut bytes) = body(request);
    let sum = sum(&mut bytes)?;
    drop(bytes);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers.get().expect("they are there: we waited for them");
    let trailers = trailers.expect("they were not taken before");
    let trailers = trailers.map_err(io::Error::other)?;
    let told = trailers.map(|fields| script::fields(fields.entries()));

    let headers = plain();
    let announced = headers.append("trailer", script::TRAILER.as_bytes());
    announced.map_err(io::Error::other)?;
    let mut answer = Answer::start(out, headers);
    answer.bytes.write_all(told.unwrap_or_default().as_bytes())?;
    answer.end(Some(one(script::TRAILER, &sum.to_string())))
}

/// Traps when the head and some of the body are out, and the request has come to its end: the
/// client says when.
pub fn trap_late(out: ResponseOutparam, request: &IncomingRequest) -> Result<()> {
    let mut answer = Answer::start(out, plain());
    answer.bytes.write_all(b"before\n")?;
    answer.bytes.blocking_flush().map_err(io::Error::other)?;
    let (_body, mut bytes) = body(request);
    sum(&mut bytes)?;
    abort()
}

/// Says how long the body would be, and writes none of it: an answer to HEAD. Traps if that is wrong.
pub fn unwritten(out: ResponseOutparam, bytes: u64) -> Result<()> {
    let answer = Answer::start(out, one("content-length", &bytes.to_string()));
    answer.end(None).expect("HEAD is answered without a body");
    Ok(())
}

pub fn unknown(out: ResponseOutparam, target: &str) -> Result<()> {
    let response = OutgoingResponse::new(plain());
    let set = response.set_status_code(404);
    set.expect("404 is a status");
    say(out, response, &format!("there is no part \"{target}\"\n"))
}

fn content_type(request: &IncomingRequest) -> Fields {
    let headers = Fields::new();
    for value in request.headers().get("content-type") {
        let set = headers.append("content-type", &value);
        set.expect("a header that came in may go out");
    }
    headers
}

fn sum(bytes: &mut InputStream) -> Result<Sum> {
    let mut sum = Sum::new();
    let mut chunk = vec![0; script::CHUNK];
    loop {
        match bytes.read(&mut chunk)? {
            0 => return Ok(sum),
            read => sum.add(&chunk[..read]),
        }
    }
}
