//! Sockets as guests see them: a connection or a datagram as standard input and output, and the peer.

mod connection;
mod datagram;
mod peer;
mod polled;
mod receive;
mod send;
mod stdio;

pub use connection::{Connection, Transport};
pub use datagram::Datagram;
pub use peer::{Peer, internet};
pub use polled::ConnectionIo;
pub use stdio::{Stdin, Stdio, Stdout};
