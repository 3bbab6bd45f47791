//! What the host holds for a guest: the memory that its handles cost, and the descriptors behind some of
//! them.
//!
//! Languages with a garbage collector drop their handles when that runs, and have thousands until then. So
//! handles in general count into the guest's memory, looked at whenever the clock interrupts the guest; only
//! descriptors, of which the process has so many, have a limit in number.

use super::link::redefine;
use super::state::State;
use http::HeaderMap;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource as Limit, getrlimit};
use std::any::Any;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self as filesystem, DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::io::poll;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode as SocketErrorCode, Host as _, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::Method;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

/// The most handles that a guest may have at a time, whatever its memory.
pub const MOST: usize = 1_000_000;

/// The most files, directories and sockets that a guest may have open at a time.
pub const MOST_DESCRIPTORS: usize = 256;

/// The most handles that a guest may wait for at once. All are looked at whenever one is ready, while others
/// wait for their turn; no program waits for more than it has descriptors and a few timers.
pub const MOST_WAITED_FOR: usize = 4096;

/// What a handle costs, in bytes: its entries in the tables of the guest and of the host, and what it means.
pub const HANDLE: usize = 256;

/// What a header line of a `fields` costs beside its value, in bytes.
const FIELD: usize = 128;

/// What the host holds for a guest.
#[derive(Default)]
pub struct Held {
    pub handles: usize,
    /// The memory that the handles cost.
    pub bytes: usize,
    /// Files, directories and sockets; handles of one directory that was granted share one.
    pub descriptors: usize,
}

/// What the host holds for the handles in a table.
pub fn held(table: &mut ResourceTable) -> Held {
    let mut held = Held::default();
    let (mut fields, mut files) = (HashSet::new(), HashSet::new());
    for entry in table.iter_mut() {
        held.handles += 1;
        held.bytes += HANDLE + content(entry, &mut fields);
        let is_one_more = match entry.downcast_ref() {
            Some(descriptor) => files.insert(Arc::as_ptr(file_of(descriptor))),
            None => is_socket(entry),
        };
        held.descriptors += usize::from(is_one_more);
    }
    held
}

/// What a handle means may hold words of the guest. Copies of fields share them until one is changed: those
/// that were `seen` are not counted again.
fn content(entry: &(dyn Any + Send), seen: &mut HashSet<*const HeaderMap>) -> usize {
    let mut fields = |fields: &FieldMap| match seen.insert(&raw const **fields) {
        true => size_of_fields(fields),
        false => 0,
    };
    if let Some(map) = entry.downcast_ref() {
        return fields(map);
    }
    let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() else {
        return 0;
    };
    let method = match &request.method {
        Method::Other(method) => method.len(),
        _ => 0,
    };
    let words = [&request.authority, &request.path_with_query];
    let words = words.into_iter().flatten().map(String::len);
    fields(&request.headers) + method + words.sum::<usize>()
}

fn size_of_fields(fields: &HeaderMap) -> usize {
    let lines = fields.iter();
    lines
        .map(|(name, value)| FIELD + name.as_str().len() + value.len())
        .sum()
}

fn file_of(descriptor: &Descriptor) -> &Arc<File> {
    match descriptor {
        Descriptor::File(file) => &file.file,
        Descriptor::Dir(dir) => &dir.dir,
    }
}

fn is_socket(entry: &(dyn Any + Send)) -> bool {
    entry.is::<TcpSocket>() || entry.is::<UdpSocket>()
}

/// The files and directories that a component opened. Their streams keep them open when their handles are
/// gone.
#[derive(Default)]
pub struct Opened(Vec<Weak<File>>);

impl Opened {
    fn count(&mut self) -> usize {
        self.0.retain(|file| file.strong_count() > 0);
        self.0.len()
    }

    fn add(&mut self, descriptor: &Descriptor) {
        self.0.push(Arc::downgrade(file_of(descriptor)));
    }
}

