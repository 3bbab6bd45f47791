//! HTTP/1.1 as a client sees it, to the byte; and handlers that answer it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;

use crate::{Address, Answer, Client, End, Host, Kind, World, artifacts};

/// The worlds that answer HTTP.
pub const HTTP: [Kind; 2] = [Kind::P2, Kind::P3];

impl World {
    /// A handler whose guest is the `http-actor`; `settings` are lines of its table.
    pub fn web(&self, handler: &str, settings: &str) {
        self.install(handler, "http-actor");
        self.configure(&format!("[handler.{handler}]\n{settings}\n"));
    }

    /// A TCP port of [`Self::web`], of the same name.
    pub fn web_port(&self, handler: &str, settings: &str) -> Address {
        self.web(handler, settings);
        self.tcp(handler)
    }

    /// A TCP port and a Unix socket of [`Self::web`], of the same name.
    pub fn web_sockets(&self, handler: &str, settings: &str) -> [Address; 2] {
        self.web(handler, settings);
        [self.tcp(handler), self.unix(handler)]
    }

    /// Installs `guest` of another kind than this world's, compiled, as the module of `handler`.
    pub fn install_of(&self, kind: Kind, handler: &str, guest: &str) -> PathBuf {
        let path = self.module(&format!("{handler}.cwasm"));
        fs::copy(artifacts::cwasm(kind, guest), &path).expect("install a module");
        path
    }
}

/// A host with one handler, whose guest of `kind` is the `http-actor`, and its TCP port. The world is there for as
/// long as its host is.
pub fn web_host(kind: Kind, settings: &str) -> (World, Address, Host) {
    let world = World::new(kind);
    let address = world.web_port("web", settings);
    let host = world.start(&[]);
    (world, address, host)
}

impl Address {
    #[track_caller]
    pub fn http(&self) -> Http {
        Http {
            client: self.connect(),
            came: Vec::new(),
        }
    }

    /// From this address of the machine.
    #[track_caller]
    pub fn http_from(&self, source: &str) -> Http {
        Http {
            client: self.connect_from(source),
            came: Vec::new(),
        }
    }

    /// The answer to one request, on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.http().get(target)
    }

    /// As a URL has it.
    pub fn url(&self, target: &str) -> String {
        format!("http://127.0.0.1:{}{target}", self.port())
    }
}

/// An answer, or what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub version: String,
    pub status: u16,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// How the connection ended before the answer did.
    pub cut: Option<End>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(known, _)| known == name);
        let value = all.next().map(|(_, value)| value.as_str());
        assert_eq!(all.next(), None, "several headers {name}");
        value
    }

    /// The answer is whole, with this status and text.
    #[track_caller]
    pub fn expect(&self, status: u16, text: &str) {
        let all = (self.status, self.text(), self.cut);
        assert_eq!(all, (status, text.to_owned(), None), "{:?}", self.headers);
    }

    /// The answer is whole, and has this status.
    #[track_caller]
    pub fn expect_status(&self, status: u16) {
        assert_eq!((self.status, self.cut), (status, None), "{}", self.text());
    }

    /// This came, and then a reset.
    #[track_caller]
    pub fn expect_reset_after(&self, text: &str) {
        let all = (self.status, self.text(), self.cut);
        assert_eq!(all, (200, text.to_owned(), Some(End::Reset)));
    }

    /// The connection is over with this answer.
    #[track_caller]
    pub fn expect_last(&self) {
        assert_eq!(self.header("connection"), Some("close"), "{self:?}");
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.header(name).is_some_and(|known| known.eq_ignore_ascii_case(value))
    }
}

/// A connection that speaks HTTP/1.1. What is sent is a [`Client`]'s affair.
pub struct Http {
    client: Client,
    /// What came and was not looked at yet.
    came: Vec<u8>,
}

impl Deref for Http {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Http {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Http {
    /// Sends a request without a body.
    #[track_caller]
    pub fn ask(&mut self, method: &str, target: &str) {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target);
        self.response()
    }

    #[track_caller]
    pub fn head(&mut self, target: &str) -> Response {
        self.ask("HEAD", target);
        self.next_head().unwrap_or_else(no_answer)
    }

    /// Sends the head of a request whose body has `length` bytes, or comes in chunks.
    #[track_caller]
    pub fn begin(&mut self, target: &str, length: Option<usize>) {
        let length = match length {
            Some(length) => format!("Content-Length: {length}"),
            None => "Transfer-Encoding: chunked".to_owned(),
        };
        self.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\n{length}\r\n\r\n"));
    }

