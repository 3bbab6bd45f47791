//! `wasi:filesystem`: files in the directories that were granted (`dirs`), and nothing else.

use super::interface::{Interface, p2, p3, redefine};
use super::state::GuestState;
use crate::config::{Access, DirGrant, HandlerConfig};
use crate::sandbox::{self, Needs, OUTDATED_REASON, Use};
use std::path::PathBuf;
use thiserror::Error;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::bindings::filesystem as filesystem3;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// The setting that `inspect` shows for these interfaces.
pub const NEEDS: &str = "dirs, to open files";

pub const INTERFACES: &[Interface] = &[
    p2("wasi:filesystem/types", define_types).needs(NEEDS),
    p2("wasi:filesystem/preopens", |l| {
        preopens::add_to_linker::<GuestState, WasiFilesystem>(l, GuestState::filesystem)
    })
    .needs(NEEDS),
    p3("wasi:filesystem/types", |l| {
        filesystem3::types::add_to_linker::<GuestState, WasiFilesystem>(l, GuestState::filesystem)
    })
    .needs(NEEDS),
    p3("wasi:filesystem/preopens", |l| {
        filesystem3::preopens::add_to_linker::<GuestState, WasiFilesystem>(l, GuestState::filesystem)
    })
    .needs(NEEDS),
];

/// Why a guest gets no access to a directory that its handler was granted.
#[derive(Debug, Error)]
pub enum GrantError {
    #[error("cannot open {} that it was granted as {guest}: {reason} (does it exist, and may the user of the service read it?)", host.display())]
    Directory {
        host: PathBuf,
        guest: String,
        reason: String,
    },
    #[error("cannot open {} that it was granted as {guest}: {OUTDATED_REASON}", host.display())]
    Outdated { host: PathBuf, guest: String },
}

/// Gives a guest access to a granted directory (a preopen of WASI).
///
/// # Errors
/// When the directory cannot be opened.
pub fn grant(builder: &mut WasiCtxBuilder, dir: &DirGrant) -> std::result::Result<(), GrantError> {
    let perms = match dir.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    builder
        .preopened_dir(&dir.host, &dir.guest, perms)
        .map(|_| ())
        .map_err(|error| unavailable(dir, &error))
}

/// Why a granted directory cannot be opened.
fn unavailable(dir: &DirGrant, error: &wasmtime::Error) -> GrantError {
    let (host, guest) = (dir.host.clone(), dir.guest.clone());
    match error.downcast_ref() {
        Some(error) if sandbox::refuses(&host, error) => GrantError::Outdated { host, guest },
        _ => GrantError::Directory {
            host,
            guest,
            reason: format!("{error:#}"),
        },
    }
}

/// Adds what the sandbox has to allow for the granted directories.
pub fn add_needs(handler: &HandlerConfig, needs: &mut Needs) {
    for dir in &handler.dirs {
        let access = match dir.access {
            Access::ReadOnly => Use::List,
            Access::ReadWrite => Use::Write,
        };
        needs.add_path(&dir.host, access);
    }
}

/// Defines the interface, with an `open-at` that enforces the limit of open descriptors.
fn define_types(linker: &mut Linker<GuestState>) -> Result<()> {
    types::add_to_linker::<GuestState, WasiFilesystem>(linker, GuestState::filesystem)?;
    redefine(linker, "wasi:filesystem/types", |instance| {
        instance.func_wrap_async("[method]descriptor.open-at", |store, arguments| {
            Box::new(open_at(store, arguments))
        })
    })
}

type Open = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open_at(
    mut store: StoreContextMut<'_, GuestState>,
    (directory, path_flags, path, open_flags, flags): Open,
) -> Result<(Result<Resource<Descriptor>, ErrorCode>,)> {
    let state = store.data_mut();
    if !state.has_room() {
        return Ok((Err(ErrorCode::InsufficientMemory),));
    }
    let mut view = state.filesystem();
    let opened = view.open_at(directory, path_flags, path, open_flags, flags);
    let opened = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            return types::Host::convert_error_code(&mut view, error).map(|e| (Err(e),));
        }
    };
    let descriptor = view.table.get(&opened)?.clone();
    state.context.opened.add(&descriptor);
    Ok((Ok(opened),))
}
