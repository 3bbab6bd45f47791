//! Running `wasm-sock-compile`, the program with the compiler in it.

use crate::sandbox::{self, OUTDATED_REASON};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, io};

const PROGRAM: &str = "wasm-sock-compile";

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
/// even when the file is replaced meanwhile.
///
/// # Errors
/// What the compiler said, or why it could not be run, in one line.
pub fn compile(wasm: &[u8]) -> Result<Vec<u8>, String> {
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
    let output = child
        .wait_with_output()
        .map_err(|e| format!("{PROGRAM} was lost: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("wasm-sock: ");
    if said.is_empty() {
        return Err(format!("{PROGRAM} ended with {}", output.status));
    }
    Err(said.to_owned())
}
