//! `export` and `import`: entries as JSON, one a line.

use super::{Handler, failed, tidy};
use crate::CommandError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;
use wasm_sock_store::{Change, Database, Entry, StoreError, What};

/// Entries of one transaction, and about how many bytes.
const TOGETHER: usize = 256;
const MOST_BYTES: usize = 4 << 20;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    store: String,
    key: String,
    /// A value that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
}

/// Prints all entries.
///
/// # Errors
/// Those of the file.
pub fn export(handler: &Handler) -> Result<(), CommandError> {
    let settings = handler.settings()?;
    let Some((database, file)) = handler.open(&settings)? else {
        return Ok(());
    };
    // All that was stored at one time. Not printed while it is read: as long as a reader of standard output takes its
    // time, the log of the file could not be emptied.
    let mut lines = BufWriter::new(tempfile::tempfile()?);
    database
        .for_each(|entry| write_line(&mut lines, &line_of(entry)))
        .map_err(|error| match error {
            Stopped::Store(error) => failed(&file, &error),
            Stopped::Output(error) => CommandError::from(error),
        })?;
    let mut lines = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
    lines.rewind()?;
    match io::copy(&mut lines, &mut io::stdout().lock()) {
        // Such as `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Why not all entries were written.
enum Stopped {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn write_line(mut to: impl Write, line: &Line) -> Result<(), Stopped> {
    let written = serde_json::to_writer(&mut to, line).map_err(io::Error::from);
    written.and_then(|()| to.write_all(b"\n")).map_err(Stopped::Output)
}

fn line_of(entry: Entry) -> Line {
    let (value, base64) = match String::from_utf8(entry.value) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    let (store, key, expires) = (entry.store, entry.key, entry.expires);
    Line {
        store,
        key,
        value,
        base64,
        expires,
    }
}

/// Sets the entries of a file, or of standard input.
///
/// # Errors
/// The first line that is no entry, and those of the store. What came before is set.
pub fn import(handler: &Handler, from: Option<&Path>) -> Result<(), CommandError> {
    let settings = handler.settings()?;
    // Opened by who has called this, before it becomes the owner of the store.
    let (name, mut lines): (String, Box<dyn BufRead>) = match from {
        None => ("standard input".to_owned(), Box::new(io::stdin().lock())),
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| CommandError::Failed(format!("kv: {name}: {error}")))?;
            (name, Box::new(BufReader::new(file)))
        }
    };
    let (mut database, file) = handler.open_or_make(&settings)?;
    let (mut number, mut imported) = (0, 0);
    loop {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let mut mistake = None;
        while changes.len() < TOGETHER && bytes < MOST_BYTES {
            let mut text = String::new();
            number += 1;
            match lines.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) if text.trim().is_empty() => {}
                Ok(_) => match change_of(&text) {
                    Ok(change) => {
                        bytes += change.size();
                        changes.push(change);
                    }
                    Err(error) => mistake = Some(error),
                },
                Err(error) => mistake = Some(error.to_string()),
            }
            if mistake.is_some() {
                break;
            }
        }
        let is_end = changes.is_empty();
        imported += commit(&mut database, &changes, &file)?;
        if let Some(mistake) = mistake {
            let message =
                format!("kv: {name}, line {number}: {mistake} ({imported} entries before it were imported)");
            return Err(CommandError::Failed(message));
        }
        if is_end {
            break;
        }
    }
    tidy(&database);
    eprintln!("{imported} entries were imported");
    Ok(())
}

fn commit(database: &mut Database, changes: &[Change], file: &Path) -> Result<usize, CommandError> {
    for result in database.commit(changes) {
        result.map_err(|error| failed(file, &error))?;
    }
    Ok(changes.len())
}

fn change_of(text: &str) -> Result<Change, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let value = match (line.value, line.base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|error| format!("base64: {error}"))?,
        _ => return Err("it needs either value or base64".to_owned()),
    };
    let (key, expires) = (line.key, line.expires);
    Ok(Change {
        store: line.store,
        lifetime: None,
        what: What::Import { key, value, expires },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_entry_comes_back_as_it_was() {
        for value in [&b"text \"\n"[..], b"", b"\x00\xff"] {
            let entry = Entry {
                store: "s".to_owned(),
                key: "k\u{7}".to_owned(),
                value: value.to_vec(),
                expires: Some(7),
            };
            let text = serde_json::to_string(&line_of(entry.clone())).unwrap();
            assert!(!text.contains('\n'), "{text}");
            let change = change_of(&text).unwrap();
            let What::Import { key, value, expires } = change.what else {
                unreachable!()
            };
            let store = change.store;
            assert_eq!(
                Entry {
                    store,
                    key,
                    value,
                    expires
                },
                entry
            );
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"store":"s","key":"k"}"#,
            r#"{"store":"s","key":"k","value":"v","base64":""}"#,
        ] {
            assert!(change_of(text).is_err(), "{text}");
        }
    }
}
