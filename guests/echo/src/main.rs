//! Echo (RFC 862): sends back all that it receives, until the client closes its side.
//!
//! Every chunk is sent back as soon as it arrives: any number of bytes in constant memory.

use std::io::{BufRead, Result, Write, stdin, stdout};

fn main() -> Result<()> {
    let mut input = stdin().lock();
    let mut output = stdout().lock();
    loop {
        let chunk = input.fill_buf()?;
        let length = chunk.len();
        if length == 0 {
            return Ok(());
        }
        output.write_all(chunk)?;
        output.flush()?;
        input.consume(length);
    }
}
