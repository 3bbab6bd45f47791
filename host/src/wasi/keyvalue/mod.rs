//! `wasi:keyvalue`: the stores that a guest was granted (`keyvalue`).
//!
//! Two drafts are in use, which are compatible with themselves only: `0.2.0-draft` (Wasmtime, wasmCloud) and
//! `0.2.0-draft2` (Spin), which has compare-and-swap. Both lead to the same stores. The second has one function in two
//! forms: each component gets the one that it was built for.

mod draft;
mod draft2;
mod view;

pub use draft2::{BATCH, define_older_get_many, wants_older_get_many};

use super::interface::{Interface, draft};

/// The setting that `inspect` shows for these interfaces.
const NEEDS: &str = "keyvalue, for a store";

pub const INTERFACES: &[Interface] = &[
    draft("wasi:keyvalue/store@0.2.0-draft", draft::define_store).needs(NEEDS),
    draft("wasi:keyvalue/atomics@0.2.0-draft", draft::define_atomics).needs(NEEDS),
    draft("wasi:keyvalue/batch@0.2.0-draft", draft::define_batch).needs(NEEDS),
    draft("wasi:keyvalue/store@0.2.0-draft2", draft2::define_store).needs(NEEDS),
    draft("wasi:keyvalue/atomics@0.2.0-draft2", draft2::define_atomics).needs(NEEDS),
    draft(BATCH, draft2::define_batch).needs(NEEDS),
];
