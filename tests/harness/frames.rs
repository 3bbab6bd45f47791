//! HTTP/2 frame by frame (RFC 9113), for clients that do what no library lets them do.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::{Deref, DerefMut};

use crate::{Address, Client, End};

/// The types of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags; an acknowledgement has the bit of `END_STREAM`.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Settings (RFC 9113, 6.5.2).
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (setting, value) in settings {
        payload.extend(setting.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, payload)
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

pub fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes())
}

/// A header as it is: neither indexed nor compressed (RFC 7541, 6.2.2).
pub fn field(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value.as_ref()] {
        string(&mut bytes, text);
    }
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    // RFC 7541, 5.1: an integer with a prefix of seven bits.
    const MOST: usize = 127;
    match text.len() {
        length @ ..MOST => bytes.push(length as u8),
        length => {
            bytes.push(MOST as u8);
            let mut rest = length - MOST;
            while rest > MOST {
                bytes.push((rest & MOST) as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text);
}

/// The block of headers of a request.
pub fn head(method: &str, target: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [
        (":method", method),
        (":path", target),
        (":scheme", "http"),
        (":authority", "test"),
    ];
    let all = own.iter().chain(more);
    all.flat_map(|(name, value)| field(name, value)).collect()
}

/// The number of a client's `n`th stream.
pub fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// A whole request without a body.
pub fn get(stream: u32, target: &str) -> Vec<u8> {
    let flags = END_HEADERS | END_STREAM;
    frame(HEADERS, flags, stream, head("GET", target, &[]))
}

/// The head of a request with a body.
pub fn post(stream: u32, target: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, head("POST", target, &[]))
}

/// A connection that speaks HTTP/2. What is sent is a [`Client`]'s affair.
pub struct Frames(Client);

impl Deref for Frames {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl DerefMut for Frames {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.0
    }
}

impl Address {
    /// A connection of HTTP/2 with these settings.
    #[track_caller]
    pub fn frames(&self, own: &[(u16, u32)]) -> Frames {
        let mut client = self.connect();
        // Nothing that comes refers to what came before.
        let own = [&[(HEADER_TABLE_SIZE, 0)], own].concat();
        client.send([PREFACE, &settings(&own)].concat());
        Frames(client)
    }
}

impl Frames {
    /// The next frame, or how the connection ended.
    pub fn next_frame(&mut self) -> Result<Frame, End> {
        let mut head = [0; 9];
        self.take(&mut head)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.take(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream: number(&head[5..]) & (u32::MAX >> 1),
            payload,
        })
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        self.0.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => End::Closed,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
            _ => End::TimedOut,
        })
    }

    /// The status and the body of the answer on `stream`; `Err`: why the stream or the connection
    /// ended before it. Gives and acknowledges what the host needs to go on.
    pub fn answer(&mut self, stream: u32) -> Result<(u16, Vec<u8>), Frame> {
        let mut status = 0;
        let mut body = Vec::new();
        loop {
            let frame = self
                .next_frame()
                .unwrap_or_else(|end| panic!("no answer on stream {stream} before the connection ended: {end:?}"));
            let is_ours = frame.stream == stream;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.say(&settings_ack()),
                HEADERS if is_ours && status == 0 => status = status_of(&frame.payload),
                DATA => {
                    let count = frame.payload.len() as u32;
                    if count > 0 {
                        self.say(&window_update(0, count));
                        self.say(&window_update(frame.stream, count));
                    }
                    if is_ours {
                        body.extend(&frame.payload);
                    }
                }
                RST_STREAM if is_ours => return Err(frame),
                GOAWAY => return Err(frame),
                _ => {}
            }
            let is_last = [HEADERS, DATA].contains(&frame.kind) && frame.flags & END_STREAM != 0;
            if is_ours && is_last {
                return Ok((status, body));
            }
        }
    }

    /// The host ends the connection: it says that it takes no more requests (GOAWAY) for no error, and then closes
    /// it in good order.
    #[track_caller]
    pub fn expect_goodbye(&mut self) {
        let mut reason = None;
        let end = loop {
            match self.next_frame() {
                Ok(frame) if frame.kind == SETTINGS && frame.flags & ACK == 0 => self.say(&settings_ack()),
                // It waits for the answer before it closes.
                Ok(frame) if frame.kind == PING && frame.flags & ACK == 0 => {
                    self.say(&crate::frames::frame(PING, ACK, 0, frame.payload));
                }
                Ok(frame) if frame.kind == GOAWAY && reason.is_none() => reason = Some(frame.payload[4..8].to_vec()),
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert_eq!((reason, end), (Some(vec![0; 4]), End::Closed));
    }

    /// Sends what the host may have no more interest in.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Sends until the host takes no more: it has ended the connection, or it waits (`WouldBlock`).
    pub fn pour(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}

fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, [])
}

/// The status, which is the first of the headers: one of the table (RFC 7541, A), or three digits
/// in the code of appendix B.
fn status_of(block: &[u8]) -> u16 {
    // Changes of the table's size come first.
    let block = match block.iter().position(|byte| byte & 0xe0 != 0x20) {
        Some(start) => &block[start..],
        None => return 0,
    };
    match block {
        [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        [_, length, code @ ..] => {
            let code = &code[..usize::from(length & 0x7f)];
            let mut bits = code
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
            let mut status = 0;
            for _ in 0..3 {
                let mut more = |count| bits.by_ref().take(count).fold(0, |all, bit| all << 1 | bit);
                let start = more(5);
                let digit = match start {
                    0..=2 => start,
                    _ => (start << 1 | more(1)) - 0b01_1001 + 3,
                };
                status = status * 10 + digit;
            }
            status
        }
        _ => 0,
    }
}
