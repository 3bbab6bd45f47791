//! Sends back what it is sent, until the caller has no more to say (RFC 862).

use std::io::{self, ErrorKind, Read, Write};

/// Bytes moved at a time, and all that is ever held: a gigabyte passes through in 64 KiB.
const CHUNK: usize = 64 * 1024;

fn main() -> io::Result<()> {
    copy(&mut io::stdin().lock(), &mut io::stdout().lock())
}

/// Unlike [`io::copy`], flushes after every read: a person who types waits for each answer, be
/// there a line end in it or not.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(&chunk[..n])?;
                to.flush()?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
