//! One configuration file: reading it, positions (line and column), excerpts for error messages.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Location, Position};

/// The largest file, in bytes: far more than any real configuration. Keeps `--config /dev/zero` from filling the
/// memory.
const MAX_BYTES: usize = 1 << 20;

/// The characters of a line that an excerpt shows.
const EXCERPT_WIDTH: usize = 100;

pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The byte offset at which each line starts.
    line_starts: Vec<usize>,
}

impl SourceFile {
    /// Reads `path`; `Ok(None)` if there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<SourceFile>, ConfigError> {
        let bytes = match read_bytes(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ConfigError::unreadable(path, &error)),
        };
        if bytes.len() > MAX_BYTES {
            let message = "larger than 1 MiB (is this the right file? split it into handlers.d)";
            return Err(ConfigError::whole_file(path, message));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(SourceFile::new(path, text))),
            Err(error) => Err(not_utf8(path, error.as_bytes())),
        }
    }

    pub(super) fn new(path: &Path, mut text: String) -> SourceFile {
        // Windows editors put a byte order mark first; TOML allows it and columns ignore it.
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        SourceFile {
            path: path.to_owned(),
            text,
            line_starts,
        }
    }

    /// The line and column of a byte offset.
    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        // The first line starts at 0, so at least one start is at or before any offset.
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let before = &self.text[self.line_starts[line - 1]..offset];
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }

    pub(super) fn location(&self, offset: usize) -> Location {
        Location {
            file: self.path.clone(),
            position: self.position(offset),
        }
    }

    pub(super) fn error(&self, span: Range<usize>, message: String) -> ConfigError {
        let position = self.position(span.start);
        ConfigError {
            file: self.path.clone(),
            position: Some(position),
            message,
            excerpt: Some(self.excerpt(span, position)),
            handler: None,
        }
    }

    /// The line at `position` with `span` underlined (as far as it lies on that line):
    /// ```text
    ///   7 | memroy = "64MiB"
    ///     | ^^^^^^
    /// ```
    fn excerpt(&self, span: Range<usize>, position: Position) -> String {
        let rest = &self.text[self.line_starts[position.line - 1]..];
        let line = rest.lines().next().unwrap_or_default();
        // Of a long line show the part around the error.
        let left = match position.column {
            column if column > EXCERPT_WIDTH * 3 / 4 => column - EXCERPT_WIDTH / 2,
            _ => 0,
        };
        let shown: String = line.chars().skip(left).take(EXCERPT_WIDTH).map(printable).collect();
        let indent = position.column - 1 - left;
        let marked = self.text.get(span).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().chars().count();
        let room = shown.chars().count().saturating_sub(indent);
        let marks = marked.min(room).max(1);
        let number = position.line.to_string();
        let gutter = number.len();
        format!(
            "  {number} | {shown}\n  {:gutter$} | {:indent$}{}",
            "",
            "",
            "^".repeat(marks)
        )
    }
}

/// One byte more than allowed tells a file of the largest size from a larger one. There is no
/// `fstat` first: a cold start saves the system call, and a device lies about its size anyway.
///
/// A FIFO must not block: a generator would hold up the boot.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let limit = MAX_BYTES as u64 + 1;
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    (&file).take(limit).read_to_end(&mut bytes)?;
    // A FIFO without a writer looks like an empty file, which would mean the defaults. (/dev/null means them.)
    if bytes.is_empty() && file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a FIFO"));
    }
    Ok(bytes)
}

fn not_utf8(path: &Path, bytes: &[u8]) -> ConfigError {
    // Everything before the first bad byte stays as it is, so the position is right.
    let valid = bytes.utf8_chunks().next().map_or(0, |c| c.valid().len());
    let source = SourceFile::new(path, String::from_utf8_lossy(bytes).into_owned());
    source.error(valid..valid, "not UTF-8 text (save the file as UTF-8)".into())
}

/// Replaces control characters, so that the content of a file cannot control the terminal.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}
