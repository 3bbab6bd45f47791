//! What `wasi:http` asks of its host: how much of an answer waits for the client, and requests of guests.

use ::http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The most that a guest hands over of an answer's body at once, in bytes.
const BODY_CHUNK: usize = 32 * 1024;

/// How many of those wait for the client.
const BODY_CHUNKS: usize = 1;

/// What `wasi:http` asks of its host.
pub struct Hooks;

impl WasiHttpHooks for Hooks {
    /// Requests of guests need TLS and so certificates: they are refused, whatever was granted.
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
