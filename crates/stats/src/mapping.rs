//! A file of counters in memory.

use crate::layout::{Cell, Geometry, HandlerBlock, Header, MAGIC, MAX_SIZE, ProcessBlock};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;

/// A file of counters, mapped into memory. Other processes change it at the same time: all that is in it are atomics.
pub struct Mapping {
    start: NonNull<c_void>,
    size: usize,
    pub geometry: Geometry,
}

// SAFETY: what is in it are atomics, and the address does not change.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file of `size` bytes. `None`: it is no file of counters, or of another version.
    ///
    /// # Errors
    /// Those of `mmap(2)`.
    pub fn new(file: impl AsFd, size: u64) -> io::Result<Option<Self>> {
        if size < size_of::<Header>() as u64 || size > MAX_SIZE {
            return Ok(None);
        }
        let (size, access) = (size as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: it is new memory, at an address that the kernel chooses.
        let start = unsafe { mmap(ptr::null_mut(), size, access, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut mapping = Self {
            start,
            size,
            geometry: Geometry {
                handlers: 0,
                processes: 0,
            },
        };
        let header = mapping.header();
        if header.magic.load(Relaxed) != MAGIC {
            return Ok(None);
        }
        let Some(geometry) = Geometry::of(header.handlers.load(Relaxed), size as u64) else {
            return Ok(None);
        };
        mapping.geometry = geometry;
        Ok(Some(mapping))
    }

    pub fn header(&self) -> &Header {
        self.at(0)
    }

    pub fn handler(&self, handler: usize) -> &HandlerBlock {
        assert!(handler < self.geometry.handlers);
        self.at(self.geometry.handler(handler))
    }

    pub fn process(&self, process: usize) -> &ProcessBlock {
        assert!(process < self.geometry.processes);
        self.at(self.geometry.process(process))
    }

    pub fn cell(&self, process: usize, handler: usize) -> &Cell {
        assert!(process < self.geometry.processes && handler < self.geometry.handlers);
        self.at(self.geometry.cell(process, handler))
    }

    /// `T` is one of the blocks of the layout: atomics only.
    fn at<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= self.size && offset.is_multiple_of(align_of::<T>()));
        // SAFETY: the bytes are within the mapping, which lives as long as `self`, and are aligned as blocks are (a
        // mapping begins at a page); every value of them is valid for atomics.
        unsafe { self.start.byte_add(offset).cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: references to it do not outlive it.
        // It fails only for other arguments than those of mmap(2).
        let _ = unsafe { munmap(self.start.as_ptr(), self.size) };
    }
}
