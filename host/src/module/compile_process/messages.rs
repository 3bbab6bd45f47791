//! Messages between the host and the compile process: packets on a Unix socket, encoded with `postcard`.

use serde::{Deserialize, Serialize};
use std::io;

/// The largest message, in bytes: a handler's name has at most 255, and texts are cut to [`MAX_TEXT`].
pub const MAX_MESSAGE: usize = 8 * 1024;
pub const MAX_TEXT: usize = 4 * 1024;

/// A handler whose module is to be compiled.
#[derive(Serialize, Deserialize)]
pub struct Request<'a> {
    pub number: u32,
    pub handler: &'a str,
    /// Compile it even if the cache has an artifact, which cannot be used.
    pub anew: bool,
}

/// A reply to a request; warnings may come before the final one.
#[derive(Serialize, Deserialize)]
pub struct Reply<'a> {
    pub number: u32,
    #[serde(borrow)]
    pub what: What<'a>,
}

#[derive(Serialize, Deserialize)]
pub enum What<'a> {
    /// The artifact: its descriptor is passed with the message (`SCM_RIGHTS`).
    Artifact,
    /// A problem that does not prevent compilation.
    Warning(&'a str),
    /// The module cannot be read (`errno(3)`).
    Unreadable(i32),
    /// It cannot be compiled; why.
    Refused(&'a str),
}

/// Why there is no artifact.
pub enum CompileFailure {
    Unreadable(io::Error),
    Refused(String),
    /// The process has ended, or cannot be reached; why.
    Lost(String),
}
