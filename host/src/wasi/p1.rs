//! WASI 0.1 (`wasi_snapshot_preview1`) for core modules, linked one function at a time: a module gets those that it
//! imports.
//!
//! Registering a function takes about 5 µs and there are 46, while `hello` imports six. The functions are those of
//! `wasmtime-wasi`, with these exceptions: reading and writing the connection, directly between the socket and the
//! guest's memory; arguments and variables, which are formatted only for guests that ask; exit codes; and limits of
//! open files and of `poll_oneoff`.

mod memory;
mod socket;

use super::environment::GuestContext;
use super::filesystem;
use super::handles::{self, held};
use super::io::MOST_WAITED_FOR;
use super::state::GuestState;
use crate::limits::MOST_DESCRIPTORS;
use memory::{SUCCESS, aligned, errno, memory, put, range};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use tokio::task::coop::consume_budget;
use wasmtime::{AsContextMut, Caller, Linker, Result};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p0::wasi_unstable as p0;
use wasmtime_wasi::p1::types::{Errno, Riflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as p1;
use wiggle::GuestMemory;

/// The modules that WASI 0.1 functions are imported from: that of 0.1, and that of the snapshot before it, four
/// functions of which are different (`p0`).
pub const MODULES: [&str; 2] = [MODULE, "wasi_unstable"];
const MODULE: &str = "wasi_snapshot_preview1";

/// Calls one of `wasmtime-wasi`'s functions with the context and memory that it takes.
macro_rules! call {
    ($caller:ident, $snapshot:ident::$function:ident($($argument:ident),*) $(.$await:tt)?) => {{
        let memory = memory(&mut $caller)?;
        let fuel = $caller.as_context_mut().hostcall_fuel();
        let (memory, state) = memory.data_and_store_mut(&mut $caller);
        let wasi = state.context.wasi();
        p1::WasiSnapshotPreview1::set_hostcall_fuel(wasi, fuel);
        let mut memory = GuestMemory::Unshared(memory);
        $snapshot::$function(wasi, &mut memory $(, $argument)*) $(.$await)?
    }};
}

/// Generates a function that adds the functions of a snapshot to a linker. Types of parameters are in the order of the
/// specification; where a function returns values, the last parameters are pointers to them.
macro_rules! functions {
    (
        fn $define:ident, $snapshot:ident,
        sync { $($sync:ident($($sync_arg:ident: $sync_ty:ty),*);)* }
        async { $($async:ident($($async_arg:ident: $async_ty:ty),*);)* }
    ) => {
        fn $define(linker: &mut Linker<GuestState>, module: &str, name: &str) -> Result<bool> {
            match name {
                $(stringify!($sync) => linker.func_wrap(
                    module,
                    name,
                    |mut caller: Caller<'_, GuestState> $(, $sync_arg: $sync_ty)*| -> Result<i32> {
                        call!(caller, $snapshot::$sync($($sync_arg),*))
                    },
                )?,)*
                $(stringify!($async) => linker.func_wrap_async(
                    module,
                    name,
                    |mut caller: Caller<'_, GuestState>, ($($async_arg,)*): ($($async_ty,)*)| {
                        Box::new(async move { call!(caller, $snapshot::$async($($async_arg),*).await) })
                    },
                )?,)*
                _ => return Ok(false),
            };
            Ok(true)
        }
    };
}

functions! {
    fn define_unstable, p0,
    sync {}
    async {
        fd_filestat_get(fd: i32, result: i32);
        fd_seek(fd: i32, offset: i64, whence: i32, result: i32);
        path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, result: i32);
    }
}

