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

/// A guest that was given a request, and where its response arrives.
pub struct Answer<G> {
    /// Runs the guest. It makes the response, and may continue after that.
    pub guest: G,
    /// Receives the response as soon as the guest has set its head; closed if the guest ends before that.
    pub response: oneshot::Receiver<std::result::Result<Response<WasiBody>, ErrorCode>>,
    /// Whether a body that has ended is complete.
    pub completion: Arc<Completion>,
}

/// Lets a guest answer `request`. Dropping the guest's future ends it.
///
/// `cpu_time` is the limit of the guest's CPU time; `meter` measures it.
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
        // It is released after the store was dropped.
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
            // Its memory is freed after its response was sent.
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