    /// Sends one chunk; the empty one is the last.
    #[track_caller]
    pub fn send_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend(bytes);
        chunk.extend(b"\r\n");
        self.send(chunk);
    }

    #[track_caller]
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.begin(target, Some(body.as_ref().len()));
        self.send(body);
        self.response()
    }

    /// The next answer.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(no_answer)
    }

    /// The next answer, or what came instead.
    pub fn try_response(&mut self) -> Result<Response, Answer> {
        let mut response = self.next_head()?;
        let cut = self.read_body(&mut response);
        response.cut = cut.err();
        Ok(response)
    }

    /// The status line and the headers of the next answer, or what came instead.
    pub fn next_head(&mut self) -> Result<Response, Answer> {
        let ended = |http: &mut Self, end| Answer {
            bytes: std::mem::take(&mut http.came),
            end,
        };
        while find(&self.came, b"\r\n\r\n").is_none() {
            self.read_more().map_err(|end| ended(self, end))?;
        }
        let line = self.take_line().expect("there is a line");
        let mut parts = line.splitn(3, ' ');
        let version = parts.next().unwrap_or_default().to_owned();
        let status = parts.next().and_then(|status| status.parse().ok());
        Ok(Response {
            version,
            status: status.unwrap_or_else(|| panic!("no status: {line:?}")),
            headers: self.fields().expect("there is an empty line"),
            body: Vec::new(),
            trailers: Vec::new(),
            cut: None,
        })
    }

    /// The next chunk of a body, empty if it is the last.
    pub fn chunk(&mut self) -> Result<Vec<u8>, End> {
        let line = self.take_line()?;
        let size = usize::from_str_radix(&line, 16);
        let size = size.unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
        if size == 0 {
            return Ok(Vec::new());
        }
        while self.came.len() < size + 2 {
            self.read_more()?;
        }
        let mut chunk: Vec<u8> = self.came.drain(..size + 2).collect();
        assert_eq!(chunk.split_off(size), b"\r\n", "the end of a chunk");
        Ok(chunk)
    }

    /// All that comes until the connection ends.
    pub fn rest(&mut self) -> Answer {
        let mut bytes = std::mem::take(&mut self.came);
        let end = self.client.read_until_end(|part| bytes.extend(part));
        Answer { bytes, end }
    }

    /// Nothing more comes, and the connection is closed in good order.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.rest().expect_whole("");
    }

    fn read_body(&mut self, response: &mut Response) -> Result<(), End> {
        if response.status < 200 || [204, 304].contains(&response.status) {
            return Ok(());
        }
        if response.has("transfer-encoding", "chunked") {
            loop {
                match self.chunk() {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) => response.body.extend(chunk),
                    Err(end) => {
                        // What came of a chunk came, too.
                        response.body.append(&mut self.came);
                        return Err(end);
                    }
                }
            }
            response.trailers = self.fields()?;
            return Ok(());
        }
        let length = response.header("content-length");
        let length = length.map(|length| length.parse().expect("a length"));
        let mut end = None;
        while end.is_none() && length.is_none_or(|length: usize| self.came.len() < length) {
            end = self.read_more().err();
        }
        let length = length.map_or(self.came.len(), |length| length.min(self.came.len()));
        response.body.extend(self.came.drain(..length));
        match end {
            // The end of the connection is that of the body.
            Some(End::Closed) if response.header("content-length").is_none() => Ok(()),
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    /// The lines up to an empty one.
    fn fields(&mut self) -> Result<Vec<(String, String)>, End> {
        let mut fields = Vec::new();
        loop {
            let line = self.take_line()?;
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "", "neither a header nor the end of them");
                return Ok(fields);
            };
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    fn take_line(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = find(&self.came, b"\r\n") {
                let line: Vec<u8> = self.came.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), End> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.client.read(&mut chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.came.extend(&chunk[..count]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(End::TimedOut),
                    ErrorKind::ConnectionReset => return Err(End::Reset),
                    _ => panic!("unexpected error while reading: {error}"),
                },
            }
        }
    }
}

#[track_caller]
fn no_answer(instead: Answer) -> Response {
    panic!("no answer, but {:?}: {:?}", instead.end, instead.text())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|some| some == what)
}

/// Runs curl, quietly and with a deadline; what it printed. It must succeed.
#[track_caller]
pub fn curl(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    let output = command.args(arguments).output().expect("run curl");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {said}");
    output.stdout
}
