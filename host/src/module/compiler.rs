//! Running `wasm-sock-compile`, the program with the compiler in it.

use crate::sandbox::{self, OUTDATED_REASON};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::{env, io, thread};

const PROGRAM: &str = "wasm-sock-compile";

/// What the line begins with that it says when it takes longer.
const PROGRESS: &[u8] = b"wasm-sock: compiling ";

/// Where the compiler is: beside this program.
///
/// # Errors
/// When the system does not tell where this program is.
pub fn compiler_path() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(PROGRAM))
}

/// Compiles a module, and returns the artifact.
///
/// The compiler gets the module itself, not its file's name: what is compiled is what was read,
/// even when the file is replaced meanwhile. `slow` is called when it takes more than a second.
///
/// # Errors
/// What the compiler said, or why it could not be run, in one line.
pub fn compile(wasm: &[u8], slow: &dyn Fn()) -> Result<Vec<u8>, String> {
    let compiler = compiler_path().map_err(|e| format!("cannot find {PROGRAM}: {e}"))?;
    let mut child = Command::new(&compiler)
        .args(["-", "-o", "-"])
        // It needs nothing of what we were told, the sockets least of all.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            if sandbox::refuses(&compiler, &e) {
                return format!("it has to be compiled: {OUTDATED_REASON}");
            }
            format!(
                "cannot run {}: {e} (it belongs beside wasm-sock: install it, or run `wasm-sock compile` where it is and install the .cwasm)",
                compiler.display()
            )
        })?;
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
    .map_err(|e: io::Error| format!("{PROGRAM} was lost: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    if said.is_empty() {
        return Err(format!("{PROGRAM} ended with {}", output.status));
    }
    Err(said)
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
