//! The compile process: a child of the host that compiles modules and writes the cache (privilege separation).
//!
//! The host loads native code from the cache, so it must not be able to write there. Otherwise an attacker that
//! escaped from a guest could place code for the next host, or for the host of another handler. A sandboxed host only
//! reads the cache. This process is forked before the sandbox, serves no client, and receives nothing but names of
//! handlers. It knows the files of each handler itself, and stores only what it has compiled or copied itself. It is
//! forked only if something may have to be compiled, or a copy is missing.

mod messages;
mod worker;

use super::cache::Cache;
use super::files::Files;
use crate::sync::lock;
use messages::{MAX_MESSAGE, Reply, Request, What};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, SocketFlags,
    SocketType, recvmsg, send, socketpair,
};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

pub use messages::CompileFailure;

/// What the process reports about a request.
enum Report {
    Warning(String),
    Answer(Result<File, CompileFailure>),
}

/// The work for the process.
pub struct Work {
    /// Artifacts whose copies are missing in the cache.
    pub copies: Vec<PathBuf>,
    /// Whether anything may have to be compiled.
    pub compiles: bool,
}

/// The compile process, as the host sees it.
pub struct CompileProcess {
    socket: Arc<OwnedFd>,
    asked: Arc<Asked>,
    next: AtomicU32,
}

#[derive(Default)]
struct Asked {
    waiting: Mutex<HashMap<u32, Sender<Report>>>,
    /// The thread that receives the answers was started.
    is_received: Mutex<bool>,
}

impl CompileProcess {
    /// Forks the process. `files_of` returns the files of a handler.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`.
    ///
    /// # Safety
    /// The calling process must have one thread; `close` closes its descriptors in the child.
    pub unsafe fn fork(
        work: &Work,
        cache: Option<&Cache>,
        files_of: impl Fn(&str) -> Option<Files> + Sync,
        close: impl FnOnce(),
    ) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // SAFETY: there is one thread, so no lock is held by another one, and the child may call any function.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                close();
                worker::let_go();
                for artifact in &work.copies {
                    if let Some(cache) = cache {
                        // On failure the next start takes longer.
                        let _ = cache.keep_copy(artifact);
                    }
                }
                if work.compiles {
                    worker::serve(&theirs, cache, &files_of);
                }
                // SAFETY: _exit(2) skips the host's exit handlers, which are not for this process.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(Self {
                socket: Arc::new(ours),
                asked: Arc::default(),
                next: AtomicU32::new(0),
            }),
        }
    }

    /// Requests the artifact of a handler's module: from the cache, or compiled again (`anew`). Blocks until it is
    /// there; problems that do not prevent compilation are passed to `warn`.
    ///
    /// # Errors
    /// See [`CompileFailure`].
    pub fn artifact(&self, handler: &str, anew: bool, warn: &dyn Fn(String)) -> Result<File, CompileFailure> {
        let lost = |error: &dyn std::fmt::Display| CompileFailure::Lost(error.to_string());
        self.receive().map_err(|error| lost(&error))?;
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, reports) = mpsc::channel();
        lock(&self.asked.waiting).insert(number, sender);
        self.ask(number, handler, anew).map_err(|error| lost(&error))?;
        for report in reports {
            match report {
                Report::Warning(message) => warn(message),
                Report::Answer(answer) => return answer,
            }
        }
        Err(lost(&"the process that compiles is gone"))
    }

    /// Requests that the cached artifact of a handler's module gets a link by path and stamp of the `.wasm`
    /// ([`Cache::compiled_from`]).
    pub fn name(&self, handler: &str) {
        // The answer is ignored: without the link, the next start takes longer.
        let _ = self.ask(self.next.fetch_add(1, Relaxed), handler, false);
    }

    fn ask(&self, number: u32, handler: &str, anew: bool) -> io::Result<()> {
        let request = Request { number, handler, anew };
        let request = postcard::to_extend(&request, Vec::new()).map_err(io::Error::other)?;
        if request.len() > MAX_MESSAGE {
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
            while let Some((number, report)) = next_reply(&socket) {
                let is_last = matches!(report, Report::Answer(_));
                let mut waiting = lock(&asked.waiting);
                let waits = match is_last {
                    true => waiting.remove(&number),
                    false => waiting.get(&number).cloned(),
                };
                // The caller may have been dropped when the host exits.
                let _ = waits.map(|sender| sender.send(report));
            }
            // No more requests are possible.
            let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
            lock(&asked.waiting).clear();
        };
        thread::Builder::new().name("compiled".into()).spawn(receive)?;
        *is_received = true;
        Ok(())
    }
}

/// The next report, with the number of its request; `None`: the process has ended.
fn next_reply(socket: &OwnedFd) -> Option<(u32, Report)> {
    let mut message = vec![0; MAX_MESSAGE];
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
    let report = match reply.what {
        What::Warning(text) => Report::Warning(text.to_owned()),
        What::Artifact => Report::Answer(match artifact {
            Some(file) => Ok(file.into()),
            None => Err(CompileFailure::Refused("no descriptor is left for it".to_owned())),
        }),
        What::Unreadable(errno) => {
            let error = io::Error::from_raw_os_error(errno);
            Report::Answer(Err(CompileFailure::Unreadable(error)))
        }
        What::Refused(why) => Report::Answer(Err(CompileFailure::Refused(why.to_owned()))),
    };
    Some((reply.number, report))
}
