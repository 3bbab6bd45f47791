//! Standard output of the commands.

use super::failure::Failure;
use std::io::{self, Write};

/// Writes to standard output. A pipe whose reader has closed it (`| head`, EPIPE) is not an error.
///
/// # Errors
/// Those of `write(2)`.
pub fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
