//! Guests that reach out, through `wasm-sock-egress`.

mod egress_away;
mod refusals;
mod servers;
mod transports;
