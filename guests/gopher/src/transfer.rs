//! Sends text files: lines end with CR LF, and a line with only a dot ends the text.

use std::io::{self, BufRead, Write};

/// Sends a text of any size, with lines of any length, in the memory that `from` buffers.
///
/// A line that begins with a dot gets another one, so that no line of the text is taken for its
/// end (RFC 1436, section 2).
pub fn text(mut from: impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let mut last = b'\n';
    loop {
        let chunk = from.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            if last == b'\n' && piece[0] == b'.' {
                to.write_all(b".")?;
            }
            last = send_piece(piece, last, to)?;
        }
        let length = chunk.len();
        from.consume(length);
    }
    if last != b'\n' {
        to.write_all(b"\r\n")?;
    }
    to.write_all(b".\r\n")
}

/// Sends a line, or the part of one that a chunk holds, and returns its last byte. `last` is
/// the byte before it: a CR there and an LF here are one line end already.
fn send_piece(piece: &[u8], last: u8, to: &mut impl Write) -> io::Result<u8> {
    let Some(body) = piece.strip_suffix(b"\n") else {
        to.write_all(piece)?;
        return Ok(*piece.last().unwrap_or(&last));
    };
    to.write_all(body)?;
    match body.last().unwrap_or(&last) {
        b'\r' => to.write_all(b"\n")?,
        _ => to.write_all(b"\r\n")?,
    }
    Ok(b'\n')
}
