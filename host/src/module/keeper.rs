//! The process beside a host that compiles and fills the cache.
//!
//! What a host loads is native code, so no host may write it: an attacker who got out of a guest would leave
//! some for the next host to run, or for that of another handler. A host that has confined itself only reads the cache.
//! This process is forked before, serves no client, and is told no more than the names of handlers: which
//! files those are it knows itself, and what it keeps it has made or copied itself. There is one only where
//! something may have to be compiled, or a copy is missing.

use super::cache::Cache;
use super::compiler;
use super::files::{FileStamp, Files};
use super::load::{WASM_MAGIC, open_trusted};
use crate::journal::shortened;
use crate::sync::lock;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// The largest message, in bytes: a name has 255, and words are cut.
const MESSAGE: usize = 8 * 1024;
const WORDS: usize = 4 * 1024;

/// A handler whose module is to be compiled.
#[derive(Serialize, Deserialize)]
struct Request<'a> {
    number: u32,
    handler: &'a str,
    /// What the cache has is no good.
    anew: bool,
}

/// What is said of a request; the last of it is an answer.
#[derive(Serialize, Deserialize)]
struct Reply<'a> {
    number: u32,
    #[serde(borrow)]
    what: What<'a>,
}

#[derive(Serialize, Deserialize)]
enum What<'a> {
    /// The artifact comes with it.
    Artifact,
    /// Something that does not keep it from being made.
    Warning(&'a str),
    /// The module cannot be read (`errno(3)`).
    Unreadable(i32),
    /// It cannot be compiled, and why.
    Refused(&'a str),
}

/// Why there is no artifact.
pub enum Failure {
    Unreadable(io::Error),
    Refused(String),
    /// The process is gone, or cannot be asked; why.
    Lost(String),
}

enum Said {
    Warning(String),
    Answer(Result<File, Failure>),
}

/// What is to be done beside the host.
pub struct Work {
    /// Artifacts whose copies are missing.
    pub copies: Vec<PathBuf>,
    /// Whether anything may have to be compiled.
    pub compiles: bool,
}

/// The process, for its host.
pub struct Keeper {
    socket: Arc<OwnedFd>,
    asked: Arc<Asked>,
    next: AtomicU32,
}

#[derive(Default)]
struct Asked {
    waiting: Mutex<HashMap<u32, Sender<Said>>>,
    /// A thread that receives the answers is there.
    is_received: Mutex<bool>,
}

impl Keeper {
    /// Forks it, from a process with one thread. `files_of` knows the files of a handler.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`.
    ///
    /// # Safety
    /// The process must have one thread; what it has open is closed by `close` in the new one.
    pub unsafe fn fork(
        work: &Work,
        cache: Option<&Cache>,
        files_of: impl Fn(&str) -> Option<Files> + Sync,
        close: impl FnOnce(),
    ) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // SAFETY: there is one thread, so nothing is locked by another, and all may be used in the child.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                close();
                let_go();
                for artifact in &work.copies {
                    if let Some(cache) = cache {
                        // Without it, a start takes longer.
                        let _ = cache.keep_copy(artifact);
                    }
                }
                if work.compiles {
                    serve(&theirs, cache, &files_of);
                }
                // SAFETY: what the host would do at its end is not for this process.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(Self {
                socket: Arc::new(ours),
                asked: Arc::default(),
                next: AtomicU32::new(0),
            }),
        }
    }

    /// The artifact of a handler's module, made `anew` or the one in the cache. Blocks as long as it takes;
    /// problems that do not keep it from being made go to `warn`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn artifact(&self, handler: &str, anew: bool, warn: &dyn Fn(String)) -> Result<File, Failure> {
        let lost = |error: &dyn std::fmt::Display| Failure::Lost(error.to_string());
        self.receive().map_err(|error| lost(&error))?;
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, said) = mpsc::channel();
        lock(&self.asked.waiting).insert(number, sender);
        self.ask(number, handler, anew).map_err(|error| lost(&error))?;
        for said in said {
            match said {
                Said::Warning(message) => warn(message),
                Said::Answer(answer) => return answer,
            }
        }
        Err(lost(&"the process that compiles is gone"))
    }

    /// Lets the artifact of a handler's module, which the cache has, be found by the file that it was compiled from.
    pub fn name(&self, handler: &str) {
        // Its answer is not waited for. Without the name, a start takes longer.
        let _ = self.ask(self.next.fetch_add(1, Relaxed), handler, false);
    }

    fn ask(&self, number: u32, handler: &str, anew: bool) -> io::Result<()> {
        let request = Request { number, handler, anew };
        let request = postcard::to_extend(&request, Vec::new()).map_err(io::Error::other)?;
        if request.len() > MESSAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        send(&*self.socket, &request, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Starts the thread that receives the answers, if there is none.
    fn receive(&self) -> io::Result<()> {
        let mut is_received = lock(&self.asked.is_received);
        if *is_received {
            return Ok(());
        }
        let (socket, asked) = (self.socket.clone(), self.asked.clone());
        let receive = move || {
            while let Some((number, said)) = next_reply(&socket) {
                let is_last = matches!(said, Said::Answer(_));
                let mut waiting = lock(&asked.waiting);
                let waits = match is_last {
                    true => waiting.remove(&number),
                    false => waiting.get(&number).cloned(),
                };
                // Who asked may have left with the host.
                let _ = waits.map(|sender| sender.send(said));
            }
            // Nothing more can be asked.
            let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
            lock(&asked.waiting).clear();
        };
        thread::Builder::new().name("compiled".into()).spawn(receive)?;
        *is_received = true;
        Ok(())
    }
}

/// What is said next; `None`: the process is gone.
fn next_reply(socket: &OwnedFd) -> Option<(u32, Said)> {
    let mut message = vec![0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut descriptors = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let into = &mut [IoSliceMut::new(&mut message)];
        match recvmsg(socket, into, &mut descriptors, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
            Ok(received) => break received.bytes,
        }
    };
    let mut descriptors = descriptors.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let artifact = descriptors.next();
    let reply: Reply<'_> = postcard::from_bytes(&message[..received]).ok()?;
    let said = match reply.what {
        What::Warning(text) => Said::Warning(text.to_owned()),
        What::Artifact => Said::Answer(match artifact {
            Some(file) => Ok(file.into()),
            None => Err(Failure::Refused("no descriptor is left for it".to_owned())),
        }),
        What::Unreadable(errno) => {
            let error = io::Error::from_raw_os_error(errno);
            Said::Answer(Err(Failure::Unreadable(error)))
        }
        What::Refused(why) => Said::Answer(Err(Failure::Refused(why.to_owned()))),
    };
    Some((reply.number, said))
}

/// Lets go of the standard streams that the host was started with, one of which may be a client. The signals that it
/// holds stay held: this process ends when the host does.
fn let_go() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Modules that are compiled at a time.
const AT_ONCE: usize = 8;

/// Compiles what is asked for, several modules at a time, until the host is gone.
fn serve(socket: &OwnedFd, cache: Option<&Cache>, files_of: &(impl Fn(&str) -> Option<Files> + Sync)) {
    let (running, ended) = (&Mutex::new(0), &Condvar::new());
    thread::scope(|scope| {
        let mut message = vec![0; MESSAGE];
        loop {
            let is_full = |running: &mut usize| *running >= AT_ONCE;
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
    // A host that is gone has no use for it.
    let _ = sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL);
}

fn answer(socket: &OwnedFd, number: u32, cache: Option<&Cache>, files: &Files, anew: bool) {
    let warn = |text: String| {
        let text = shortened(text, WORDS);
        say(socket, number, What::Warning(&text), None);
    };
    match make(cache, files, anew, &warn) {
        Ok(artifact) => say(socket, number, What::Artifact, Some(&artifact)),
        Err(Failure::Unreadable(error)) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            say(socket, number, What::Unreadable(errno), None);
        }
        Err(Failure::Refused(why) | Failure::Lost(why)) => {
            let why = shortened(why, WORDS);
            say(socket, number, What::Refused(&why), None);
        }
    }
}

/// Compiles a module, unless that has been done before and is not to be done `anew`.
fn make(cache: Option<&Cache>, files: &Files, anew: bool, warn: &dyn Fn(String)) -> Result<File, Failure> {
    let read = || {
        let mut file = File::open(&files.wasm)?;
        let (before, mut wasm) = (FileStamp::of(&file.metadata()?), Vec::new());
        file.read_to_end(&mut wasm)?;
        let is_settled = FileStamp::of(&file.metadata()?) == before;
        let name = cache.and_then(|cache| cache.compiled_from(&files.wasm, before));
        Ok((name.filter(|_| is_settled), wasm))
    };
    let (name, wasm) = read().map_err(Failure::Unreadable)?;
    if !wasm.starts_with(WASM_MAGIC) {
        return Err(Failure::Refused(super::load::NO_MODULE.to_owned()));
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
            // Without it, the next start reads the module first.
            let _ = cache.link(&entry, &name);
        }
        return Ok(artifact);
    }
    // Others may write there.
    let made = match made {
        Some(made) => made,
        None => compile(&wasm, files, warn)?,
    };
    in_memory(&made)
}

fn compile(wasm: &[u8], files: &Files, warn: &dyn Fn(String)) -> Result<Vec<u8>, Failure> {
    let slow = || warn(compiler::slow(&files.wasm));
    compiler::compile_confined(wasm, &slow).map_err(Failure::Refused)
}

fn in_memory(artifact: &[u8]) -> Result<File, Failure> {
    let keep = || {
        let mut file = File::from(memfd_create(c"artifact", MemfdFlags::CLOEXEC)?);
        file.write_all(artifact)?;
        file.rewind()?;
        Ok(file)
    };
    keep().map_err(|error: io::Error| Failure::Lost(error.to_string()))
}
