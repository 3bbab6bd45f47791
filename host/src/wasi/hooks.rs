//! Hooks of `wasi:http`: buffer sizes of response bodies, and refusal of outgoing requests.

use ::http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The largest chunk of a response body that a guest writes at once, in bytes.
const BODY_CHUNK: usize = 32 * 1024;

/// How many chunks are buffered while the client does not read.
const BODY_CHUNKS: usize = 1;

/// The host's hooks for `wasi:http`.
pub struct Hooks;

impl WasiHttpHooks for Hooks {
    /// Outgoing requests would need TLS and therefore certificates: they are refused, whatever was granted.
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
