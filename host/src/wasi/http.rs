//! `wasi:http`: requests and responses of guests that serve HTTP, and the requests that they make ([`super::outgoing`]).

use super::interface::{Interface, p2, p3, redefine};
use super::state::GuestState;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http as http2;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;
use wasmtime_wasi_http::p3::bindings::http as http3;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

const NEEDS: &str = "allow-outbound, to call anything";

pub const INTERFACES: &[Interface] = &[
    p2("wasi:http/types", define_types),
    p2("wasi:http/outgoing-handler", |l| {
        http2::outgoing_handler::add_to_linker::<GuestState, WasiHttp>(l, GuestState::http)
    })
    .needs(NEEDS),
    p3("wasi:http/types", |l| {
        http3::types::add_to_linker::<GuestState, WasiHttp>(l, GuestState::http)
    }),
    p3("wasi:http/client", |l| {
        http3::client::add_to_linker::<GuestState, WasiHttp>(l, GuestState::http)
    })
    .needs(NEEDS),
];

fn define_types(linker: &mut Linker<GuestState>) -> Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<GuestState, WasiHttp>(linker, &options, GuestState::http)?;
    redefine(linker, "wasi:http/types", |types| {
        types.func_wrap("[method]outgoing-response.body", body)
    })
}

type Body = std::result::Result<Resource<HostOutgoingBody>, ()>;

/// `outgoing-response.body` for HEAD requests: the response may have the `Content-Length` that a GET would have, and
/// has no body (RFC 9110, 9.3.2). Wasmtime would report the missing body as an error of the guest.
fn body(
    mut store: StoreContextMut<'_, GuestState>,
    (response,): (Resource<HostOutgoingResponse>,),
) -> Result<(Body,)> {
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
