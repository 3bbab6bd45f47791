//! Clients with deadlines: nothing they do takes longer than [`PATIENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::PATIENCE;

/// Where a handler is reached.
#[derive(Debug, Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A Unix socket with an abstract name.
    Abstract(String),
}

/// How a connection ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Closed in good order: everything has arrived.
    Closed,
    /// Reset: something is missing.
    Reset,
    /// Nothing came for [`PATIENCE`].
    TimedOut,
}

/// All that came until the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub end: End,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The whole answer was `text`, and no more.
    #[track_caller]
    pub fn expect_whole(&self, text: &str) {
        assert_eq!((self.text().as_str(), self.end), (text, End::Closed));
    }

    /// `text` came, and then a reset.
    #[track_caller]
    pub fn expect_reset_after(&self, text: &str) {
        assert_eq!((self.text().as_str(), self.end), (text, End::Reset));
    }

    /// An actor that was to list a folder, write into it and read what it wrote (`files FOLDER`) has tried all
    /// three, and was refused each.
    #[track_caller]
    pub fn expect_no_files(&self) {
        let text = self.text();
        let lines = text.lines().map(|line| line.split_once(": "));
        let (tried, results): (Vec<&str>, Vec<&str>) = lines.map(Option::unwrap_or_default).unzip();
        assert_eq!(tried, ["list", "write", "read"], "{text}");
        assert!(!results.contains(&"ok"), "{text}");
        assert_eq!(self.end, End::Closed, "{text}");
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection.
pub struct Client(Stream);

impl Address {
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.try_connect()
            .unwrap_or_else(|error| panic!("cannot connect to {self:?}: {error}"))
    }

    pub fn try_connect(&self) -> io::Result<Client> {
        match self {
            Address::Tcp(address) => {
                // With a timeout, a reset that comes at once would be told as a failure to connect.
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Client(Stream::Tcp(stream)))
            }
            Address::Unix(path) => Client::unix(UnixStream::connect(path)?),
            Address::Abstract(name) => {
                let address = UnixAddress::from_abstract_name(name)?;
                Client::unix(UnixStream::connect_addr(&address)?)
            }
        }
    }

    /// Connects to a TCP port from this address of the machine.
    pub fn try_connect_from(&self, source: &str) -> io::Result<Client> {
        let Address::Tcp(address) = self else {
            panic!("{self:?} is no TCP port");
        };
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let source: IpAddr = source.parse().expect("an address");
        bind(&fd, &SocketAddr::new(source, 0))?;
        connect(&fd, address)?;
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(Stream::Tcp(stream)))
    }

    #[track_caller]
    pub fn connect_from(&self, source: &str) -> Client {
        self.try_connect_from(source)
            .unwrap_or_else(|error| panic!("cannot connect to {self:?}: {error}"))
    }

    /// Connects, says nothing, and takes the answer.
    #[track_caller]
    pub fn knock(&self) -> Answer {
        match self.try_connect() {
            Ok(mut client) => client.answer(),
            // The reset was here before connect(2) returned.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Answer {
                bytes: Vec::new(),
                end: End::Reset,
            },
            Err(error) => panic!("cannot connect to {self:?}: {error}"),
        }
    }

    /// Sends `text` and no more, and takes the answer.
    #[track_caller]
    pub fn ask(&self, text: &str) -> Answer {
        let mut client = self.connect();
        client.send(text);
        client.finish();
        client.answer()
    }

    /// The port's number.
    pub fn port(&self) -> u16 {
        match self {
            Address::Tcp(address) => address.port(),
            other => panic!("{other:?} has no port"),
        }
    }
}

impl Client {
    fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Stream::Unix(stream)))
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write_all(bytes.as_ref()).expect("send to the guest");
    }

    /// Half-close: this client will send no more.
    pub fn finish(&self) {
        // The guest may have ended the connection first.
        let _ = match &self.0 {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Everything that comes until the connection ends.
    pub fn answer(&mut self) -> Answer {
        let mut bytes = Vec::new();
        let end = self.read_until_end(|chunk| bytes.extend_from_slice(chunk));
        Answer { bytes, end }
    }

    /// Hands every piece that comes to `take`, until the connection ends.
    pub fn read_until_end(&mut self, mut take: impl FnMut(&[u8])) -> End {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.read(&mut chunk) {
                Ok(0) => return End::Closed,
                Ok(count) => take(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return End::TimedOut,
                    ErrorKind::ConnectionReset => return End::Reset,
                    _ => panic!("unexpected error while reading: {error}"),
                },
            }
        }
    }

    /// The next line, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("no whole line, only {line:?}: {error}"));
            if byte[0] == b'\n' {
                return String::from_utf8_lossy(&line).into_owned();
            }
            line.push(byte[0]);
        }
    }

    /// Sends a line; the line that answers it, without its end.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.line()
    }

    /// Sends a line, which must be answered so.
    #[track_caller]
    pub fn tell(&mut self, line: &str, answer: &str) {
        assert_eq!(self.ask(line), answer, "after {line:?}");
    }

    /// Does anything come, or does the connection end, within `time`?
    pub fn hears_anything_within(&self, time: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a short time");
            match poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    /// Leaves without a word: TCP sends a reset.
    pub fn vanish(self) {
        if let Stream::Tcp(stream) = &self.0 {
            sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("set SO_LINGER");
        }
    }

    /// Ends the connection for those, too, who hold it as their [`Self::second`].
    pub fn hang_up(&self) {
        // The guest may have ended it first.
        let _ = match &self.0 {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// The same connection, for another thread.
    pub fn second(&self) -> Client {
        Client(match &self.0 {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("dup")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("dup")),
        })
    }

    /// The socket itself: of TCP, or (`Err`) of Unix.
    pub(crate) fn into_socket(self) -> Result<TcpStream, UnixStream> {
        match self.0 {
            Stream::Tcp(stream) => Ok(stream),
            Stream::Unix(stream) => Err(stream),
        }
    }

    /// The port that this client comes from.
    pub fn local_port(&self) -> u16 {
        match &self.0 {
            Stream::Tcp(stream) => stream.local_addr().expect("getsockname").port(),
            Stream::Unix(_) => panic!("a Unix socket has no port"),
        }
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}
