//! What the host counts of connections, datagrams and requests.

mod outcome;

pub use outcome::Outcome;
