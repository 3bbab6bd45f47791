//! Access to the guest's linear memory for WASI 0.1: bounds and alignment checks, lists of buffers (`iovec`), results,
//! error codes.

use crate::wasi::state::GuestState;
use std::io;
use std::ops::Range;
use wasmtime::{Caller, Extern, Memory, Result};
use wasmtime_wasi::p1::types::Errno;

/// The error code for success (`__WASI_ERRNO_SUCCESS`).
pub const SUCCESS: i32 = 0;

/// The exported memory, which addresses in arguments refer to.
pub fn memory(caller: &mut Caller<'_, GuestState>) -> Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => wasmtime::bail!("the module exports no memory"),
    }
}

/// The most buffers that one call may name: `IOV_MAX` of Linux.
pub const MOST_VECTORS: usize = 1024;

/// Reads a list of `count` buffers (address and length each) at `iovs`. `None`: the list or a buffer has more than
/// `fuel` bytes, the most that one call may copy.
///
/// # Errors
/// A trap, when the list or a buffer is out of bounds.
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

/// The range of `length` bytes at `address`. An empty range is valid at any address.
///
/// # Errors
/// A trap, when it is out of bounds.
pub fn range(memory: &[u8], address: u32, length: u32) -> Result<Range<usize>> {
    let (start, length) = (address as usize, length as usize);
    if length == 0 {
        return Ok(0..0);
    }
    let range = start..start + length;
    if range.end > memory.len() {
        wasmtime::bail!("a pointer is out of bounds: {length} bytes at {start:#x}");
    }
    Ok(range)
}

/// Checks that an address is aligned to four bytes.
///
/// # Errors
/// A trap, when it is not.
pub fn aligned(address: i32) -> Result<u32> {
    let address = address as u32;
    if !address.is_multiple_of(4) {
        wasmtime::bail!("a pointer is not aligned: {address:#x}");
    }
    Ok(address)
}

/// Ends a read or a write: writes the number of bytes to `result`, or returns the error code.
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
