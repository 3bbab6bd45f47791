//! `wasm-sock man` and `wasm-sock json-schemas`: the manual pages, and the JSON schemas of the configuration, which
//! editors read.
//!
//! Pages of section 1 are made from the definition of the command line, wasm-sock.toml(5) and the schemas from that of
//! the settings (`wasm_sock_config::settings`); wasm-sock(7) is written by hand. Packages contain what these verbs write.

mod commands;
mod json_schema;
mod page;
mod settings;

use crate::{CommandError, source_date};
use page::Page;
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments of `wasm-sock man`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Man {
    /// Where the pages go
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// The arguments of `wasm-sock json-schemas`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct JsonSchemas {
    /// Where the schemas go
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// wasm-sock(7), without its title.
const OVERVIEW: &str = include_str!("../../man/wasm-sock.7");

/// Writes all pages.
///
/// # Errors
/// When they cannot be written, or `$SOURCE_DATE_EPOCH` is wrong.
pub fn man(arguments: &Man) -> Result<(), CommandError> {
    let date = source_date::day().map_err(CommandError::Failed)?;
    fs::create_dir_all(&arguments.folder)?;
    let mut pages = commands::pages();
    pages.push(Page::new("wasm-sock.toml", 5, settings::text()));
    pages.push(Page::new("wasm-sock", 7, OVERVIEW.to_owned()));
    for page in pages {
        let path = arguments.folder.join(page.file_name());
        fs::write(&path, page.with_title(&date)).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Writes the schema of `wasm-sock.toml` and that of `handlers.d/NAME.toml`.
///
/// # Errors
/// When they cannot be written.
pub fn schema(arguments: &JsonSchemas) -> Result<(), CommandError> {
    fs::create_dir_all(&arguments.folder)?;
    for (name, schema) in json_schema::all() {
        let path = arguments.folder.join(name);
        let text = format!("{schema:#}\n");
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// The schema of handlers' files that was installed with this program: `PREFIX/share/wasm-sock` beside
/// `PREFIX/lib/wasm-sock`.
pub fn installed_schema() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let path = program
        .ancestors()
        .nth(3)?
        .join("share/wasm-sock")
        .join(json_schema::DROP_IN);
    path.exists().then_some(path)
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("{}: {error}", path.display()))
}
