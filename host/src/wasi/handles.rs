//! Resource handles of a guest: the host memory that they take, and the file descriptors behind some of them.
//!
//! Languages with a garbage collector drop their handles when the collector runs, and have thousands until then. So
//! handles count as memory of the guest, and are counted when the timer interrupts the guest. Only file descriptors,
//! which the whole process shares, have a limit in number.

use super::sockets::tcp::TcpSocket;
use super::sockets::udp::UdpSocket;
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
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::Method;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

/// The most handles that a guest may have at a time, whatever its memory.
pub const MOST: usize = 1_000_000;

/// Memory that a handle takes, in bytes: its entries in the tables of the guest and of the host, and the resource.
pub const HANDLE: usize = 256;

/// Memory that a header line of a `fields` takes beside its value, in bytes.
const FIELD: usize = 128;

/// Resources of the host that the handles of a guest take.
#[derive(Default)]
pub struct Held {
    pub handles: usize,
    /// Memory that the handles take.
    pub bytes: usize,
    /// Open files, directories and sockets; all handles of a granted directory share one descriptor.
    pub descriptors: usize,
}

/// Counts what the handles in a table take.
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

/// Bytes of header lines that a handle holds for the guest. Copies of `fields` share them until one of the copies is
/// changed: those in `seen` are not counted again.
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

/// The files and directories that a component opened. Their streams keep them open after their handles were dropped.
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

/// Are there enough file descriptors left for connections? All guests of the process together may use three quarters
/// of its limit (`LimitNOFILE=`).
pub fn are_left() -> bool {
    let limit = getrlimit(Limit::Nofile).current.unwrap_or(u64::MAX);
    // The kernel returns the lowest free number, so it tells how many are in use.
    let next = eventfd(0, EventfdFlags::CLOEXEC);
    next.is_ok_and(|next| (next.as_raw_fd() as u64) < limit / 4 * 3)
}
