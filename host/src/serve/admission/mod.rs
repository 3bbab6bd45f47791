//! Admission control (`max-connections`, `max-connections-per-source`, `LimitNOFILE=`). A connection or a datagram
//! needs a slot of its handler and of the process, and the descriptors that its guest may need: without these it stays
//! pending in the kernel's queue. A connection of a source that has too many is reset, a datagram is dropped.

pub mod admit;
pub mod slots;
pub mod sources;
