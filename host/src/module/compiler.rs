//! Running `wasm-sock-compile`, the program with the compiler in it.

use crate::siblings::{COMPILER, cannot_run};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::{io, thread};

/// What the line begins with that it says when it takes longer.
const PROGRESS: &[u8] = b"wasm-sock: compiling ";

/// What is said of a module that takes longer.
pub fn slow(module: &Path) -> String {
    format!(
        "compiling {} takes more than a second; `wasm-sock compile {0}` does it ahead of time",
        module.display()
    )
}

/// Compiles a module, and returns the artifact.
///
/// The compiler gets the module itself, not its file's name: what is compiled is what was read,
/// even when the file is replaced meanwhile. `slow` is called when it takes more than a second.
///
/// # Errors
/// What the compiler said, or why it could not be run, in one line.
pub fn compile(wasm: &[u8], slow: &dyn Fn()) -> Result<Vec<u8>, String> {
    let compiler = COMPILER.find()?;
    run(&mut Command::new(&compiler), &compiler, wasm, slow)
}

/// What makes `wasm-sock compile` confine itself and have bounds before it becomes the compiler.
pub const CONFINED: &str = "--confined";

/// CPU time of the compiler, in seconds, and its memory, in bytes, where it works for a host.
pub const CPU_TIME: u64 = 600;
pub const MEMORY: u64 = 4 << 30;

/// As [`compile`], in a process that can touch nothing but the module, and has bounds.
///
/// # Errors
/// As there.
pub fn compile_confined(wasm: &[u8], slow: &dyn Fn()) -> Result<Vec<u8>, String> {
    let mut ourselves = Command::new("/proc/self/exe");
    let compiler = ourselves.args(["compile", CONFINED]);
    run(compiler, Path::new(COMPILER.name), wasm, slow)
}

/// Runs the compiler, which is called `name`.
fn run(compiler: &mut Command, name: &Path, wasm: &[u8], slow: &dyn Fn()) -> Result<Vec<u8>, String> {
    let mut child = compiler
        .args(["-", "-o", "-"])
        // It needs nothing of what we were told, the sockets least of all.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(name, &error))?;
    // It reads all of its input before it says anything. Should it end early, its own words tell
    // more than this error would.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(wasm));
    let stderr = child.stderr.take();
    // Both are read at the same time, or it would wait for the one while we wait for the other.
    let (output, said) = thread::scope(|scope| {
        let reader = thread::Builder::new().spawn_scoped(scope, || child.wait_with_output())?;
        let said = stderr.map(|stderr| messages(stderr, slow));
        let output = reader.join().unwrap_or(Err(io::ErrorKind::Other.into()))?;
        Ok((output, said.unwrap_or_default()))
    })
    .map_err(|e: io::Error| format!("{} was lost: {e}", COMPILER.name))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(match output.status.signal() {
        Some(libc::SIGXCPU) => {
            format!("compiling it takes more than {CPU_TIME} s of CPU time (`wasm-sock compile` has no such limit)")
        }
        // What Rust does when there is no memory.
        Some(libc::SIGABRT) if said.is_empty() || said.contains("memory allocation") => format!(
            "compiling it takes more than {} GiB of memory (`wasm-sock compile` has no such limit)",
            MEMORY >> 30
        ),
        _ if said.is_empty() => format!("{} ended with {}", COMPILER.name, output.status),
        _ => said,
    })
}

/// What the compiler says, until it ends. Its progress is no part of that, and makes `slow` be called.
fn messages(stderr: ChildStderr, slow: &dyn Fn()) -> String {
    let mut said = Vec::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        match line.starts_with(PROGRESS) {
            true => slow(),
            false => said.push(String::from_utf8_lossy(&line).into_owned()),
        }
    }
    let said = said.join("\n");
    said.trim().trim_start_matches("wasm-sock: ").to_owned()
}
