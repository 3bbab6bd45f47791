//! `config` and `secrets`: what a guest may ask for by name (`wasi:config`).

use std::path::PathBuf;
use std::sync::Arc;

/// Where a value of `config` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// The configuration has it.
    Text(Arc<str>),
    /// The absolute path of a file that has it. Not checked here: it need not exist yet.
    File(PathBuf),
}

/// The longest credential's name, in bytes: it is a file's name (`NAME_MAX`).
pub const MAX_CREDENTIAL: usize = 255;

/// The name of the credential (systemd.exec(5)) that has a secret of a handler: `HANDLER.SECRET`.
///
/// A service may serve several handlers, and has the credentials of all of them: the name tells whose each is. No
/// secret's name has a dot, so two handlers never have a credential in common.
///
/// Characters of the handler's name other than letters, digits, `-`, `_` and `.` are as in a URL (`%20`): systemd 257
/// starts no service with a credential that has a space in its name, and loses one with a backslash.
pub fn credential_name(handler: &str, secret: &str) -> String {
    let mut name = String::with_capacity(handler.len() + 1 + secret.len());
    for byte in handler.bytes() {
        match byte {
            b'-' | b'_' | b'.' => name.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => name.push(byte.into()),
            byte => name += &format!("%{byte:02X}"),
        }
    }
    name + "." + secret
}

/// Whether `name` can name a secret: a letter or digit, then also `-` and `_`; at most 64 characters.
pub fn valid_secret_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_handlers_have_a_credential_in_common() {
        // Where the handler's name ends is told by the last dot.
        assert_eq!(credential_name("a.b", "c"), "a.b.c");
        assert!(!valid_secret_name("b.c"));
        assert_eq!(credential_name("a b\\c", "d"), "a%20b%5Cc.d");
        assert_eq!(credential_name("a%20b", "c"), "a%2520b.c");
        for name in ["token", "API_KEY", "a", "7-x", &"x".repeat(64)] {
            assert!(valid_secret_name(name), "{name}");
        }
        for name in ["", ".", "..", "-x", "_x", "a/b", "a:b", "a b", "ä", &"x".repeat(65)] {
            assert!(!valid_secret_name(name), "{name}");
        }
    }
}
