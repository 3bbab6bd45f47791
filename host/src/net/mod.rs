//! Sockets as guests see them: a connection or a datagram as standard input and output, and who is at the other
//! end.

mod connection;
mod datagram;
mod peer;
mod stdio;

pub use connection::{Connection, Stream, Transport};
pub use datagram::Datagram;
pub use peer::{Peer, internet};
pub use stdio::{Stdin, Stdio, Stdout};
