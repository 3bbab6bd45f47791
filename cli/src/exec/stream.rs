//! A run that reads and writes bytes.

use crate::CommandError;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

/// Sends `input` to the guest, and what the guest sends to `output`, until it ends. Both ways at the same time, or a
/// guest that answers while it reads would wait for ever.
///
/// # Errors
/// When the output cannot be written. That the guest ends early, or that the reader of the output does, is none.
pub fn exchange(socket: UnixStream, input: Option<File>, mut output: File) -> Result<(), CommandError> {
    let sending = socket.try_clone()?;
    match input {
        // Not joined: it may wait for input that the guest does not want any more.
        Some(input) => drop(thread::spawn(move || send(input, &sending))),
        None => sending.shutdown(Shutdown::Write)?,
    }
    let result = receive(&socket, &mut output);
    // The client leaves; the host ends the guest.
    drop(socket.shutdown(Shutdown::Both));
    result
}

fn send(mut input: File, mut socket: &UnixStream) {
    // The guest has ended; its exit code tells more (EPIPE).
    let _ = io::copy(&mut input, &mut socket);
    let _ = socket.shutdown(Shutdown::Write);
}

const BLOCK: usize = 64 * 1024;

fn receive(mut socket: &UnixStream, output: &mut File) -> Result<(), CommandError> {
    let mut block = vec![0; BLOCK];
    loop {
        let count = match socket.read(&mut block) {
            // A reset: the guest left some of the input unread, or trapped.
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(count) => count,
            Err(error) => return Err(error.into()),
        };
        match output.write_all(&block[..count]) {
            Ok(()) => {}
            // Such as `| head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(CommandError::Failed(format!("cannot write the output: {error}"))),
        }
    }
}
