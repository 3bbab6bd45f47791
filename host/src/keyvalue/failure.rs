//! Why a store cannot do what a guest asks for.

use thiserror::Error;
use wasm_sock_store::StoreError;

/// Why a store cannot do what a guest asks for. The text is for the guest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// No store of this name was granted.
    #[error("no such store")]
    NoSuchStore,
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store cannot be reached; the log says why.
    #[error("{0}")]
    Unavailable(String),
}
