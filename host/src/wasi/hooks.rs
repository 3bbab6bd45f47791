//! Hooks of `wasi:http`: buffer sizes of bodies, and the requests that guests make.

use super::environment::GuestContext;
use super::outgoing::Caller;
use crate::http_client::{GuestClient, Timeouts};
use crate::journal::Window;
use ::http::{Request, Response};
use std::sync::{Arc, Mutex};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The largest chunk of a body that a guest writes at once, in bytes.
const BODY_CHUNK: usize = 32 * 1024;

/// How many chunks are buffered while the other side does not read.
const BODY_CHUNKS: usize = 1;

/// The host's hooks for `wasi:http`.
pub struct Hooks {
    guest: Arc<GuestContext>,
    /// `None`: nothing was granted that it could call.
    client: Option<GuestClient>,
    /// The lines about refused requests.
    window: Option<Arc<Mutex<Window>>>,
}

impl Hooks {
    /// For a guest that begins in this thread.
    pub fn new(guest: Arc<GuestContext>) -> Self {
        let client = guest.http.as_ref().map(|client| client.for_guest());
        Self {
            guest,
            client,
            window: None,
        }
    }

    fn caller(&mut self) -> Caller {
        Caller {
            guest: self.guest.clone(),
            window: self.window.get_or_insert_default().clone(),
        }
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        let caller = self.caller();
        let origin = match caller.admit(request.method(), request.uri()) {
            Ok(origin) => origin,
            Err(error) => return Box::new(async { Err(error) }),
        };
        let Some(client) = self.client.clone() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let options = options.unwrap_or_default();
        let timeouts = Timeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        };
        Box::new(async move {
            let target = caller.shown(&origin, request.uri());
            let report = |failure: &_| caller.report(&target, failure);
            let response = client.send(request, origin, timeouts, report).await?;
            // A task of its own drives the connection.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }

    /// The client sets `Host`, from what was checked.
    fn set_host_header(&mut self) -> bool {
        false
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
