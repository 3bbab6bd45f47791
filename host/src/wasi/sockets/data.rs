//! What the functions of these interfaces work on.

use crate::wasi::state::GuestState;
use wasmtime::component::HasData;

/// The state behind the functions of these interfaces.
pub struct Sockets;

impl HasData for Sockets {
    type Data<'a> = &'a mut GuestState;
}
