//! `wasm-sock push`: stores a module in an OCI registry.

use crate::project::{Profile, Project};
use crate::registry::{self, Reference};
use crate::{CommandError, print, source_date};
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments of `wasm-sock push`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = "\
Prints the address with the digest, which `wasm-sock install` takes. The same
module has the same digest each time ($SOURCE_DATE_EPOCH changes its date).
Passwords are those of `docker login` or `podman login`. A registry at 127.0.0.1
is spoken to by plain HTTP, all others by TLS, with the system's roots.

Examples:
  wasm-sock push hello.wasm oci://ghcr.io/me/hello:1.0
  wasm-sock push . oci://127.0.0.1:5000/hello")]
pub struct Push {
    /// The module (a .wasm), or a project
    #[arg(value_name = "FILE|FOLDER")]
    source: PathBuf,
    /// Where to: oci://HOST/NAME[:TAG]
    #[arg(value_name = "ADDRESS")]
    to: String,
}

/// Pushes a module.
///
/// # Errors
/// When it cannot be built or read, or the registry does not take it.
pub fn run(push: &Push) -> Result<(), CommandError> {
    let reference: Reference = push.to.parse().map_err(CommandError::Failed)?;
    if reference.digest.is_some() {
        let why = format!("{reference}: the digest follows from the module (leave it out)");
        return Err(CommandError::Failed(why));
    }
    let path = module(&push.source)?;
    let failed = |why: String| CommandError::Failed(format!("{}: {why}", path.display()));
    let wasm = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    if !wasm.starts_with(b"\0asm") {
        let why = "not a WebAssembly module (a .cwasm is for one machine: push the .wasm)";
        return Err(failed(why.to_owned()));
    }
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let created = source_date::given().map_err(CommandError::Failed)?;
    let digest = registry::push(&reference, &wasm, &title, created.as_deref()).map_err(CommandError::Failed)?;
    let pinned = reference.pinned(digest);
    eprintln!(
        "wasm-sock: pushed {} to {reference}; wasm-sock install takes:",
        path.display()
    );
    print(&format!("{pinned}\n"))
}

fn module(source: &Path) -> Result<PathBuf, CommandError> {
    match source.is_dir() {
        true => Project::find(source, None)?.build(Profile::Release),
        false => Ok(source.to_owned()),
    }
}
