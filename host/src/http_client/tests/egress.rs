//! A stand-in for `wasm-sock-egress`, which connects to servers of this test. Names say what it does:
//! `h2.test` has chosen HTTP/2, `h1.test` HTTP/1.1; others fail, in the way that they say.

use crate::egress::{Alpn, Ask, Egress, Failure};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept, bind, listen, recv, sendmsg, socket_with,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use wasm_sock_egress_protocol::{Answer, MAX_MESSAGE, Reply, Request, decode, encode};

pub struct Stub {
    path: PathBuf,
    connections: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

pub fn no_report(failure: &Failure) {
    eprintln!("reported: {failure}");
}

impl Stub {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("egress");
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let listener = listener.expect("a socket");
        bind(&listener, &SocketAddrUnix::new(&path).expect("a short path")).expect("bind");
        listen(&listener, 8).expect("listen");
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        thread::spawn(move || {
            while let Ok(host) = accept(&listener) {
                serve(&host, &count);
            }
        });
        Self {
            path,
            connections,
            _folder: folder,
        }
    }

    pub fn egress(&self) -> Arc<Egress> {
        Arc::new(Egress::new(self.path.clone()).expect("a socket"))
    }

    /// The connections that it has made.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

fn serve(host: &OwnedFd, connections: &AtomicUsize) {
    let mut buffer = [0; MAX_MESSAGE];
    while let Ok((_, length @ 1..)) = recv(host, &mut buffer, rustix::net::RecvFlags::empty()) {
        let Request { id, ask, .. } = decode(&buffer[..length]).expect("a request");
        let Ask::Connect { host: name, port, .. } = ask else {
            panic!("asked for {ask:?}");
        };
        let made = match name.as_str() {
            "127.0.0.1" => Ok(None),
            "h1.test" => Ok(Some(Alpn::H1)),
            "h2.test" => Ok(Some(Alpn::H2)),
            "silent.test" => continue,
            other => Err(failure(other)),
        };
        let made = made.map(|protocol| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server of the test");
            connections.fetch_add(1, SeqCst);
            (stream, protocol)
        });
        let (stream, result) = match made {
            Ok((stream, protocol)) => {
                let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
                (Some(stream), Ok(Answer::Connected { peer, local, protocol }))
            }
            Err(failure) => (None, Err(failure)),
        };
        reply(host, &Reply { id, result }, stream.as_ref());
    }
}

fn failure(name: &str) -> Failure {
    match name {
        "unknown.test" => Failure::NotFound,
        "denied.test" => Failure::Denied("allow-outbound".into()),
        "closed.test" => Failure::Refused,
        "late.test" => Failure::TimedOut,
        "far.test" => Failure::Unreachable("no route".into()),
        "forged.test" => Failure::TlsCertificate("unknown issuer".into()),
        "alert.test" => Failure::TlsAlert(40),
        "full.test" => Failure::Limit,
        _ => Failure::Internal("no such name in this test".into()),
    }
}

fn reply(host: &OwnedFd, reply: &Reply, stream: Option<&TcpStream>) {
    let packet = encode(reply).expect("small");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = stream.map(|stream| [stream.as_fd()]);
    if let Some(descriptors) = &descriptors {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let _ = sendmsg(host, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL);
}
