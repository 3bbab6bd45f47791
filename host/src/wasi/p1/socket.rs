//! Descriptors 0 and 1 of a core module as a socket, as programs of inetd have them: `recv(2)`, `send(2)`,
//! `shutdown(2)`, `O_NONBLOCK` and `fstat(2)`.

use super::memory::{aligned, complete, errno, memory, put, vectors};
use crate::net::Stdio;
use crate::wasi::state::GuestState;
use std::io::{self, IoSlice};
use std::ops::Range;
use tokio::task::coop::consume_budget;
use wasmtime::{AsContextMut, Caller, Result};
use wasmtime_wasi::p1::types::{Errno, Fdflags, Filetype, Riflags, Rights, Sdflags};

/// The connection or datagram behind a descriptor, if it is one.
pub fn of(caller: &Caller<'_, GuestState>, fd: i32) -> Option<Stdio> {
    caller.data().stdio.clone().filter(|_| fd == 0 || fd == 1)
}

fn is_nonblocking(caller: &Caller<'_, GuestState>, fd: i32) -> bool {
    caller.data().context.nonblocking[fd as usize]
}

/// The guest's memory, and the buffers of a call in it ([`vectors`]).
type Buffers<'a> = (&'a mut [u8], Option<Vec<Range<usize>>>);

fn buffers<'a>(caller: &'a mut Caller<'_, GuestState>, iovs: i32, count: i32) -> Result<Buffers<'a>> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let memory = memory(caller)?.data_mut(caller);
    let buffers = vectors(memory, iovs, count, fuel)?;
    Ok((memory, buffers))
}

/// Reads into the first buffer that is not empty, or into all of them with `RECV_WAITALL`. Without it one buffer is
/// enough: a read may always return less.
pub async fn receive(
    caller: &mut Caller<'_, GuestState>,
    stdio: &Stdio,
    (fd, iovs, count, result): (i32, i32, i32, i32),
    flags: Riflags,
) -> Result<i32> {
    let is_nonblocking = is_nonblocking(caller, fd);
    let (memory, Some(buffers)) = buffers(caller, iovs, count)? else {
        return Ok(errno(Errno::Nomem));
    };
    let received = fill(memory, buffers, stdio, is_nonblocking, flags).await;
    complete(memory, result, received)
}

