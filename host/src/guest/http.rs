//! One HTTP request in a fresh instance of a WASI 0.2 guest.

use super::clock::{Meter, Metered};
use super::link::redefine;
use super::run::{End, end_of, store, take_turns};
use super::state::{Fate, State};
use crate::trace::{self, Mark};
use ::http::{Method, Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

type Body = std::result::Result<Resource<HostOutgoingBody>, ()>;

/// `outgoing-response.body`, where the request is HEAD: its answer promises the length that it would have, and
/// has none (RFC 9110, 9.3.2). Wasmtime would hold the guest to that promise.
///
/// # Errors
/// When the interface is not there.
pub fn define_body(linker: &mut Linker<State>) -> Result<()> {
    redefine(linker, "wasi:http/types", |types| {
        types.func_wrap("[method]outgoing-response.body", body)
    })
}

fn body(mut store: StoreContextMut<'_, State>, (response,): (Resource<HostOutgoingResponse>,)) -> Result<(Body,)> {
    let answers_head = store.data().context.answers_head;
    let mut http = store.data_mut().http();
    if !answers_head {
        return types::HostOutgoingResponse::body(&mut http, response).map(|body| (body,));
    }
    let (chunks, size) = (
        http.hooks.p2_outgoing_body_buffer_chunks(),
        http.hooks.p2_outgoing_body_chunk_size(),
    );
    let response = http.table.get_mut(&response)?;
    if response.body.is_some() {
        return Ok((Err(()),));
    }
    let (body, outgoing) = HostOutgoingBody::new(StreamContext::Response, None, chunks, size);
    response.body = Some(outgoing);
    Ok((Ok(http.table.push(body)?),))
}

/// What a guest makes of a request.
pub struct Answer<G> {
    /// The guest's life. It makes the response, and may go on after that.
    pub guest: G,
    /// Comes as soon as the guest has decided on the head; never, when it ends before that.
    pub response: oneshot::Receiver<std::result::Result<Response<WasiBody>, ErrorCode>>,
    /// Whether a body that came to its end is whole.
    pub fate: Arc<Fate>,
}

/// Lets a guest answer `request`. Dropping the guest's future ends it.
///
/// `cpu_time` is all it may use in its life; `meter` tells how much that was.
pub fn answer(
    pre: &ProxyPre<State>,
    mut state: State,
    request: Request<WasiBody>,
    cpu_time: Option<Duration>,
    meter: Arc<Meter>,
) -> Answer<impl Future<Output = End> + Send + use<>> {
    let (sender, response) = oneshot::channel();
    let fate = state.observe();
    state.context.answers_head = request.method() == Method::HEAD;
    let (pre, watched, ending) = (pre.clone(), meter.clone(), fate.clone());
    let guest = async move {
        let mut store = store(pre.engine(), state, &watched, move || cpu_time);
        let call = async {
            let scheme = match request.uri().scheme_str() {
                Some("https") => Scheme::Https,
                _ => Scheme::Http,
            };
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(scheme, request)?;
            let out = http.new_response_outparam(sender)?;
            let proxy = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await?;
            Ok(0)
        };
        let end = end_of(call.await, &store);
        if let End::Exit(_) = end {
            ending.end();
            // Its memory is given back after its answer has left.
            tokio::spawn(async move { drop(store) });
        }
        end
    };
    Answer {
        guest: take_turns(Metered::new(guest, meter.clone()), meter),
        response,
        fate,
    }
}
