//! The way out of guests: the socket to `wasm-sock-egress`.

use crate::egress::Egress;
use crate::journal::{self, Level};
use rustix::process::geteuid;
use std::sync::Arc;
use wasm_sock_egress_protocol::socket_path;

/// Makes the socket, before the sandbox. A failure is logged: handlers are served, and cannot reach out.
pub fn open() -> Option<Arc<Egress>> {
    match Egress::new(socket_path(geteuid().is_root())) {
        Ok(egress) => Some(Arc::new(egress)),
        Err(error) => {
            let message = format_args!("no guest can reach out: {error} (see LimitNOFILE= in the service)");
            journal::log(Level::Warning, message);
            None
        }
    }
}
