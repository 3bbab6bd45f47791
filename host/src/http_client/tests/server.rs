//! Servers that do what a test says, byte for byte, a thread for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub struct Server(SocketAddr);

/// The server's end of a connection.
pub struct Peer(BufReader<TcpStream>);

/// A server that does this with each connection, and then closes it. It ends with the test.
pub fn serve(connection: impl Fn(Peer) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let connection = Arc::new(connection);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, connection) = (stream.expect("accept"), connection.clone());
            stream.set_nodelay(true).expect("a TCP socket");
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a TCP socket");
            thread::spawn(move || connection(Peer(BufReader::new(stream))));
        }
    });
    Server(address)
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    /// The URL over "TLS": `name` decides which protocol the server has chosen.
    pub fn tls_url(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.0.port())
    }
}

impl Peer {
    /// The head of the next request, with its body if that has a length. `None`: there is none.
    pub fn request(&mut self) -> Option<String> {
        let mut head = self.request_until(b"\r\n\r\n")?;
        let lower = head.to_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        head.push_str(&String::from_utf8_lossy(&body));
        Some(head)
    }

    /// What comes, to this end.
    pub fn request_until(&mut self, end: &[u8]) -> Option<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            if self.0.read_until(b'\n', &mut bytes).ok()? == 0 {
                return None;
            }
        }
        String::from_utf8(bytes).ok()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    /// Reads exactly so many bytes.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Returns whether the client still takes it.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// Answers with this text.
    pub fn say_text(&mut self, text: &str) -> bool {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        self.say(head.as_bytes()) && self.say(text.as_bytes())
    }

    /// Waits until the client closes the connection.
    pub fn wait_for_end(&mut self) {
        let mut ignored = [0; 4096];
        while matches!(self.0.read(&mut ignored), Ok(1..)) {}
    }

    /// The connection, of which nothing was read.
    pub fn into_stream(self) -> TcpStream {
        let stream = self.0.into_inner();
        stream.set_nonblocking(true).expect("a TCP socket");
        stream
    }

    pub fn shut_down(&mut self) {
        let _ = self.0.get_mut().shutdown(Shutdown::Write);
    }
}
