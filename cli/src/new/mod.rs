//! `wasm-sock new`: makes a project that builds to a module, from an example.

mod name;
mod readme;
mod template;
mod tools;

use crate::{CommandError, print};
use std::fs;
use std::path::{Path, PathBuf};
use template::Template;

/// The arguments of `wasm-sock new`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct New {
    /// The name of the project, and its folder
    #[arg(value_name = "NAME")]
    path: PathBuf,
    /// The language
    #[arg(long, value_enum)]
    lang: Language,
    /// What clients send [default: stream; js, ts, python: http]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// A language with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    Rust,
    Go,
    C,
    Cpp,
    Zig,
    Js,
    Ts,
    Python,
    Assemblyscript,
}

/// What a guest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Stream,
    Datagram,
    Http,
}

/// What `git` is to leave out of every project.
const GITIGNORE: &str = "build/\ntarget/\nnode_modules/\n__pycache__/\n*.wasm\n*.cwasm\n";

/// Makes a project.
///
/// # Errors
/// When the name is not valid, the folder exists, or the language has no such template.
pub fn run(new: &New) -> Result<(), CommandError> {
    let failed = |why: &dyn std::fmt::Display| CommandError::Failed(format!("{}: {why}", new.path.display()));
    let name = name::of(&new.path).map_err(|why| failed(&why))?;
    let kind = new.kind.unwrap_or_else(|| template::default_kind(new.lang));
    let template = Template::find(new.lang, kind).map_err(|why| failed(&why))?;
    if new.path.symlink_metadata().is_ok() {
        return Err(failed(&"it exists already (give another name)"));
    }
    write(&new.path, &name, template, kind).map_err(|error| failed(&error))?;
    let folder = new.path.display();
    let mut text = format!("{folder}: {} for {}. Next:\n\n", template.title, article(kind));
    for missing in tools::missing(new.lang) {
        text.push_str(&format!("  {missing}\n"));
    }
    text.push_str(&format!(
        "  cd {folder}\n  {}\n  wasm-sock run --watch\n",
        template.test
    ));
    print(&text)
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "connections",
        Kind::Datagram => "datagrams",
        Kind::Http => "HTTP requests",
    }
}

/// Writes the files beside the folder, which then gets its name: it is there as a whole or not at all.
fn write(path: &Path, name: &str, template: &Template, kind: Kind) -> std::io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent)?;
    let new = tempfile::Builder::new().prefix(".wasm-sock-new-").tempdir_in(parent)?;
    let mut files = template.files(name);
    files.push(("README.md".into(), readme::text(name, template, kind).into()));
    files.push((".gitignore".into(), GITIGNORE.into()));
    for (file, content) in files {
        let file = new.path().join(file);
        fs::create_dir_all(file.parent().unwrap_or(parent))?;
        fs::write(file, content)?;
    }
    // Temporary folders are for their owner only.
    let mode = fs::metadata(parent)?.permissions();
    fs::set_permissions(new.path(), mode)?;
    fs::rename(new.path(), path)?;
    // It has another name now.
    let _ = new.keep();
    Ok(())
}
