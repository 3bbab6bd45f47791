//! Servers that guests call.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// A running server; it ends with the test.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Serves each connection in a thread.
pub fn serve(connection: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (connection, connections) = (Arc::new(connection), Arc::<AtomicUsize>::default());
    let count = connections.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, SeqCst);
            let connection = connection.clone();
            thread::spawn(move || connection(stream));
        }
    });
    Server { address, connections }
}

/// A request, as a server reads it.
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

/// Reads a request; `None`: there is none any more.
pub fn request(from: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let field = |name: &str| lower.split(name).nth(1).and_then(|rest| rest.lines().next());
    let mut body = Vec::new();
    if let Some(length) = field("\r\ncontent-length: ") {
        body = vec![0; length.parse().expect("a length")];
        from.read_exact(&mut body).ok()?;
    } else if field("\r\ntransfer-encoding: ").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).expect("a chunk");
            let mut chunk = vec![0; length + 2];
            from.read_exact(&mut chunk).ok()?;
            if length == 0 {
                break;
            }
            body.extend(&chunk[..length]);
        }
    }
    Some(Request { head, body })
}

pub fn answer(to: &mut impl Write, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    to.write_all(&[head.as_bytes(), body].concat()).is_ok()
}

/// Answers each request with its first line, its `Host`, `X-Test`, and its body.
pub fn telling() -> Server {
    serve(|stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut writer = stream;
        while let Some(request) = request(&mut reader) {
            if !answer(&mut writer, &told(&request)) {
                return;
            }
        }
    })
}

pub fn told(request: &Request) -> Vec<u8> {
    let wanted = |line: &&str| {
        let line = line.to_lowercase();
        line.starts_with("host:") || line.starts_with("x-test:")
    };
    let mut lines = request.head.lines();
    let first = lines.next().unwrap_or_default();
    let mut rest: Vec<&str> = lines.filter(wanted).collect();
    rest.sort_unstable();
    let mut text = format!("{first}\n{}\n", rest.join("\n")).to_lowercase().into_bytes();
    text.extend(&request.body);
    text
}

/// Answers with so many bytes; those of each 64 KiB are all the same.
pub fn pouring(size: usize) -> Server {
    serve(move |mut stream| {
        let _ = request(&mut BufReader::new(stream.try_clone().expect("a descriptor")));
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        for chunk in 0..size / 65536 {
            if stream.write_all(&[chunk as u8; 65536]).is_err() {
                return;
            }
        }
    })
}

/// Begins to read the body of a request after two seconds, and answers with what it was.
pub fn reading_slowly() -> Server {
    serve(|mut stream| {
        thread::sleep(Duration::from_secs(2));
        let request = request(&mut BufReader::new(stream.try_clone().expect("a descriptor")));
        let body = request.expect("a request").body;
        let mut chunks = body.chunks(65536).enumerate();
        let is_right = chunks.all(|(chunk, bytes)| bytes.iter().all(|byte| *byte == chunk as u8));
        let verdict = if is_right { "all right" } else { "not right" };
        answer(&mut stream, format!("{} bytes, {verdict}", body.len()).as_bytes());
    })
}
