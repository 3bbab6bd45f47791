//! `wasm-sock metrics`: prints the counters of all handlers for Prometheus, or writes them to a file for the textfile
//! collector of node_exporter.

use crate::scope::Scope;
use crate::{CommandError, print};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use wasm_sock_stats::{Format, read_all, render};

/// The arguments of `wasm-sock metrics`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Metrics {
    /// Replace this file (node_exporter reads *.prom in a directory)
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// As OpenMetrics instead of the text format of Prometheus
    #[arg(long, conflicts_with = "textfile")]
    openmetrics: bool,
    #[command(flatten)]
    scope: Scope,
}

/// Prints the counters.
///
/// # Errors
/// When the counters cannot be read, or the file cannot be written.
pub fn run(arguments: &Metrics) -> Result<(), CommandError> {
    let failed = |path: &Path, error: io::Error| CommandError::Failed(format!("{}: {error}", path.display()));
    let directory = arguments.scope.stats_directory();
    let handlers = read_all(&directory).map_err(|error| failed(&directory, error))?;
    let format = match arguments.openmetrics {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    };
    let text = render(&handlers, env!("CARGO_PKG_VERSION"), format);
    match &arguments.textfile {
        None => print(&text),
        Some(path) => replace(path, &text).map_err(|error| failed(path, error)),
    }
}

/// Replaces a file: readers see the old or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Not *.prom, so that the collector does not read it yet.
    let unfinished = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&unfinished, path)
    });
    written.inspect_err(|_| drop(fs::remove_file(&unfinished)))
}
