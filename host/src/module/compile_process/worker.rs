//! The main loop of the compile process: serves requests until the host has ended.

use super::messages::{CompileFailure, MAX_MESSAGE, MAX_TEXT, Reply, Request, What};
use crate::journal::shortened;
use crate::module::artifact::open_trusted;
use crate::module::cache::Cache;
use crate::module::compiler;
use crate::module::error::{NO_MODULE, WASM_MAGIC};
use crate::module::files::{FileStamp, Files};
use crate::sync::lock;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex};
use std::thread;

/// Replaces the standard streams that were inherited from the host, one of which may be a client. Signals that the
/// host has blocked stay blocked: this process ends when the host does.
pub fn let_go() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// The most modules that are compiled at the same time.
const MAX_PARALLEL: usize = 8;

/// Serves requests, several at the same time, until the host has ended.
pub fn serve(socket: &OwnedFd, cache: Option<&Cache>, files_of: &(impl Fn(&str) -> Option<Files> + Sync)) {
    let (running, ended) = (&Mutex::new(0), &Condvar::new());
    thread::scope(|scope| {
        let mut message = vec![0; MAX_MESSAGE];
        loop {
            let is_full = |running: &mut usize| *running >= MAX_PARALLEL;
            let waited = ended.wait_while(lock(running), is_full);
            drop(waited);
            let received = match recv(socket, &mut message, RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok((received, _)) if received > 0 => received,
                _ => return,
            };
            let Ok(request) = postcard::from_bytes::<Request<'_>>(&message[..received]) else {
                continue;
            };
            let (number, anew) = (request.number, request.anew);
            let files = files_of(request.handler);
            let answer = move || {
                match files {
                    Some(files) => answer(socket, number, cache, &files, anew),
                    None => say(socket, number, What::Refused("it is no handler's"), None),
                }
                *lock(running) -= 1;
                ended.notify_one();
            };
            *lock(running) += 1;
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, answer) {
                *lock(running) -= 1;
                let why = format!("no thread to compile it in: {error} (raise TasksMax=)");
                say(socket, number, What::Refused(&why), None);
            }
        }
    });
}

fn say(socket: &OwnedFd, number: u32, what: What<'_>, artifact: Option<&File>) {
    let Ok(message) = postcard::to_extend(&Reply { number, what }, Vec::new()) else {
        return;
    };
    let descriptors = artifact.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    // Fails only when the host has ended.
    let _ = sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL);
}

fn answer(socket: &OwnedFd, number: u32, cache: Option<&Cache>, files: &Files, anew: bool) {
    let warn = |text: String| {
        let text = shortened(text, MAX_TEXT);
        say(socket, number, What::Warning(&text), None);
    };
    match make(cache, files, anew, &warn) {
        Ok(artifact) => say(socket, number, What::Artifact, Some(&artifact)),
        Err(CompileFailure::Unreadable(error)) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            say(socket, number, What::Unreadable(errno), None);
        }
        Err(CompileFailure::Refused(why) | CompileFailure::Lost(why)) => {
            let why = shortened(why, MAX_TEXT);
            say(socket, number, What::Refused(&why), None);
        }
    }
}

/// Compiles a module, unless the cache has its artifact and `anew` is not set.
fn make(cache: Option<&Cache>, files: &Files, anew: bool, warn: &dyn Fn(String)) -> Result<File, CompileFailure> {
    let read = || {
        let mut file = File::open(&files.wasm)?;
        let (before, mut wasm) = (FileStamp::of(&file.metadata()?), Vec::new());
        file.read_to_end(&mut wasm)?;
        let is_settled = FileStamp::of(&file.metadata()?) == before;
        let name = cache.and_then(|cache| cache.compiled_from(&files.wasm, before));
        Ok((name.filter(|_| is_settled), wasm))
    };
    let (name, wasm) = read().map_err(CompileFailure::Unreadable)?;
    if !wasm.starts_with(WASM_MAGIC) {
        return Err(CompileFailure::Refused(NO_MODULE.to_owned()));
    }
    let Some(cache) = cache else {
        return compile(&wasm, files, warn).and_then(|artifact| in_memory(&artifact));
    };
    let entry = cache.entry(&wasm);
    let mut made = None;
    if anew || !entry.exists() {
        let artifact = made.insert(compile(&wasm, files, warn)?);
        if let Err(error) = cache.store(&entry, artifact) {
            warn(format!(
                "cannot keep the compiled module as {}: {error}; every start compiles it",
                entry.display()
            ));
            return in_memory(artifact);
        }
    }
    if let Ok(artifact) = open_trusted(&entry) {
        if let Some(name) = name {
            // On failure the next start has to read the whole module.
            let _ = cache.link(&entry, &name);
        }
        return Ok(artifact);
    }
    // Checked again, because other users may be able to write there.
    let made = match made {
        Some(made) => made,
        None => compile(&wasm, files, warn)?,
    };
    in_memory(&made)
}

fn compile(wasm: &[u8], files: &Files, warn: &dyn Fn(String)) -> Result<Vec<u8>, CompileFailure> {
    let slow = || warn(compiler::slow(&files.wasm));
    compiler::compile_confined(wasm, &slow).map_err(CompileFailure::Refused)
}

fn in_memory(artifact: &[u8]) -> Result<File, CompileFailure> {
    let keep = || {
        let mut file = File::from(memfd_create(c"artifact", MemfdFlags::CLOEXEC)?);
        file.write_all(artifact)?;
        file.rewind()?;
        Ok(file)
    };
    keep().map_err(|error: io::Error| CompileFailure::Lost(error.to_string()))
}
