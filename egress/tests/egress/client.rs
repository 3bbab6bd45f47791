//! A running `wasm-sock-egress`, and a host that asks it.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, recvmsg, send, socket_with,
};
use std::fs;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasm_sock_egress_protocol::{Answer, Ask, Failure, MAX_MESSAGE, Reply, Request, Transport, decode, encode};

/// A running program, with its configuration.
pub struct Egress {
    pub folder: TempDir,
    pub child: Child,
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Egress {
    /// With the settings of handler `a`.
    pub fn new(settings: &str) -> Self {
        Self::with(settings, &[])
    }

    pub fn with(settings: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let egress = Self::start(folder, settings, arguments);
        egress.host();
        egress
    }

    fn start(folder: TempDir, settings: &str, arguments: &[&str]) -> Self {
        let config = folder.path().join("wasm-sock.toml");
        fs::write(&config, format!("[handler.a]\n{settings}\n")).expect("the configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_wasm-sock-egress"))
            .arg("--config")
            .arg(&config)
            .arg("--listen")
            .arg(folder.path().join("egress"))
            .args(arguments)
            .env_remove("LISTEN_FDS")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        Self { folder, child }
    }

    pub fn settings(&self, settings: &str) {
        let (file, new) = (
            self.folder.path().join("wasm-sock.toml"),
            self.folder.path().join("new"),
        );
        fs::write(&new, format!("[handler.a]\n{settings}\n")).expect("the configuration");
        fs::rename(new, file).expect("the configuration");
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("egress")
    }

    /// A host that has connected.
    pub fn host(&self) -> Host {
        let began = Instant::now();
        loop {
            match Host::connect(&self.path()) {
                Ok(host) => return host,
                Err(error) => assert!(began.elapsed() < PATIENCE, "cannot connect: {error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it and returns what it has logged.
    pub fn log(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut log = String::new();
        let lines = BufReader::new(self.child.stderr.take().expect("piped")).lines();
        log.extend(lines.map_while(Result::ok).map(|line| line + "\n"));
        log
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host, as seen by the program.
pub struct Host(pub OwnedFd);

/// An answer, and the descriptor that came with it.
pub type Answered = Result<(Answer, Option<OwnedFd>), Failure>;

impl Host {
    pub fn connect(path: &std::path::Path) -> rustix::io::Result<Self> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(Self(fd))
    }

    pub fn send(&self, id: u32, handler: &str, ask: Ask, timeout: Duration) {
        let timeout_ms = timeout.as_millis() as u32;
        let request = Request {
            id,
            handler: handler.into(),
            ask,
            timeout_ms,
        };
        send(&self.0, &encode(&request).expect("small"), SendFlags::NOSIGNAL).expect("a host that is connected");
    }

    pub fn receive(&self) -> Option<(u32, Answered)> {
        let (mut packet, mut space) = (
            vec![0; MAX_MESSAGE],
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))],
        );
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut packet)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .ok()?;
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptor = descriptors.next();
        let reply: Reply = decode(&packet[..received.bytes]).ok()?;
        Some((reply.id, reply.result.map(|answer| (answer, descriptor))))
    }

    pub fn ask(&self, handler: &str, ask: Ask) -> Answered {
        self.send(1, handler, ask, PATIENCE);
        self.receive().expect("a reply").1
    }

    /// Asks for a connection of handler `a`.
    pub fn reach(&self, host: &str, port: u16, transport: Transport) -> Answered {
        self.ask(
            "a",
            Ask::Connect {
                host: host.into(),
                port,
                transport,
            },
        )
    }

    /// The connection that a guest of handler `a` gets.
    #[track_caller]
    pub fn connection(&self, host: &str, port: u16, transport: Transport) -> Connection {
        match self.reach(host, port, transport) {
            Ok((answer, Some(fd))) => Connection::new(answer, fd),
            other => panic!("no connection to {host}:{port}: {other:?}"),
        }
    }
}

pub struct Connection {
    pub answer: Answer,
    /// Whatever it is, it is used as a stream.
    pub stream: UnixStream,
}

impl Connection {
    fn new(answer: Answer, fd: OwnedFd) -> Self {
        rustix::io::ioctl_fionbio(&fd, false).expect("a socket");
        let stream = UnixStream::from(fd);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { answer, stream }
    }

    /// Sends, ends its direction, and reads to the end.
    pub fn exchange(mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).expect("a server that reads");
        self.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

/// Has the guest no connection because it is not allowed? Returns what would allow it.
#[track_caller]
pub fn denied(answered: Answered) -> String {
    match answered {
        Err(Failure::Denied(why)) => why,
        other => panic!("not denied: {other:?}"),
    }
}
