//! What a command prints.

use super::failure::Failure;
use std::io::{self, Write};

/// Writes to standard output. A reader that has closed it (`| head`) is no error.
///
/// # Errors
/// Those of `write(2)`.
pub fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
