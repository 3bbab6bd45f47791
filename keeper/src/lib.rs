//! What a host and its keeper have agreed on.

#![no_std]

/// The environment variable by which a host knows that a keeper has started it: since when it is awake, in words. The
/// host that becomes a keeper sets it to nothing, so that the keeper has a place for it.
pub const AWAKE_SINCE: &str = "WASM_SOCK_AWAKE_SINCE";

/// The environment variable with the number of the descriptor to which a host of a keeper writes what the service manager
/// is to be told (`sd_notify(3)`): the manager listens to the main process only, which passes it on.
pub const NOTIFY: &str = "WASM_SOCK_NOTIFY";

/// The exit code of a host that has accepted nothing: clients may have left, or it may be unable to accept them.
pub const NOTHING_ACCEPTED: u8 = 75;

/// The exit code of a host that is not to be kept any more: the keeper ends, and the sockets are the service manager's.
pub const KEEP_NO_MORE: u8 = 76;
