//! Which names a project can have: those that all toolchains take.

use std::path::Path;

/// Words that are something else in Rust or in WIT, or crates of Rust's own.
const RESERVED: [&str; 62] = [
    "alloc",
    "as",
    "async",
    "await",
    "bool",
    "borrow",
    "box",
    "break",
    "build",
    "char",
    "const",
    "constructor",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "export",
    "extern",
    "false",
    "flags",
    "float32",
    "float64",
    "fn",
    "for",
    "from",
    "func",
    "future",
    "if",
    "impl",
    "import",
    "in",
    "include",
    "interface",
    "let",
    "list",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "own",
    "package",
    "pub",
    "record",
    "ref",
    "resource",
    "return",
    "self",
    "static",
    "std",
    "stream",
    "string",
    "test",
    "true",
    "type",
    "use",
    "variant",
    "world",
];

/// The name of a project in this folder.
///
/// # Errors
/// Why it is not valid, and what to do.
pub fn of(path: &Path) -> Result<String, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if RESERVED.contains(&&*name) {
        return Err(format!("{name:?} has a meaning in Rust or WIT (as in my-{name})"));
    }
    let is_word = |word: &str| {
        let mut characters = word.bytes();
        characters.next().is_some_and(|first| first.is_ascii_lowercase())
            && characters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match name.len() <= 64 && name.split('-').all(is_word) {
        true => Ok(name),
        false => Err(format!(
            "{name:?} is no name of a project (allowed: words of a-z and 0-9 that begin with a letter, \
             joined by \"-\", as in my-app)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_all_toolchains_take_are_valid() {
        for name in ["knock", "my-app", "a1-b2", "some/where/knock"] {
            assert!(of(Path::new(name)).is_ok(), "{name}");
        }
        for name in [
            "", "Knock", "1a", "a--b", "-a", "a_b", "a-1", "a b", "test", "world", "ä", "..",
        ] {
            assert!(of(Path::new(name)).is_err(), "{name}");
        }
    }
}
