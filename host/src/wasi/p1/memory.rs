//! The guest's memory as the functions of WASI 0.1 use it: addresses and lengths in arguments, results, error codes.

use crate::wasi::state::GuestState;
use std::io;
use std::ops::Range;
use wasmtime::{Caller, Extern, Memory, Result};
use wasmtime_wasi::p1::types::Errno;

/// What `fd_read` returns when all went well (`__WASI_ERRNO_SUCCESS`).
pub const SUCCESS: i32 = 0;

/// The memory that addresses in arguments mean.
pub fn memory(caller: &mut Caller<'_, GuestState>) -> Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => wasmtime::bail!("the module exports no memory"),
    }
}

/// The most buffers that one call may name: `IOV_MAX` of Linux.
pub const MOST_VECTORS: usize = 1024;

/// The buffers that a list of `count` (address, length) pairs at `iovs` names; `None` when they are more than a
/// call may move, which is what `fuel` is for.
///
/// # Errors
/// A trap, when one of them, or the list, does not lie in the guest's memory.
pub fn vectors(memory: &[u8], iovs: i32, count: i32, fuel: usize) -> Result<Option<Vec<Range<usize>>>> {
    let (start, count) = (aligned(iovs)?, count as u32);
    if count as usize > fuel / 8 {
        return Ok(None);
    }
    let list = &memory[range(memory, start, count * 8)?];
    let mut buffers = Vec::with_capacity((count as usize).min(MOST_VECTORS));
    for pair in list.chunks_exact(8).take(MOST_VECTORS) {
        let word = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        let (address, length) = (word(0), word(4));
        if length as usize > fuel {
            return Ok(None);
        }
        buffers.push(range(memory, address, length)?);
    }
    Ok(Some(buffers))
}

/// The bytes at an address. Nothing is everywhere.
pub fn range(memory: &[u8], address: u32, length: u32) -> Result<Range<usize>> {
    let (start, length) = (address as usize, length as usize);
    if length == 0 {
        return Ok(0..0);
    }
    let range = start..start + length;
    if range.end > memory.len() {
        wasmtime::bail!("a pointer leads out of memory: {length} bytes at {start:#x}");
    }
    Ok(range)
}

/// An address of words.
pub fn aligned(address: i32) -> Result<u32> {
    let address = address as u32;
    if !address.is_multiple_of(4) {
        wasmtime::bail!("a pointer is not aligned: {address:#x}");
    }
    Ok(address)
}

/// Tells the guest how many bytes were moved, or why none were.
pub fn complete(memory: &mut [u8], result: i32, moved: io::Result<usize>) -> Result<i32> {
    let count = match moved {
        Ok(count) => count as u32,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(errno(Errno::Again)),
        Err(e) => {
            return Ok(errno(match rustix::io::Errno::from_io_error(&e) {
                Some(rustix::io::Errno::PIPE) => Errno::Pipe,
                Some(rustix::io::Errno::CONNRESET) => Errno::Connreset,
                Some(rustix::io::Errno::MSGSIZE) => Errno::Msgsize,
                _ => Errno::Io,
            }));
        }
    };
    put(memory, aligned(result)?, &count.to_le_bytes())?;
    Ok(SUCCESS)
}

/// Writes `bytes` at an address.
pub fn put(memory: &mut [u8], address: u32, bytes: &[u8]) -> Result<()> {
    let range = range(memory, address, bytes.len() as u32)?;
    memory[range].copy_from_slice(bytes);
    Ok(())
}

pub fn errno(errno: Errno) -> i32 {
    errno as i32
}
