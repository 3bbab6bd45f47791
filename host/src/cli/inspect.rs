//! `wasm-sock inspect`: what a module is, and what it would need to be granted.

use super::{Failure, print};
use crate::config::HostConfig;
use crate::guest::{Engines, Program, WASI_0_1};
use crate::module::load_file;
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
        let _ = writeln!(table, "  {import:0$}  {1}", widest.unwrap_or(0), needs(import));
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

/// What a handler must be granted for an import to be of use.
fn needs(import: &str) -> &'static str {
    let wasi_0_1 = import
        .split_once('.')
        .and_then(|(module, function)| WASI_0_1.contains(&module).then_some(function));
    match (wasi_0_1, import.split('@').next().unwrap_or(import)) {
        (Some(function), _) if function.starts_with("path_") || function.starts_with("fd_prestat") => {
            "dirs, to open files"
        }
        (Some(function), _) if function.starts_with("args_") => "args, for arguments of yours",
        (Some(function), _) if function.starts_with("environ_") => "env, for variables of yours",
        (Some(function), _) if function.starts_with("sock_") => "none helps: it opens no sockets",
        (Some(_), _) => "-",
        (_, "wasi:cli/environment") => "args and env, for what is yours",
        (_, "wasi:http/outgoing-handler" | "wasi:http/client") => "none helps: its requests are refused",
        (_, interface) if interface.starts_with("wasi:filesystem/") => "dirs, to open files",
        (_, interface) if interface.starts_with("wasi:sockets/") => "allow-outbound, to connect",
        _ => "-",
    }
}