/// Are there enough descriptors left for connections? What the guests of the process open together is at most
/// three quarters of what it may have (`LimitNOFILE=`).
pub fn are_left() -> bool {
    let limit = getrlimit(Limit::Nofile).current.unwrap_or(u64::MAX);
    // The kernel gives the lowest number that is free.
    let next = eventfd(0, EventfdFlags::CLOEXEC);
    next.is_ok_and(|next| (next.as_raw_fd() as u64) < limit / 4 * 3)
}

/// May a component have one more descriptor?
fn has_room(state: &mut State) -> bool {
    if !are_left() {
        return false;
    }
    let opened = state.context.opened.count();
    let entries = state.ctx().table.iter_mut();
    opened + entries.filter(|entry| is_socket(*entry)).count() < MOST_DESCRIPTORS
}

type Store<'a> = StoreContextMut<'a, State>;

/// The interfaces that have such functions.
pub const LIMITED: [&str; 4] = [
    "wasi:filesystem/types",
    "wasi:io/poll",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp-create-socket",
];

/// Defines the functions of an interface of WASI 0.2 anew that open descriptors, or take many handles.
///
/// # Errors
/// When the interface is not there.
pub fn limit(linker: &mut Linker<State>, interface: &str) -> Result<()> {
    redefine(linker, interface, |instance| {
        match interface {
            "wasi:filesystem/types" => {
                instance.func_wrap_async("[method]descriptor.open-at", |store, arguments| {
                    Box::new(open_at(store, arguments))
                })?;
            }
            "wasi:sockets/tcp-create-socket" => {
                instance.func_wrap("create-tcp-socket", create_tcp_socket)?;
            }
            "wasi:sockets/udp-create-socket" => {
                instance.func_wrap_async("create-udp-socket", |store, arguments| {
                    Box::new(create_udp_socket(store, arguments))
                })?;
            }
            "wasi:io/poll" => {
                instance.func_wrap_async("poll", |store, arguments| Box::new(wait_for(store, arguments)))?;
            }
            _ => {}
        }
        Ok(())
    })
}

type Open = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open_at(
    mut store: Store<'_>,
    (directory, path_flags, path, open_flags, flags): Open,
) -> Result<(Result<Resource<Descriptor>, ErrorCode>,)> {
    let state = store.data_mut();
    if !has_room(state) {
        return Ok((Err(ErrorCode::InsufficientMemory),));
    }
    let mut view = state.filesystem();
    let opened = view.open_at(directory, path_flags, path, open_flags, flags);
    let opened = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            return filesystem::Host::convert_error_code(&mut view, error).map(|e| (Err(e),));
        }
    };
    let descriptor = view.table.get(&opened)?.clone();
    state.context.opened.add(&descriptor);
    Ok((Ok(opened),))
}

fn create_tcp_socket(
    mut store: Store<'_>,
    (family,): (IpAddressFamily,),
) -> Result<(Result<Resource<TcpSocket>, SocketErrorCode>,)> {
    let state = store.data_mut();
    if !has_room(state) {
        return Ok((Err(SocketErrorCode::NewSocketLimit),));
    }
    let mut view = state.sockets();
    Ok((match tcp_create_socket::Host::create_tcp_socket(&mut view, family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(view.convert_error_code(error)?),
    },))
}

async fn create_udp_socket(
    mut store: Store<'_>,
    (family,): (IpAddressFamily,),
) -> Result<(Result<Resource<UdpSocket>, SocketErrorCode>,)> {
    let state = store.data_mut();
    if !has_room(state) {
        return Ok((Err(SocketErrorCode::NewSocketLimit),));
    }
    let mut view = state.sockets();
    Ok((
        match udp_create_socket::Host::create_udp_socket(&mut view, family).await {
            Ok(socket) => Ok(socket),
            Err(error) => Err(view.convert_error_code(error)?),
        },
    ))
}

async fn wait_for(mut store: Store<'_>, (handles,): (Vec<Resource<DynPollable>>,)) -> Result<(Vec<u32>,)> {
    if handles.len() > MOST_WAITED_FOR {
        wasmtime::bail!("waited for more than {MOST_WAITED_FOR} handles at once");
    }
    let table = store.data_mut().ctx().table;
    poll::Host::poll(table, handles).await.map(|ready| (ready,))
}