async fn fill(
    memory: &mut [u8],
    buffers: Vec<Range<usize>>,
    stdio: &Stdio,
    is_nonblocking: bool,
    flags: Riflags,
) -> io::Result<usize> {
    let mut received = 0;
    for mut buffer in buffers {
        while !buffer.is_empty() {
            let room = &mut memory[buffer.clone()];
            let count = if flags.contains(Riflags::RECV_PEEK) {
                return stdio.peek(room, is_nonblocking).await;
            } else if is_nonblocking {
                consume_budget().await;
                stdio.try_recv(room)
            } else {
                stdio.recv(room).await
            };
            match count {
                Ok(count) => {
                    received += count;
                    buffer.start += count;
                    let is_all = flags.contains(Riflags::RECV_WAITALL) && stdio.is_stream();
                    if count == 0 || !is_all {
                        return Ok(received);
                    }
                }
                // What was received is returned; the next read reports the error.
                Err(_) if received > 0 => return Ok(received),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(received)
}

/// Writes all of the buffers, because many programs ignore the result of a write; and in one call, because on a
/// `SOCK_SEQPACKET` socket one write is one packet.
pub async fn send(
    caller: &mut Caller<'_, GuestState>,
    stdio: &Stdio,
    (fd, iovs, count, result): (i32, i32, i32, i32),
) -> Result<i32> {
    let is_nonblocking = is_nonblocking(caller, fd);
    let (memory, Some(buffers)) = buffers(caller, iovs, count)? else {
        return Ok(errno(Errno::Nomem));
    };
    let buffers = buffers.into_iter();
    let buffers = buffers.map(|buffer| IoSlice::new(&memory[buffer]));
    let mut buffers: Vec<IoSlice<'_>> = buffers.collect();
    let sent = if is_nonblocking {
        consume_budget().await;
        stdio.try_send(&buffers)
    } else {
        stdio.send(&mut buffers).await
    };
    complete(memory, result, sent)
}

/// `sock_recv`: as `recv(2)`, with the flags `RECV_PEEK` and `RECV_WAITALL`.
pub async fn sock_recv(
    mut caller: Caller<'_, GuestState>,
    (fd, data, count, flags, length, out_flags): (i32, i32, i32, i32, i32, i32),
) -> Result<i32> {
    let Some(stdio) = of(&caller, fd) else {
        return Ok(errno(Errno::Notsock));
    };
    let flags = u16::try_from(flags).map(Riflags::from_bits);
    let Ok(Some(flags)) = flags else {
        return Ok(errno(Errno::Inval));
    };
    let received = receive(&mut caller, &stdio, (fd, data, count, length), flags).await?;
    let memory = memory(&mut caller)?.data_mut(&mut caller);
    // Never truncated: the rest is returned by the next read.
    put(memory, out_flags as u32, &0u16.to_le_bytes())?;
    Ok(received)
}

/// `sock_send`, which has no flags.
pub async fn sock_send(
    mut caller: Caller<'_, GuestState>,
    (fd, data, count, flags, length): (i32, i32, i32, i32, i32),
) -> Result<i32> {
    let Some(stdio) = of(&caller, fd) else {
        return Ok(errno(Errno::Notsock));
    };
    if flags != 0 {
        return Ok(errno(Errno::Inval));
    }
    send(&mut caller, &stdio, (fd, data, count, length)).await
}

pub fn sock_shutdown(caller: Caller<'_, GuestState>, fd: i32, how: i32) -> i32 {
    let how = u8::try_from(how).ok().and_then(Sdflags::from_bits);
    errno(match (of(&caller, fd), how) {
        (None, _) => Errno::Notsock,
        (_, None) => Errno::Inval,
        (_, Some(how)) if how.is_empty() => Errno::Inval,
        // No client is connected to it.
        (Some(Stdio::Datagram(_)), _) => Errno::Notconn,
        (Some(Stdio::Connection(connection)), Some(how)) => {
            if how.contains(Sdflags::RD) {
                connection.shut_down_reading();
            }
            if how.contains(Sdflags::WR) {
                connection.shut_down_writing();
            }
            Errno::Success
        }
    })
}

/// `fd_fdstat_set_flags`: only `O_NONBLOCK` has an effect on a socket.
pub fn set_flags(caller: &mut Caller<'_, GuestState>, fd: i32, flags: i32) -> i32 {
    let flags = u16::try_from(flags).ok().and_then(Fdflags::from_bits);
    match flags {
        Some(flags) if (Fdflags::NONBLOCK | Fdflags::APPEND).contains(flags) => {
            let is_nonblocking = flags.contains(Fdflags::NONBLOCK);
            caller.data_mut().context.nonblocking[fd as usize] = is_nonblocking;
            errno(Errno::Success)
        }
        _ => errno(Errno::Inval),
    }
}

fn filetype(stdio: &Stdio) -> u8 {
    let filetype = match stdio {
        Stdio::Connection(_) => Filetype::SocketStream,
        Stdio::Datagram(_) => Filetype::SocketDgram,
    };
    filetype as u8
}

/// `fd_fdstat_get`: type, flags and rights (`__wasi_fdstat_t`).
pub fn fdstat(mut caller: Caller<'_, GuestState>, stdio: &Stdio, fd: i32, result: i32) -> Result<i32> {
    let flags = match is_nonblocking(&caller, fd) {
        true => Fdflags::NONBLOCK,
        false => Fdflags::empty(),
    };
    let rights = Rights::FD_READ
        | Rights::FD_WRITE
        | Rights::FD_FDSTAT_SET_FLAGS
        | Rights::FD_FILESTAT_GET
        | Rights::POLL_FD_READWRITE
        | Rights::SOCK_SHUTDOWN;
    let mut stat = [0; 24];
    stat[0] = filetype(stdio);
    stat[2..4].copy_from_slice(&flags.bits().to_le_bytes());
    stat[8..16].copy_from_slice(&rights.bits().to_le_bytes());
    stat[16..24].copy_from_slice(&rights.bits().to_le_bytes());
    let memory = memory(&mut caller)?.data_mut(&mut caller);
    put(memory, aligned(result)?, &stat)?;
    Ok(errno(Errno::Success))
}

/// `fd_filestat_get`: the type (`__wasi_filestat_t`); the rest is zero.
pub fn filestat(mut caller: Caller<'_, GuestState>, stdio: &Stdio, result: i32) -> Result<i32> {
    let mut stat = [0; 64];
    stat[16] = filetype(stdio);
    let memory = memory(&mut caller)?.data_mut(&mut caller);
    put(memory, aligned(result)?, &stat)?;
    Ok(errno(Errno::Success))
}
