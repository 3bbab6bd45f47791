//! `wasm-sock describe`: describes modules or handlers as JSON (RFC 8259), one line each. `wasm-sock-cli` runs it,
//! because only the host has the WebAssembly engine.

use super::failure::Failure;
use super::output::print;
use crate::config::{Config, HostConfig};
use crate::module::{CurrentProgram, Files, load_file};
use crate::runtime::{Engines, Program};
use crate::startup;
use crate::wasi;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// What to describe.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    /// A module file: its kind, its imports, or why it cannot be served.
    Module(PathBuf),
    /// Handlers, loaded as the server loads them: the file that is used, its kind, or why it cannot be served.
    Handlers {
        config: Option<PathBuf>,
        names: Vec<String>,
    },
}

/// Prints the descriptions.
///
/// # Errors
/// When the configuration is invalid. What is wrong with a module is a part of its description.
pub fn run(subject: Subject) -> Result<(), Failure> {
    match subject {
        Subject::Module(path) => print(&module(&engines(HostConfig::default().stack)?, &path)),
        Subject::Handlers { config, names } => {
            let these = names.iter().map(String::as_str).collect();
            let config = Config::load_only(&these, config.as_deref(), &startup::environment());
            let config = config.map_err(Failure::Configuration)?;
            let engines = engines(config.host.stack)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            let mut handlers = names.iter().map(|name| handler(name, &config, &engines, &runtime));
            handlers.try_for_each(|line| print(&line))
        }
    }
}

fn engines(stack: u32) -> Result<Engines, Failure> {
    Engines::new(stack).map_err(|error| Failure::Failed(format!("{error:#}")))
}

/// The description of a module file.
fn module(engines: &Engines, path: &Path) -> String {
    let (code, artifact) = match load_file(engines, path) {
        Ok(loaded) => loaded,
        Err(error) => return format!("{{\"error\":{}}}\n", quoted(error)),
    };
    let imports = code.imports();
    let imports = imports.iter().map(|import| {
        format!(
            "{{\"name\":{},\"needs\":{}}}",
            quoted(import),
            quoted(wasi::needs_of(import))
        )
    });
    let imports: Vec<String> = imports.collect();
    let program = Program::link(&code, artifact);
    let program = program.map_err(|why| format!("{} cannot be used: {why}", path.display()));
    format!("{{\"imports\":[{}],{}}}\n", imports.join(","), outcome(program))
}

/// The description of a handler.
fn handler(name: &str, config: &Config, engines: &Engines, runtime: &Runtime) -> String {
    let settings = config.handler(name);
    let files = Files::of(name, &settings, &config.host.modules);
    if name == startup::METRICS && settings.module.is_none() && !files.are_there() {
        let name = quoted(name);
        return format!(
            "{{\"handler\":{name},\"module\":\"-\",\"kind\":\"metrics (the host answers)\",\"http\":true}}\n"
        );
    }
    let path = match files.stamp().prefers_cwasm() {
        true => files.cwasm.clone(),
        false => files.wasm.clone(),
    };
    let program = CurrentProgram::new(name.into(), Ok(files));
    let program = runtime.block_on(program.try_load(engines));
    let (name, path) = (quoted(name), quoted(path.display()));
    format!("{{\"handler\":{name},\"module\":{path},{}}}\n", outcome(program))
}

/// The JSON members for the kind of a program, or for the error.
fn outcome(program: Result<Program, impl Display>) -> String {
    match program {
        Ok(program) => format!("\"kind\":{},\"http\":{}", quoted(program.kind()), program.is_http()),
        Err(error) => format!("\"error\":{}", quoted(error)),
    }
}

/// `text` as a JSON string.
fn quoted(text: impl Display) -> String {
    let mut json = String::from('"');
    for character in text.to_string().chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            // Writing to a string does not fail.
            '\0'..='\x1f' => drop(write!(json, "\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn every_text_is_a_string_of_json() {
        assert_eq!(quoted("a \"b\" \\c\nd\u{1b}é"), r#""a \"b\" \\c\u000ad\u001bé""#);
    }
}
