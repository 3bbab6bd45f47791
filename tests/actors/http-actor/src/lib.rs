//! A guest that speaks WASI 0.2 and plays the part that the path of a request names, for the
//! end-to-end tests. A part's number or text is the query, as it stands: `/big?1000`.

mod answer;
mod parts;
mod script;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, HeaderError, IncomingRequest, Method, ResponseOutparam, Scheme};

use answer::text;

struct Actor;

wasip2::http::proxy::export!(Actor);

impl Guest for Actor {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query, number) = script::part(&target);
        let played = match (path, number) {
            // Well-behaved.
            ("/big", Some(bytes)) => parts::big(out, bytes, Fields::new()),
            ("/counter", _) => text(out, &script::counter()),
            ("/echo", _) => parts::echo(out, &request),
            ("/echo-after", Some(milliseconds)) => parts::echo_after(out, &request, milliseconds),
            ("/echo-begun", Some(milliseconds)) => parts::echo_begun(out, &request, milliseconds),
            ("/echo-late", _) => parts::echo_late(out, &request),
            ("/env", _) => parts::env(out),
            ("/forbidden", _) => parts::forbidden(out),
            ("/head", _) => parts::head(out, &request),
            ("/headers", Some(count)) => parts::headers(out, count),
            ("/hello", _) => text(out, "hello\n"),
            ("/outbound", _) => parts::outbound(out, query),
            ("/sized", Some(bytes)) => parts::sized(out, bytes),
            ("/splice", _) => parts::splice(out, &request),
            ("/status", Some(code)) => parts::status(out, code),
            ("/stderr", _) => parts::stderr(out, query),
            ("/trailers", _) => parts::trailers(out, &request),
            ("/unwritten", Some(bytes)) => parts::unwritten(out, bytes),

            // Ends in a way that the host must cope with.
            ("/endless", Some(code)) => parts::endless(out, code),
            ("/error", _) => parts::error(out),
            ("/ignore-body", _) => text(out, "ignored\n"),
            ("/linger", Some(milliseconds)) => parts::linger(out, milliseconds),
            ("/log-flood", _) => script::log_flood(),
            ("/no-answer", _) => Ok(()),
            ("/promise", Some(bytes)) => parts::promise(out, bytes),
            ("/sleep", Some(milliseconds)) => parts::sleep(out, milliseconds),
            ("/spin", _) => script::spin(),
            ("/trap", _) => std::process::abort(),
            ("/trap-late", _) => parts::trap_late(out, &request),

            _ => parts::unknown(out, &target),
        };
        if let Err(error) = played {
            eprintln!("{path}: {error}");
        }
    }
}