functions! {
    fn define_plain, p1,
    sync {
        clock_res_get(id: i32, result: i32);
        clock_time_get(id: i32, precision: i64, result: i32);
        fd_allocate(fd: i32, offset: i64, len: i64);
        fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64);
        fd_prestat_get(fd: i32, result: i32);
        fd_prestat_dir_name(fd: i32, path: i32, len: i32);
        fd_tell(fd: i32, result: i32);
        proc_raise(signal: i32);
        sched_yield();
        sock_accept(fd: i32, flags: i32, result: i32);
    }
    async {
        fd_advise(fd: i32, offset: i64, len: i64, advice: i32);
        fd_datasync(fd: i32);
        fd_filestat_set_size(fd: i32, size: i64);
        fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, flags: i32);
        fd_pread(fd: i32, iovs: i32, count: i32, offset: i64, result: i32);
        fd_pwrite(fd: i32, iovs: i32, count: i32, offset: i64, result: i32);
        fd_readdir(fd: i32, buf: i32, len: i32, cookie: i64, result: i32);
        fd_seek(fd: i32, offset: i64, whence: i32, result: i32);
        fd_sync(fd: i32);
        path_create_directory(fd: i32, path: i32, len: i32);
        path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, result: i32);
        path_filestat_set_times(fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, which: i32);
        path_link(fd: i32, flags: i32, path: i32, len: i32, new_fd: i32, new_path: i32, new_len: i32);
        path_readlink(fd: i32, path: i32, len: i32, buf: i32, buf_len: i32, result: i32);
        path_remove_directory(fd: i32, path: i32, len: i32);
        path_rename(fd: i32, path: i32, len: i32, new_fd: i32, new_path: i32, new_len: i32);
        path_symlink(path: i32, len: i32, fd: i32, new_path: i32, new_len: i32);
        path_unlink_file(fd: i32, path: i32, len: i32);
    }
}

/// Adds the function `name` of one of the [`MODULES`] to a linker. Returns whether there is such a function.
///
/// # Errors
/// When it was defined before.
pub fn define(linker: &mut Linker<GuestState>, module: &str, name: &str) -> Result<bool> {
    if module != MODULE && define_unstable(linker, module, name)? {
        return Ok(true);
    }
    match name {
        "fd_read" => {
            linker.func_wrap_async(module, name, |caller, arguments| Box::new(fd_read(caller, arguments)))?
        }
        "fd_write" => {
            linker.func_wrap_async(module, name, |caller, arguments| Box::new(fd_write(caller, arguments)))?
        }
        "fd_fdstat_get" => linker.func_wrap_async(module, name, |caller, arguments| {
            Box::new(fd_fdstat_get(caller, arguments))
        })?,
        "fd_filestat_get" => linker.func_wrap_async(module, name, |caller, arguments| {
            Box::new(fd_filestat_get(caller, arguments))
        })?,
        "fd_fdstat_set_flags" => linker.func_wrap(module, name, fd_fdstat_set_flags)?,
        "sock_recv" => linker.func_wrap_async(module, name, |caller, arguments| {
            Box::new(socket::sock_recv(caller, arguments))
        })?,
        "sock_send" => linker.func_wrap_async(module, name, |caller, arguments| {
            Box::new(socket::sock_send(caller, arguments))
        })?,
        "sock_shutdown" => linker.func_wrap(module, name, socket::sock_shutdown)?,
        "fd_close" => linker.func_wrap_async(module, name, |mut caller: Caller<'_, GuestState>, (fd,): (i32,)| {
            Box::new(async move {
                if is_stdio(fd) {
                    caller.data_mut().stdio = None;
                }
                call!(caller, p1::fd_close(fd).await)
            })
        })?,
        "fd_renumber" => linker.func_wrap_async(
            module,
            name,
            |mut caller: Caller<'_, GuestState>, (fd, to): (i32, i32)| {
                Box::new(async move {
                    if is_stdio(fd) || is_stdio(to) {
                        caller.data_mut().stdio = None;
                    }
                    call!(caller, p1::fd_renumber(fd, to).await)
                })
            },
        )?,
        "path_open" => {
            linker.func_wrap_async(module, name, |caller, arguments| Box::new(path_open(caller, arguments)))?
        }
        "poll_oneoff" => {
            let is_unstable = module != MODULE;
            linker.func_wrap_async(module, name, move |caller, arguments| {
                Box::new(poll_oneoff(caller, is_unstable, arguments))
            })?
        }
        "random_get" => linker.func_wrap_async(module, name, |caller, arguments| {
            Box::new(random_get(caller, arguments))
        })?,
        "args_sizes_get" => linker.func_wrap(module, name, sizes(arguments))?,
        "args_get" => linker.func_wrap(module, name, strings(arguments))?,
        "environ_sizes_get" => linker.func_wrap(module, name, sizes(variables))?,
        "environ_get" => linker.func_wrap(module, name, strings(variables))?,
        // Never returns. Only the low eight bits of an exit code count (`exit(3)`), so `exit(-1)` in C is 255.
        // Wasmtime's own function traps for codes from 126 on.
        "proc_exit" => linker.func_wrap(module, name, |code: i32| -> Result<()> {
            Err(I32Exit(code & 0xff).into())
        })?,
        _ => return define_plain(linker, module, name),
    };
    Ok(true)
}

