//! Configuration errors, with their position in the file and an excerpt.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A location in a file. Displayed as `FILE:LINE:COLUMN`, which editors and terminals can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub file: PathBuf,
    pub position: Position,
}

/// One error. Displayed in one line: `FILE:LINE:COLUMN: what (what is allowed)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// `None` when it is about the file as a whole.
    pub position: Option<Position>,
    pub message: String,
    /// The line in question, underlined: two lines of text.
    pub excerpt: Option<String>,
    /// The handler that it concerns. `None`: all handlers of the file.
    pub handler: Option<String>,
}

/// All errors, in the order the files are read and by position within each. Never empty. Displayed with excerpts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigError {
    pub(super) fn whole_file(file: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: file.to_owned(),
            position: None,
            message: message.into(),
            excerpt: None,
            handler: None,
        }
    }

    pub(super) fn missing(file: &Path, way_out: &str) -> ConfigError {
        ConfigError::whole_file(file, format!("no such file ({way_out})"))
    }

    pub(super) fn unreadable(file: &Path, error: &io::Error) -> ConfigError {
        let way_out = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the user that the host runs as read it: chmod and chown it or the folders above"
            }
            io::ErrorKind::IsADirectory => "name a file, such as wasm-sock.toml in it",
            io::ErrorKind::NotADirectory => "what stands above it must be a folder",
            _ => "check the file and its file system",
        };
        ConfigError::whole_file(file, format!("cannot read it: {error} ({way_out})"))
    }

    pub(super) fn unreadable_folder(folder: &Path, error: &io::Error) -> ConfigError {
        let way_out = match error.kind() {
            io::ErrorKind::NotADirectory => "it must be a folder of *.toml files, or absent",
            _ => "let the user that the host runs as list it, or remove it",
        };
        ConfigError::whole_file(folder, format!("cannot list it: {error} ({way_out})"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.position)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
            if let Some(excerpt) = &error.excerpt {
                write!(f, "\n{excerpt}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ConfigErrors {}

/// `text` in quotes for a message: escaped, and cut short if it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
