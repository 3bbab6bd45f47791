//! `wasm-sock inspect`: what a module is, and what it would need to be granted.

use super::{Failure, print};
use crate::config::HostConfig;
use crate::module::load_file;
use crate::runtime::{Engines, Program};
use crate::wasi;
use std::fmt::Write as _;
use std::path::Path;

/// # Errors
/// When the module cannot be loaded, or nobody provides what it imports.
pub fn run(path: &Path) -> Result<(), Failure> {
    let engines = Engines::new(HostConfig::default().stack).map_err(|e| Failure::Failed(format!("{e:#}")))?;
    let (code, artifact) = load_file(&engines, path).map_err(|e| Failure::Failed(e.to_string()))?;
    let imports = code.imports();
    let widest = imports.iter().map(|import| import.len()).max();
    let mut table = String::new();
    for import in &imports {
        // Writing to a string does not fail.
        let _ = writeln!(table, "  {import:0$}  {1}", widest.unwrap_or(0), wasi::needs_of(import));
    }
    let program = Program::link(&code, artifact);
    let what = match &program {
        Ok(program) if program.is_http() => "answers requests on stream sockets",
        Ok(_) => "reads and writes bytes on sockets of every kind",
        Err(_) => "cannot be served",
    };
    let kind = program.as_ref().map_or("a module", |program| program.kind());
    print(&format!("{}: {kind}; {what}\n", path.display()))?;
    if !imports.is_empty() {
        print(&format!(
            "imports, and the setting without which they are of no use:\n{table}"
        ))?;
    }
    let refused = |why: String| Failure::Failed(format!("{} cannot be used: {why}", path.display()));
    program.map(drop).map_err(refused)
}
