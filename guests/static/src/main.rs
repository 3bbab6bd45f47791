//! Serves the files of a directory over HTTP: `GET` and `HEAD`, with ranges and conditional requests (RFC 9110).
//!
//! The directory is the first argument, `/data` if there is none. This guest can see nothing else:
//! the sandbox, not this program, protects the rest of the machine.

mod content;
mod path;
mod range;
mod types;
mod validators;

use std::env::args;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use wstd::http::body::Body;
use wstd::http::response::Builder;
use wstd::http::{Error, Method, Request, Response, StatusCode};

use content::Content;
use path::{Refusal, Target};
use validators::{Condition, Validators};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let root = PathBuf::from(args().nth(1).unwrap_or("/data".into()));
    let response = answer(&root, &request.map(|_| ()))?;
    Ok(response.map(Content::into_body))
}

fn answer(root: &Path, request: &Request<()>) -> Result<Response<Content>, Error> {
    let is_head = request.method() == Method::HEAD;
    let response = match find(root, request) {
        Ok(Found::File(path, file)) => send(&path, file, request)?,
        Ok(Found::Moved(location)) => {
            let moved = Response::builder().header("location", location);
            text(
                moved.status(StatusCode::MOVED_PERMANENTLY),
                "It is a directory: see there.\n",
            )?
        }
        Err(refusal) => {
            let refused = Response::builder().header("allow", "GET, HEAD");
            text(refused.status(refusal.status()), refusal.message())?
        }
    };
    // What a client learns of a file by HEAD is what it would get by GET.
    Ok(response.map(|content| if is_head { Content::Nothing } else { content }))
}

enum Found {
    File(PathBuf, File),
    /// The address of a directory ends with a slash, or the links in its page would lead elsewhere.
    Moved(String),
}

/// Opens what a request asks for. The sandbox refuses a link out of the directory, so that is not found, either.
fn find(root: &Path, request: &Request<()>) -> Result<Found, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::Method);
    }
    let Target {
        mut path,
        is_directory,
    } = path::resolve(root, request.uri().path())?;
    let not_found = |_| Refusal::NotFound;
    let mut metadata = fs::metadata(&path).map_err(not_found)?;
    if metadata.is_dir() && !is_directory {
        let query = request
            .uri()
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        return Ok(Found::Moved(format!("{}/{query}", request.uri().path())));
    }
    if metadata.is_dir() {
        path.push("index.html");
        metadata = fs::metadata(&path).map_err(not_found)?;
    } else if is_directory {
        return Err(Refusal::NotFound);
    }
    // Not a FIFO or a device, where reading may never end.
    if !metadata.is_file() {
        return Err(Refusal::NotFound);
    }
    let file = File::open(&path).map_err(not_found)?;
    Ok(Found::File(path, file))
}

/// Sends a file, or the part of it that the client has not got yet.
fn send(path: &Path, file: File, request: &Request<()>) -> Result<Response<Content>, Error> {
    // Of the file that was opened: another one may have its name by now.
    let metadata = file.metadata()?;
    let (size, validators) = (metadata.len(), Validators::of(&metadata));
    let response = Response::builder()
        .header("etag", &validators.etag)
        .header("accept-ranges", "bytes")
        // Browsers believe the type, and do not guess another.
        .header("x-content-type-options", "nosniff");
    let response = match &validators.last_modified {
        Some(date) => response.header("last-modified", date),
        None => response,
    };
    match validators.condition(request.headers()) {
        Condition::Met => {}
        Condition::NotModified => {
            return Ok(response
                .status(StatusCode::NOT_MODIFIED)
                .body(Content::Nothing)?);
        }
        Condition::Failed => {
            let response = response.status(StatusCode::PRECONDITION_FAILED);
            return text(response, "The file is another one by now.\n");
        }
    }
    let response = response.header("content-type", types::of_file(path));
    let ranges = request
        .headers()
        .get("range")
        .filter(|_| validators.allow_range(request.headers()));
    match range::of(ranges, size) {
        range::Asked::Whole => {
            let response = response.header("content-length", size);
            Ok(response.body(Content::part(file, 0, size)?)?)
        }
        range::Asked::Part { first, length } => {
            let last = first + length - 1;
            let response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-range", format!("bytes {first}-{last}/{size}"))
                .header("content-length", length);
            Ok(response.body(Content::part(file, first, length)?)?)
        }
        range::Asked::Beyond => {
            let response = Response::builder().header("content-range", format!("bytes */{size}"));
            text(
                response.status(StatusCode::RANGE_NOT_SATISFIABLE),
                "The file ends before that.\n",
            )
        }
    }
}

fn text(response: Builder, text: &'static str) -> Result<Response<Content>, Error> {
    let response = response
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", text.len());
    Ok(response.body(Content::Text(text))?)
}

#[cfg(test)]
mod tests;
