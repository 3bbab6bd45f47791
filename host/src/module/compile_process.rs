//! The process beside a host that compiles and fills the cache.
//!
//! What a host loads is native code, so no host may write it: an attacker who got out of a guest would leave
//! some for the next host to run, or for that of another handler. A host that has confined itself only reads the cache.
//! This process is forked before, serves no client, and is told no more than the names of handlers: which
//! files those are it knows itself, and what it keeps it has made or copied itself. There is one only where
//! something may have to be compiled, or a copy is missing.

mod messages;
mod worker;

use super::cache::Cache;
use super::files::Files;
use crate::sync::lock;
use messages::{MESSAGE, Reply, Request, What};
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

/// What is told of a request.
enum Told {
    Warning(String),
    Answer(Result<File, CompileFailure>),
}

/// What is to be done beside the host.
pub struct Work {
    /// Artifacts whose copies are missing.
    pub copies: Vec<PathBuf>,
    /// Whether anything may have to be compiled.
    pub compiles: bool,
}

/// The process, for its host.
pub struct CompileProcess {
    socket: Arc<OwnedFd>,
    asked: Arc<Asked>,
    next: AtomicU32,
}

#[derive(Default)]
struct Asked {
    waiting: Mutex<HashMap<u32, Sender<Told>>>,
    /// A thread that receives the answers is there.
    is_received: Mutex<bool>,
}

impl CompileProcess {
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
                worker::let_go();
                for artifact in &work.copies {
                    if let Some(cache) = cache {
                        // Without it, a start takes longer.
                        let _ = cache.keep_copy(artifact);
                    }
                }
                if work.compiles {
                    worker::serve(&theirs, cache, &files_of);
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
    /// See [`CompileFailure`].
    pub fn artifact(&self, handler: &str, anew: bool, warn: &dyn Fn(String)) -> Result<File, CompileFailure> {
        let lost = |error: &dyn std::fmt::Display| CompileFailure::Lost(error.to_string());
        self.receive().map_err(|error| lost(&error))?;
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, said) = mpsc::channel();
        lock(&self.asked.waiting).insert(number, sender);
        self.ask(number, handler, anew).map_err(|error| lost(&error))?;
        for said in said {
            match said {
                Told::Warning(message) => warn(message),
                Told::Answer(answer) => return answer,
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
                let is_last = matches!(said, Told::Answer(_));
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
fn next_reply(socket: &OwnedFd) -> Option<(u32, Told)> {
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
        What::Warning(text) => Told::Warning(text.to_owned()),
        What::Artifact => Told::Answer(match artifact {
            Some(file) => Ok(file.into()),
            None => Err(CompileFailure::Refused("no descriptor is left for it".to_owned())),
        }),
        What::Unreadable(errno) => {
            let error = io::Error::from_raw_os_error(errno);
            Told::Answer(Err(CompileFailure::Unreadable(error)))
        }
        What::Refused(why) => Told::Answer(Err(CompileFailure::Refused(why.to_owned()))),
    };
    Some((reply.number, said))
}
