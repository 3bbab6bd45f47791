//! Property tests: for any content of a file, the checker returns errors that can be displayed.

use proptest::prelude::*;

use super::super::ConfigErrors;
use super::tests::{ALL_KEYS, fresh, source};
use super::*;

/// Runs the checker the way `load` does and reads everything it says.
fn survives(text: &str) -> Result<(), TestCaseError> {
    for role in [Role::Main, Role::DropIn("a")] {
        let source = source(text);
        let errors = check(&source, role, &mut fresh());
        let positions: Vec<_> = errors.iter().map(|error| error.position).collect();
        prop_assert!(positions.iter().flatten().is_sorted());
        let last_line = source.position(text.len()).line;
        prop_assert!(positions.iter().flatten().all(|position| position.line <= last_line));
        let shown = ConfigErrors(errors).to_string();
        prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_the_checker_panic(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn no_text_of_toml_tokens_makes_the_checker_panic(
        tokens in prop::collection::vec(
            prop::sample::select(&[
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", "\"", "'", "'''", "#",
                " ", "\t", "\\", "\u{1b}", "\0", "ü", "host", "defaults", "handler", "a", "memory",
                "dirs", "env", "args", "guest", "allow-outbound", "keyvalue", "\"embedded\"", "\"1s\"", "1", "-1", "true",
                "0x", "1979-05-27", "inf", "\"\\u0000\"", "head-timeout", "max-head", "reuse",
                "forwarded-for", "\"trust\"", "listen", "\"7000\"", "\"unix:/x\"", "socket", "symlinks", "process",
                "\"connection\"", "schedule",
            ][..]),
            0..40,
        ),
    ) {
        survives(&tokens.concat())?;
    }

    #[test]
    fn no_change_of_a_valid_file_makes_the_checker_panic(
        at in 0..ALL_KEYS.len(),
        removed in 0_usize..30,
        inserted in "[\\PC\n\t\u{0}\u{1b}\u{feff}]{0,8}",
    ) {
        let end = (at + removed).min(ALL_KEYS.len());
        let text = format!("{}{inserted}{}", &ALL_KEYS[..at], &ALL_KEYS[end..]);
        survives(&text)?;
    }
}
