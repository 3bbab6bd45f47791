//! A guest that speaks WASI 0.3 and plays the part that the path of a request names, for the
//! end-to-end tests: the parts of `http-actor`, with the same answers.

mod answer;
mod parts;
#[path = "../../http-actor/src/script.rs"]
mod script;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Method, Request, Response, Scheme};

use answer::text;

struct Actor;

wasip3::http::service::export!(Actor);

impl Guest for Actor {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query, number) = script::part(&target);
        match (path, number) {
            // Well-behaved.
            ("/big", Some(bytes)) => parts::big(bytes, Fields::new()),
            ("/counter", _) => text(script::counter()),
            ("/echo", _) => parts::echo(request),
            ("/echo-after", Some(milliseconds)) => parts::echo_after(request, milliseconds).await,
            ("/echo-begun", Some(milliseconds)) => parts::echo_begun(request, milliseconds),
            ("/echo-late", _) => parts::echo_late(request).await,
            ("/env", _) => parts::env(),
            ("/forbidden", _) => parts::forbidden(),
            ("/head", _) => parts::head(&request),
            ("/headers", Some(count)) => parts::headers(count),
            ("/hello", _) => text("hello\n"),
            ("/outbound", _) => parts::outbound(query).await,
            ("/sized", Some(bytes)) => parts::sized(bytes),
            ("/splice", _) => parts::splice(request),
            ("/status", Some(code)) => parts::status(code),
            ("/stderr", _) => parts::stderr(query).await,
            ("/trailers", _) => parts::trailers(request).await,
            ("/unwritten", Some(bytes)) => parts::unwritten(bytes),

            // Ends in a way that the host must cope with.
            ("/endless", Some(code)) => parts::endless(code),
            ("/error", _) => parts::error(),
            ("/ignore-body", _) => text("ignored\n"),
            ("/linger", Some(milliseconds)) => parts::linger(milliseconds),
            ("/linger-cut", Some(milliseconds)) => parts::linger_cut(milliseconds),
            ("/linger-spin", _) => parts::linger_spin(),
            ("/linger-trap", Some(milliseconds)) => parts::linger_trap(milliseconds),
            ("/log-flood", _) => script::log_flood(),
            ("/no-answer", _) => parts::no_answer().await,
            ("/promise", Some(bytes)) => parts::promise(bytes),
            ("/sleep", Some(milliseconds)) => parts::sleep(milliseconds).await,
            ("/spin", _) => script::spin(),
            ("/spin-yield", _) => parts::spin_yield().await,
            ("/trap", _) => std::process::abort(),
            ("/trap-late", _) => parts::trap_late(request),

            _ => parts::unknown(&target),
        }
    }
}
