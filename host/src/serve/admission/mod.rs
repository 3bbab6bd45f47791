//! Admission: which clients get in. A connection or a datagram needs a slot of its handler and of the process, the
//! descriptors that its guest may need, and must not be one too many of its source. What does not get in waits in the
//! kernel's queue; what comes from a source that has too many is reset.

pub mod admit;
pub mod slots;
pub mod sources;
