//! W^X: executable memory for native code. Code is mapped executable from its file, never by mprotect(2). So
//! `MemoryDenyWriteExecute=` (`systemd.exec(5)`) and the host's own sandbox can refuse every change of protection,
//! and memory that was written to is never executed.

use nix::unistd::{SysconfVar, sysconf};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use wasm_sock_engine::InstanceCost;
use wasm_sock_engine::artifact::{EF_WASMTIME_COMPONENT, EF_WASMTIME_MODULE, ELFOSABI_WASMTIME};
use wasmtime::{CustomCodeMemory, Precompiled, Result};

/// The parts of an artifact's ELF header that the host needs (`elf(5)`).
pub struct Header {
    pub kind: Precompiled,
    /// The processor that it was compiled for, as Rust calls it. `None`: none that we have artifacts for.
    pub architecture: Option<&'static str>,
    /// Memory that an instance takes.
    pub cost: InstanceCost,
    /// Offset of the code in the file, in bytes.
    text: u64,
}

/// The most sections of an artifact; Wasmtime writes eleven. (The table is on the stack, where the first use of a
/// page takes 2 µs.)
const MOST_SECTIONS: usize = 32;

/// The sizes of a file header and of a section header.
const FILE_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;

const SHF_EXECINSTR: u64 = 4;

impl Header {
    /// Reads the header of `file`. `None`: it is no artifact.
    pub fn read(file: &File) -> Option<Self> {
        let mut header = [0; FILE_HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        if &header[..4] != b"\x7fELF" || header[7] != ELFOSABI_WASMTIME {
            return None;
        }
        let kind = match number(&header, 48, 4)? as u32 {
            EF_WASMTIME_MODULE => Precompiled::Module,
            EF_WASMTIME_COMPONENT => Precompiled::Component,
            _ => return None,
        };
        let (sections, count) = (number(&header, 40, 8)?, number(&header, 60, 2)? as usize);
        let mut table = [0; MOST_SECTIONS * SECTION_HEADER];
        let table = table.get_mut(..count * SECTION_HEADER)?;
        file.read_exact_at(table, sections).ok()?;
        let is_code = |section: &[u8]| number(section, 8, 8).is_some_and(|flags| flags & SHF_EXECINSTR != 0);
        let mut sections = table.chunks_exact(SECTION_HEADER);
        let code = sections.find(|section| is_code(section));
        Some(Self {
            kind,
            architecture: match number(&header, 18, 2)? as u16 {
                libc::EM_X86_64 => Some("x86_64"),
                libc::EM_AARCH64 => Some("aarch64"),
                _ => None,
            },
            cost: InstanceCost::read(&header)?,
            // An artifact without code has nothing to map.
            text: code.map_or(Some(0), |section| number(section, 24, 8))?,
        })
    }
}

/// The little-endian number of `size` bytes at an offset.
fn number(bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(bytes.get(offset..offset + size)?);
    Some(u64::from_le_bytes(number))
}

thread_local! {
    /// The artifact that this thread is loading, and the offset of its code.
    static LOADING: Cell<Option<(RawFd, u64)>> = const { Cell::new(None) };
}

/// Runs `load`, which deserializes `file`: code that it makes executable is mapped from that file. `header` is the
/// file's.
pub fn loading<R>(file: &File, header: &Header, load: impl FnOnce() -> R) -> R {
    LOADING.set(Some((file.as_raw_fd(), header.text)));
    let loaded = load();
    LOADING.set(None);
    loaded
}

/// Wasmtime's hook for executable memory: maps code from the file that it is loaded from.
pub struct FromFile;

impl CustomCodeMemory for FromFile {
    fn required_alignment(&self) -> usize {
        // rustix would open a file to find it.
        let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        size.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096)
    }

    fn publish_executable(&self, code: *const u8, length: usize) -> Result<()> {
        let Some((file, text)) = LOADING.get() else {
            wasmtime::bail!("code that is in no file cannot be made executable");
        };
        // On ARM, the kernel makes instruction caches see a page of a file when it maps it as executable, as it does for
        // a library: nothing is to be flushed here.
        //
        // SAFETY: Wasmtime has mapped this file, and owns these pages, which are not in use yet; they are replaced by
        // the same part of the same file. `loading` keeps the file open until then.
        unsafe {
            mmap(
                code.cast_mut().cast(),
                length,
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::PRIVATE | MapFlags::FIXED,
                BorrowedFd::borrow_raw(file),
                text,
            )?;
        }
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
        // Wasmtime unmaps the whole mapping.
        Ok(())
    }
}
