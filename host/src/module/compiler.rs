//! Runs the compiler, `wasm-sock-compile`, as a child process, with or without a sandbox.

use crate::siblings::{COMPILER, cannot_run};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::{io, thread};

/// Beginning of the line that the compiler prints when it takes longer than a second.
const PROGRESS: &[u8] = b"wasm-sock: compiling ";

/// The log message about a module whose compilation takes longer than a second.
pub fn slow(module: &Path) -> String {
    format!(
        "compiling {} takes more than a second; `wasm-sock compile {0}` does it ahead of time",
        module.display()
    )
}

/// Compiles a module, and returns the artifact.
///
/// The compiler gets the content and not the file's name, so that it compiles what was read, even when the file is
/// replaced meanwhile. `slow` is called when it takes more than a second.
///
/// # Errors
/// The compiler's error message, or why it could not be run, in one line.
pub fn compile(wasm: &[u8], slow: &dyn Fn()) -> Result<Vec<u8>, String> {
    let compiler = COMPILER.find()?;
    run(&mut Command::new(&compiler), &compiler, wasm, slow)
}

/// The flag that makes `wasm-sock compile` enter a sandbox and set resource limits before it executes the compiler.
pub const CONFINED: &str = "--confined";

/// Limits of the compiler when the host starts it: CPU time in seconds, and memory in bytes.
pub const CPU_TIME: u64 = 600;
pub const MEMORY: u64 = 4 << 30;

/// As [`compile`], in a sandboxed process with resource limits.
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
        // The compiler needs none of the host's variables, such as LISTEN_FDS.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(name, &error))?;
    // It reads all of its input before it writes anything. If it ends early, its error message tells more than this
    // error.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(wasm));
    let stderr = child.stderr.take();
    // Both pipes are read at the same time: otherwise a full pipe would cause a deadlock.
    let (output, errors) = thread::scope(|scope| {
        let reader = thread::Builder::new().spawn_scoped(scope, || child.wait_with_output())?;
        let errors = stderr.map(|stderr| messages(stderr, slow));
        let output = reader.join().unwrap_or(Err(io::ErrorKind::Other.into()))?;
        Ok((output, errors.unwrap_or_default()))
    })
    .map_err(|e: io::Error| format!("{} was lost: {e}", COMPILER.name))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(match output.status.signal() {
        Some(libc::SIGXCPU) => {
            format!("compiling it takes more than {CPU_TIME} s of CPU time (`wasm-sock compile` has no such limit)")
        }
        // Rust aborts when an allocation fails.
        Some(libc::SIGABRT) if errors.is_empty() || errors.contains("memory allocation") => format!(
            "compiling it takes more than {} GiB of memory (`wasm-sock compile` has no such limit)",
            MEMORY >> 30
        ),
        _ if errors.is_empty() => format!("{} ended with {}", COMPILER.name, output.status),
        _ => errors,
    })
}

/// Reads the compiler's messages until it ends. A progress line calls `slow`, and is left out.
fn messages(stderr: ChildStderr, slow: &dyn Fn()) -> String {
    let mut text = Vec::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        match line.starts_with(PROGRESS) {
            true => slow(),
            false => text.push(String::from_utf8_lossy(&line).into_owned()),
        }
    }
    let text = text.join("\n");
    text.trim().trim_start_matches("wasm-sock: ").to_owned()
}
