//! Echo (RFC 862): sends back whatever arrives, until the client has no more to say.
//!
//! Every chunk goes back as soon as it is there, and nothing is kept: any number of bytes passes
//! through in constant memory.

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
