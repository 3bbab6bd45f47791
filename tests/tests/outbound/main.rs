//! Guests that reach out, through `wasm-sock-egress`.

mod databases;
mod egress_away;
mod refusals;
mod servers;
mod transports;
