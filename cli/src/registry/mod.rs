//! Modules in OCI registries, as `wkg`, Spin and container runtimes keep them: `oci://HOST/NAME@sha256:…`.
//!
//! What is written and read is the "Wasm OCI artifact" of CNCF's TAG Runtime ([`artifact`]), by the protocol of the OCI
//! Distribution Specification 1.1. The crate `oci-client` speaks it, too, but reads manifests, tokens and errors of any
//! length, and follows redirects to everywhere, also from TLS to plain HTTP. `install` runs as root: here the registry
//! is a party that may lie. Nothing that it says is believed but what has the digest that the person gave.

mod artifact;
mod authorization;
mod connection;
mod pull;
mod push;
mod reference;
#[cfg(test)]
mod tests;

pub use pull::pull;
pub use push::push;
pub use reference::{Digest, Reference, SCHEME};

use connection::{Connection, Patience};
use std::future::Future;

/// The largest module that is pulled, in bytes. (CPython has 25 MB, a large synthesis tool 69.)
const MAX_MODULE: u64 = 512 << 20;

/// The largest manifest, in bytes: what registries have to accept at least.
const MAX_MANIFEST: u64 = 4 << 20;

/// Talks to the registry of `reference`.
fn with<T, F>(reference: &Reference, talk: impl FnOnce(Connection) -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let patience = Patience::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let connection = Connection::new(reference, patience)?;
        let all = tokio::time::timeout(patience.total, talk(connection)).await;
        all.unwrap_or_else(|_| {
            Err(format!(
                "{}: gave up after {} s (the registry, or the way to it, is too slow)",
                reference.host,
                patience.total.as_secs()
            ))
        })
    })
}
