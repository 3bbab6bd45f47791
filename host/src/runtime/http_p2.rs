//! One HTTP request in a fresh instance of a WASI 0.2 guest.

use super::linked::Linked;
use super::outcome::{GuestEnd, end_of};
use super::pool::PoolSlot;
use super::store::store;
use super::turns::take_turns;
use crate::limits::{Meter, Metered};
use crate::trace::{self, Mark};
use crate::wasi::{Completion, GuestState};
use ::http::{Method, Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

/// What a guest makes of a request.
pub struct Answer<G> {
    /// The guest's life. It makes the response, and may go on after that.
    pub guest: G,
    /// Comes as soon as the guest has decided on the head; never, when it ends before that.
    pub response: oneshot::Receiver<std::result::Result<Response<WasiBody>, ErrorCode>>,
    /// Whether a body that came to its end is whole.
    pub completion: Arc<Completion>,
}

/// Lets a guest answer `request`. Dropping the guest's future ends it.
///
/// `cpu_time` is all it may use in its life; `meter` tells how much that was.
pub fn answer(
    (pre, slot): (&ProxyPre<GuestState>, Option<PoolSlot<Linked>>),
    mut state: GuestState,
    request: Request<WasiBody>,
    cpu_time: Option<Duration>,
    meter: Arc<Meter>,
) -> Answer<impl Future<Output = GuestEnd> + Send + use<>> {
    let (sender, response) = oneshot::channel();
    let completion = state.observe();
    state.context.answers_head = request.method() == Method::HEAD;
    let (pre, watched, ending) = (pre.clone(), meter.clone(), completion.clone());
    let guest = async move {
        // It is free again after the store is gone.
        let slot = slot;
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
        if let GuestEnd::Exit(_) = end {
            ending.end();
            // Its memory is given back after its answer has left.
            tokio::spawn(async move { drop((store, slot)) });
        }
        end
    };
    Answer {
        guest: take_turns(Metered::new(guest, meter.clone()), meter),
        response,
        completion,
    }
}
