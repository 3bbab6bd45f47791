//! `wasm-sock inspect`: prints the kind of a module, its imports, and the settings that they need.

use crate::{CommandError, host_program, print};
use std::fmt::Write as _;
use std::path::Path;

/// Prints the description of the module at `path`.
///
/// # Errors
/// When the module cannot be loaded, or imports what the host does not provide.
pub fn run(path: &Path) -> Result<(), CommandError> {
    let module = host_program::describe_module(path)?;
    if let Some(imports) = &module.imports {
        let what = match (&module.kind, module.is_http) {
            (Some(_), true) => "answers requests on stream sockets",
            (Some(_), false) => "reads and writes bytes on sockets of every kind",
            (None, _) => "cannot be served",
        };
        let kind = module.kind.as_deref().unwrap_or("a module");
        print(&format!("{}: {kind}; {what}\n", path.display()))?;
        if !imports.is_empty() {
            let widest = imports.iter().map(|import| import.name.len()).max().unwrap_or(0);
            let mut table = String::new();
            for import in imports {
                // Writing to a string does not fail.
                let _ = writeln!(table, "  {:widest$}  {}", import.name, import.needs);
            }
            print(&format!("imports, and the setting that each of them needs:\n{table}"))?;
        }
    }
    module.error.map_or(Ok(()), |error| Err(CommandError::Failed(error)))
}
