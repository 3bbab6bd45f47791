//! What the host holds for a guest: the memory that its handles cost, and the descriptors behind some of
//! them.
//!
//! Languages with a garbage collector drop their handles when that runs, and have thousands until then. So
//! handles in general count into the guest's memory, looked at whenever the clock interrupts the guest; only
//! descriptors, of which the process has so many, have a limit in number.

use http::HeaderMap;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource as Limit, getrlimit};
use std::any::Any;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::Method;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

/// The most handles that a guest may have at a time, whatever its memory.
pub const MOST: usize = 1_000_000;

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

pub fn is_socket(entry: &(dyn Any + Send)) -> bool {
    entry.is::<TcpSocket>() || entry.is::<UdpSocket>()
}

/// The files and directories that a component opened. Their streams keep them open when their handles are
/// gone.
#[derive(Default)]
pub struct Opened(Vec<Weak<File>>);

impl Opened {
    pub fn count(&mut self) -> usize {
        self.0.retain(|file| file.strong_count() > 0);
        self.0.len()
    }

    pub fn add(&mut self, descriptor: &Descriptor) {
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
