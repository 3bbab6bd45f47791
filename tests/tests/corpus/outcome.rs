//! What a run of a program comes to, and in what two of them differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness::End;

/// How a run ended, and what it left.
pub struct Outcome {
    pub stdout: Vec<u8>,
    pub end: End,
    /// `None`: it trapped.
    pub code: Option<i32>,
    /// The last line in the log.
    pub said: String,
    pub stderr: Vec<String>,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The exit code that a line of the log tells.
pub fn code_of(line: &str) -> Option<i32> {
    if line.starts_with("served (") {
        return Some(0);
    }
    let rest = line.strip_prefix("failed with exit code ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The lines as the log has them: control characters but tab are written as `\xNN`, and empty lines left out.
pub fn printable(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let clean = |line: &str| {
        let chars = line.chars().map(|c| match c {
            '\t' => c.to_string(),
            c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
            c => c.to_string(),
        });
        chars.collect()
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(clean).collect()
}

impl Outcome {
    /// In what `seen` differs from this.
    pub fn differences(&self, seen: &Outcome) -> Vec<String> {
        let mut differences = Vec::new();
        let said = &seen.said;
        if seen.code != self.code {
            differences.push(format!("exit code {:?}, not {:?}: {said}", seen.code, self.code));
        }
        if seen.end != self.end {
            differences.push(format!("the connection was {:?}, not {:?}: {said}", seen.end, self.end));
        }
        // A reset may overtake what came before it.
        let is_enough = seen.end == End::Reset && self.stdout.starts_with(&seen.stdout);
        if seen.stdout != self.stdout && !is_enough {
            differences.push(difference("stdout", &seen.stdout, &self.stdout));
        }
        if seen.stderr != self.stderr {
            let (seen, expected) = (seen.stderr.join("\n"), self.stderr.join("\n"));
            differences.push(difference("stderr", seen.as_bytes(), expected.as_bytes()));
        }
        let names = self.files.keys().chain(seen.files.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        for name in names {
            match (seen.files.get(name), self.files.get(name)) {
                (Some(_), None) => differences.push(format!("it made {name}")),
                (None, Some(_)) => differences.push(format!("it left no {name}")),
                (Some(seen), Some(expected)) if seen != expected => {
                    differences.push(difference(name, seen, expected));
                }
                _ => {}
            }
        }
        differences
    }
}

/// Where two contents part, and how they go on.
fn difference(what: &str, seen: &[u8], expected: &[u8]) -> String {
    let same = seen.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let rest = |bytes: &[u8]| {
        bytes[same..]
            .iter()
            .take(200)
            .copied()
            .collect::<Vec<u8>>()
            .escape_ascii()
            .to_string()
    };
    format!(
        "{what} has {} bytes, not {}; from byte {same} on \"{}\", not \"{}\"",
        seen.len(),
        expected.len(),
        rest(seen),
        rest(expected)
    )
}

/// Files by their names, with what is in them; of links, where they lead.
pub fn collect(folder: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let name = format!("{name}/{}", entry.file_name().display());
        let kind = entry.file_type().expect("it has a type");
        if kind.is_dir() {
            files.insert(format!("{name}/"), Vec::new());
            collect(&entry.path(), &name, files);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("read a link");
            files.insert(format!("{name} ->"), target.into_os_string().into_encoded_bytes());
        } else {
            files.insert(name, fs::read(entry.path()).expect("read a file"));
        }
    }
}
