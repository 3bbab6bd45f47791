use std::process::abort;

use wasip3::cli::environment::get_environment;
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{StreamWriter, yield_async};
use wasip3::{cli, spawn_local, wit_future, wit_stream};

use crate::answer::{Result, body, one, plain, read, say, stream, sum, text, write};
use crate::script;

/// Streams a body of `bytes` bytes, in chunks if no header tells how many.
pub fn big(bytes: u64, headers: Fields) -> Result<Response> {
    Ok(stream(headers, async move |mut out| {
        for chunk in script::big(bytes) {
            write(&mut out, chunk).await?;
        }
        Ok(None)
    }))
}

/// Copies the body of the request, through the guest's own memory.
pub fn echo(request: Request) -> Result<Response> {
    let headers = content_type(&request);
    Ok(stream(headers, async |mut out| {
        copy(request, &mut out).await?;
        Ok(None)
    }))
}

async fn copy(request: Request, out: &mut StreamWriter<u8>) -> Result<()> {
    let (mut bytes, trailers) = body(request);
    let mut chunk = Vec::new();
    while let Some(some) = read(&mut bytes, chunk).await {
        chunk = write(out, some).await?;
    }
    // A body that was cut off has come to its end, too.
    trailers.await?;
    Ok(())
}

/// Reads nothing for a while, then copies the body of the request.
pub async fn echo_after(request: Request, milliseconds: u64) -> Result<Response> {
    wait_for(milliseconds * 1_000_000).await;
    echo(request)
}

/// Says something, and copies the body of the request a while later.
pub fn echo_begun(request: Request, milliseconds: u64) -> Result<Response> {
    let headers = content_type(&request);
    Ok(stream(headers, async move |mut out| {
        write(&mut out, b"before\n".to_vec()).await?;
        wait_for(milliseconds * 1_000_000).await;
        copy(request, &mut out).await?;
        Ok(None)
    }))
}

/// Reads all of the body, then answers with its sum.
pub async fn echo_late(request: Request) -> Result<Response> {
    let (bytes, trailers) = body(request);
    let sum = sum(bytes).await;
    trailers.await?;
    text(format!("{sum}\n"))
}

/// Answers with that status and a body that never ends.
pub fn endless(code: u64) -> Result<Response> {
    let response = stream(plain(), async |mut out| {
        loop {
            write(&mut out, vec![b'x'; 4096]).await?;
        }
    });
    let set = u16::try_from(code).map_err(drop);
    set.and_then(|code| response.set_status_code(code)).expect("a status");
    Ok(response)
}

pub fn env() -> Result<Response> {
    text(script::env(get_environment()))
}

/// Answers with an error instead of a response.
pub fn error() -> Result<Response> {
    Err(ErrorCode::InternalError(Some("asked for".to_owned())))
}

/// Tries to set headers that are not the guest's to set, and tells of each how that went.
pub fn forbidden() -> Result<Response> {
    let headers = plain();
    let mut told = String::new();
    for name in script::ASKED_FOR {
        let verdict = script::verdict(headers.append(name, b"close"));
        told += &format!("{name}: {verdict}\n");
    }
    Ok(say(headers, told))
}

pub fn head(request: &Request) -> Result<Response> {
    text(script::head(
        request.get_method(),
        request.get_path_with_query(),
        request.get_scheme(),
        request.get_authority(),
        request.get_headers().copy_all(),
    ))
}

/// Answers with that many headers, or tells at which one the host had enough.
pub fn headers(count: u64) -> Result<Response> {
    let headers = plain();
    for (name, value) in script::headers(count) {
        if headers.append(&name, &value).is_err() {
            return text(format!("{name}: refused\n"));
        }
    }
    Ok(say(headers, format!("{count} headers\n")))
}

/// Goes on working after its answer is complete, and tells stderr when it is done.
pub fn linger(milliseconds: u64) -> Result<Response> {
    spawn_local(async move {
        wait_for(milliseconds * 1_000_000).await;
        tell_stderr(format!("lingered {milliseconds} ms\n")).await;
    });
    text("answered\n")
}

/// Answers with a body that never ends, and goes on working once its client has left.
pub fn linger_cut(milliseconds: u64) -> Result<Response> {
    Ok(stream(plain(), async move |mut out| {
        while write(&mut out, vec![b'x'; 4096]).await.is_ok() {}
        wait_for(milliseconds * 1_000_000).await;
        tell_stderr(format!("lingered {milliseconds} ms\n")).await;
        Ok(None)
    }))
}