/// The setting that a function needs to be of use, as `inspect` shows it; `-`: none.
pub fn needs_of(function: &str) -> &'static str {
    match function {
        _ if function.starts_with("path_") || function.starts_with("fd_prestat") => filesystem::NEEDS,
        _ if function.starts_with("args_") => "args, for arguments of yours",
        _ if function.starts_with("environ_") => "env, for variables of yours",
        _ if function.starts_with("sock_") => "none helps: it opens no sockets",
        _ => "-",
    }
}

fn is_stdio(fd: i32) -> bool {
    fd == 0 || fd == 1
}

/// `fd_read`: from the connection, if the descriptor is the connection.
async fn fd_read(mut caller: Caller<'_, GuestState>, (fd, iovs, count, result): (i32, i32, i32, i32)) -> Result<i32> {
    match socket::of(&caller, fd) {
        Some(stdio) => {
            let arguments = (fd, iovs, count, result);
            socket::receive(&mut caller, &stdio, arguments, Riflags::empty()).await
        }
        None => call!(caller, p1::fd_read(fd, iovs, count, result).await),
    }
}

/// `fd_write`: to the connection, if the descriptor is the connection.
async fn fd_write(
    mut caller: Caller<'_, GuestState>,
    (fd, iovs, count, result): (i32, i32, i32, i32),
) -> Result<i32> {
    match socket::of(&caller, fd) {
        Some(stdio) => socket::send(&mut caller, &stdio, (fd, iovs, count, result)).await,
        None => call!(caller, p1::fd_write(fd, iovs, count, result).await),
    }
}

/// `fd_fdstat_get`: of the connection, if the descriptor is the connection.
async fn fd_fdstat_get(mut caller: Caller<'_, GuestState>, (fd, result): (i32, i32)) -> Result<i32> {
    match socket::of(&caller, fd) {
        Some(stdio) => socket::fdstat(caller, &stdio, fd, result),
        None => call!(caller, p1::fd_fdstat_get(fd, result).await),
    }
}

/// `fd_filestat_get`, likewise.
async fn fd_filestat_get(mut caller: Caller<'_, GuestState>, (fd, result): (i32, i32)) -> Result<i32> {
    match socket::of(&caller, fd) {
        Some(stdio) => socket::filestat(caller, &stdio, result),
        None => call!(caller, p1::fd_filestat_get(fd, result).await),
    }
}

/// `fd_fdstat_set_flags`, likewise.
fn fd_fdstat_set_flags(mut caller: Caller<'_, GuestState>, fd: i32, flags: i32) -> Result<i32> {
    match socket::of(&caller, fd) {
        Some(_) => Ok(socket::set_flags(&mut caller, fd, flags)),
        None => call!(caller, p1::fd_fdstat_set_flags(fd, flags)),
    }
}

