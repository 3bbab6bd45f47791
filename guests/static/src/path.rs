//! From the path of a URL to that of a file.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use wstd::http::StatusCode;

/// Why a client gets an error instead of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    Malformed,
    NotFound,
    Method,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Refusal::Malformed => "This is not a path.\n",
            Refusal::NotFound => "There is nothing by this name here.\n",
            Refusal::Method => "Only GET and HEAD.\n",
        }
    }
}

/// What a URL names.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub path: PathBuf,
    /// It ends with a slash.
    pub is_directory: bool,
}

/// Resolves the path of a URL below `root`.
///
/// The names in it are decoded one by one, so that an encoded slash is never taken for one. A name that begins with a
/// dot is refused: `.` and `..`, and hidden files such as `.git`. The exception is `/.well-known/` (RFC 8615), where
/// certificate authorities and others look for files.
pub fn resolve(root: &Path, url: &str) -> Result<Target, Refusal> {
    let names = url.strip_prefix('/').ok_or(Refusal::Malformed)?;
    let (names, is_directory) = match names.strip_suffix('/') {
        Some(names) => (names, true),
        None => (names, names.is_empty()),
    };
    let mut path = root.to_owned();
    if url == "/" {
        return Ok(Target { path, is_directory });
    }
    for (depth, name) in names.split('/').enumerate() {
        let name = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_| Refusal::Malformed)?;
        if name.contains(char::is_control) {
            return Err(Refusal::Malformed);
        }
        let is_well_known = depth == 0 && name == ".well-known";
        if name.is_empty() || name.contains('/') || name.starts_with('.') && !is_well_known {
            return Err(Refusal::NotFound);
        }
        path.push(&*name);
    }
    Ok(Target { path, is_directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(url: &str) -> Result<(String, bool), Refusal> {
        let target = resolve(Path::new("/data"), url)?;
        Ok((target.path.display().to_string(), target.is_directory))
    }

    #[test]
    fn names_are_decoded() {
        let file = |path: &str| Ok((path.to_owned(), false));
        assert_eq!(resolved("/a/b.txt"), file("/data/a/b.txt"));
        assert_eq!(resolved("/a%20b/%C3%A4"), file("/data/a b/ä"));
        assert_eq!(resolved("/100%"), file("/data/100%"));
        assert_eq!(resolved("/"), Ok(("/data".into(), true)));
        assert_eq!(resolved("/a/"), Ok(("/data/a".into(), true)));
        assert_eq!(
            resolved("/.well-known/security.txt"),
            file("/data/.well-known/security.txt")
        );
    }

    #[test]
    fn nothing_leads_out_of_the_directory_or_to_a_hidden_file() {
        for url in [
            "/..",
            "/../x",
            "/a/../b",
            "/%2e%2e/x",
            "/.",
            "/a/./b",
            "/.git/config",
            "/a/.env",
            "/%2egit",
            "//",
            "//x",
            "/a//b",
            "/a%2fb",
            "/..%2fx",
            "/a/.well-known/x",
            "/.well-known/.x",
        ] {
            assert_eq!(resolved(url), Err(Refusal::NotFound), "{url}");
        }
        for url in ["", "a", "*", "/%00", "/a%0ab", "/%ff", "/%7f"] {
            assert_eq!(resolved(url), Err(Refusal::Malformed), "{url}");
        }
    }
}