/// Computes after its answer, and never ends.
pub fn linger_spin() -> Result<Response> {
    spawn_local(async {
        wait_for(100_000_000).await;
        script::spin()
    });
    text("answered\n")
}

/// Traps after its answer.
pub fn linger_trap(milliseconds: u64) -> Result<Response> {
    spawn_local(async move {
        wait_for(milliseconds * 1_000_000).await;
        abort()
    });
    text("answered\n")
}

/// Waits for a byte that only this part could write. (To return without an answer, as 0.2 can, is
/// not possible.)
pub async fn no_answer() -> Result<Response> {
    let (_bytes, mut contents) = wit_stream::new::<u8>();
    contents.next().await;
    unreachable!("nobody writes")
}

/// Fetches a URL, and tells the status or the error.
pub async fn outbound(url: &str) -> Result<Response> {
    text(match fetch(url).await {
        Ok(status) => format!("status: {status}\n"),
        Err(error) => format!("error: {error:?}\n"),
    })
}

async fn fetch(url: &str) -> Result<u16> {
    let (scheme, authority, path) = script::url(url);
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    let set = request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let response = client::send(request).await?;
    Ok(response.get_status_code())
}

pub fn sized(bytes: u64) -> Result<Response> {
    big(bytes, one("content-length", &bytes.to_string()))
}

/// Promises `bytes` bytes, and writes something else.
pub fn promise(bytes: u64) -> Result<Response> {
    let headers = one("content-length", &bytes.to_string());
    Ok(say(headers, script::NOT_AS_PROMISED))
}

pub async fn sleep(milliseconds: u64) -> Result<Response> {
    wait_for(milliseconds * 1_000_000).await;
    text(format!("slept {milliseconds} ms\n"))
}

/// Uses the processor, but gives the host its turn again and again.
pub async fn spin_yield() -> ! {
    loop {
        yield_async().await;
    }
}

/// Copies the body of the request by handing it over as it is: the host moves the bytes.
pub fn splice(request: Request) -> Result<Response> {
    let headers = content_type(&request);
    let (bytes, trailers) = body(request);
    let (response, _sent) = Response::new(headers, Some(bytes), trailers);
    Ok(response)
}

/// Answers with that status and an empty body.
pub fn status(code: u64) -> Result<Response> {
    let response = say(Fields::new(), "");
    let set = u16::try_from(code).map_err(drop);
    match set.and_then(|code| response.set_status_code(code)) {
        Ok(()) => Ok(response),
        Err(()) => text(format!("status {code}: refused\n")),
    }
}

pub async fn stderr(line: &str) -> Result<Response> {
    tell_stderr(format!("{line}\n")).await;
    text("ok\n")
}

/// Tells the trailers of the request; the sum of its body is the trailer of the answer.
pub async fn trailers(request: Request) -> Result<Response> {
    let (bytes, trailers) = body(request);
    let sum = sum(bytes).await;
    let told = trailers.await?.map(|fields| script::fields(fields.copy_all()));

    let headers = plain();
    let announced = headers.append("trailer", script::TRAILER.as_bytes());
    announced.expect("a header that the guest may set");
    Ok(stream(headers, async move |mut out| {
        write(&mut out, told.unwrap_or_default().into_bytes()).await?;
        Ok(Some(one(script::TRAILER, &sum.to_string())))
    }))
}

/// Traps when the head and some of the body are out, and the request has come to its end: the
/// client says when.
pub fn trap_late(request: Request) -> Result<Response> {
    Ok(stream(plain(), async |mut out| {
        write(&mut out, b"before\n".to_vec()).await?;
        sum(body(request).0).await;
        abort()
    }))
}

/// Says how long the body would be, and writes none of it: an answer to HEAD.
pub fn unwritten(bytes: u64) -> Result<Response> {
    let headers = one("content-length", &bytes.to_string());
    Ok(stream(headers, async |_| Ok(None)))
}

pub fn unknown(target: &str) -> Result<Response> {
    let response = say(plain(), format!("there is no part \"{target}\"\n"));
    let set = response.set_status_code(404);
    set.expect("404 is a status");
    Ok(response)
}

fn content_type(request: &Request) -> Fields {
    let headers = Fields::new();
    for value in request.get_headers().get("content-type") {
        let set = headers.append("content-type", &value);
        set.expect("a header that came in may go out");
    }
    headers
}

/// Tells stderr; if it is closed, nobody is left to tell that.
async fn tell_stderr(text: String) {
    let (mut bytes, contents) = wit_stream::new();
    let end = cli::stderr::write_via_stream(contents);
    let _ = write(&mut bytes, text.into_bytes()).await;
    drop(bytes);
    let _ = end.await;
}