/// `random_get`: from the kernel into the guest's memory, in chunks; other tasks may run between two chunks.
async fn random_get(mut caller: Caller<'_, GuestState>, (buf, len): (i32, i32)) -> Result<i32> {
    const CHUNK: usize = 16 * 1024;
    let memory = memory(&mut caller)?.data_mut(&mut caller);
    let range = range(memory, buf as u32, len as u32)?;
    let buffer = &mut memory[range];
    for chunk in buffer.chunks_mut(CHUNK) {
        let mut filled = 0;
        while filled < chunk.len() {
            filled += getrandom(&mut chunk[filled..], GetRandomFlags::empty()).map_err(io::Error::from)?;
        }
        consume_budget().await;
    }
    Ok(SUCCESS)
}

/// `path_open`, with the limit of open descriptors (`EMFILE`).
async fn path_open(
    mut caller: Caller<'_, GuestState>,
    (fd, dirflags, path, len, oflags, base, inheriting, flags, result): Open,
) -> Result<i32> {
    let handles = caller.data_mut().context.handles();
    let is_full = handles.is_some_and(|table| held(table).descriptors >= MOST_DESCRIPTORS);
    if is_full || !handles::are_left() {
        return Ok(errno(Errno::Mfile));
    }
    call!(
        caller,
        p1::path_open(fd, dirflags, path, len, oflags, base, inheriting, flags, result).await
    )
}

/// `poll_oneoff` of 0.1 or of the snapshot before it, with a limit of subscriptions (`EINVAL`, as of `poll(2)`).
async fn poll_oneoff(
    mut caller: Caller<'_, GuestState>,
    is_unstable: bool,
    (subscriptions, events, count, result): (i32, i32, i32, i32),
) -> Result<i32> {
    if count as u32 as usize > MOST_WAITED_FOR {
        return Ok(errno(Errno::Inval));
    }
    match is_unstable {
        true => call!(caller, p0::poll_oneoff(subscriptions, events, count, result).await),
        false => call!(caller, p1::poll_oneoff(subscriptions, events, count, result).await),
    }
}

type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// Gives the arguments or the environment variables of a guest, one string each.
type GetStrings = fn(&GuestContext) -> Vec<String>;

fn arguments(guest: &GuestContext) -> Vec<String> {
    guest.arguments()
}

fn variables(guest: &GuestContext) -> Vec<String> {
    let variables = guest.variables().into_iter();
    variables.map(|(name, value)| format!("{name}={value}")).collect()
}

/// `args_sizes_get`, `environ_sizes_get`: the number of strings, and their size in bytes with a NUL after each.
fn sizes(get_strings: GetStrings) -> impl Fn(Caller<'_, GuestState>, i32, i32) -> Result<i32> + Send + Sync {
    move |mut caller, count, size| {
        let strings = get_strings(&caller.data().context.guest);
        let memory = memory(&mut caller)?.data_mut(&mut caller);
        let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
        put(memory, aligned(size)?, &(bytes as u32).to_le_bytes())?;
        put(memory, aligned(count)?, &(strings.len() as u32).to_le_bytes())?;
        Ok(SUCCESS)
    }
}

/// `args_get`, `environ_get`: writes the strings to `buffer`, and the address of each to `list`.
fn strings(get_strings: GetStrings) -> impl Fn(Caller<'_, GuestState>, i32, i32) -> Result<i32> + Send + Sync {
    move |mut caller, list, buffer| {
        let strings = get_strings(&caller.data().context.guest);
        let memory = memory(&mut caller)?.data_mut(&mut caller);
        let (mut slot, mut start) = (aligned(list)?, buffer as u32);
        for string in strings {
            let text = [string.as_bytes(), &[0]].concat();
            put(memory, slot, &start.to_le_bytes())?;
            put(memory, start, &text)?;
            // An address that saturates is out of bounds of any memory.
            (slot, start) = (slot.saturating_add(4), start.saturating_add(text.len() as u32));
        }
        Ok(SUCCESS)
    }
}

#[cfg(test)]
mod tests;
