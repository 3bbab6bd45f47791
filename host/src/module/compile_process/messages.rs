//! What a host and the process that compiles for it tell each other: packets on a Unix socket, in `postcard`'s form.

use serde::{Deserialize, Serialize};
use std::io;

/// The largest message, in bytes: a name has 255, and words are cut.
pub const MESSAGE: usize = 8 * 1024;
pub const WORDS: usize = 4 * 1024;

/// A handler whose module is to be compiled.
#[derive(Serialize, Deserialize)]
pub struct Request<'a> {
    pub number: u32,
    pub handler: &'a str,
    /// What the cache has is no good.
    pub anew: bool,
}

/// What is said of a request; the last of it is an answer.
#[derive(Serialize, Deserialize)]
pub struct Reply<'a> {
    pub number: u32,
    #[serde(borrow)]
    pub what: What<'a>,
}

#[derive(Serialize, Deserialize)]
pub enum What<'a> {
    /// The artifact comes with it.
    Artifact,
    /// Something that does not keep it from being made.
    Warning(&'a str),
    /// The module cannot be read (`errno(3)`).
    Unreadable(i32),
    /// It cannot be compiled, and why.
    Refused(&'a str),
}

/// Why there is no artifact.
pub enum CompileFailure {
    Unreadable(io::Error),
    Refused(String),
    /// The process is gone, or cannot be asked; why.
    Lost(String),
}
