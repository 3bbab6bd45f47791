//! The program as it is, run natively.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn what_is_sent_comes_back() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_echo"));
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let text: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
    let (mut input, sent) = (child.stdin.take().unwrap(), text.clone());
    let sending = thread::spawn(move || input.write_all(&sent));
    let mut came = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut came).unwrap();
    sending.join().unwrap().unwrap();
    assert!(came == text);
    assert!(child.wait().unwrap().success());
}
