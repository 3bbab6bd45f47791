//! Answers each line, `VERSION get KEY` or `VERSION get-all`, with what that version of `wasi:config` says.

use std::io::{self, BufRead, Write};

wit_bindgen::generate!({ path: "wit", world: "actor", generate_all });

/// `get` and `get-all` of one version, as lines.
macro_rules! ask {
    ($interface:path, $question:expr) => {{
        use $interface as config;
        match $question {
            ["get", key] => match config::get(key) {
                Ok(Some(value)) => format!("value {value:?}\n"),
                Ok(None) => "none\n".to_owned(),
                Err(error) => format!("{error:?}\n"),
            },
            _ => match config::get_all() {
                Ok(all) => format!("{all:?}\n"),
                Err(error) => format!("{error:?}\n"),
            },
        }
    }};
}

fn main() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["rc.1", question @ ..] => ask!(crate::wasi::config0_2_0_rc_1::store, question),
            ["2024-09-27", question @ ..] => ask!(crate::wasi::config0_2_0_draft_2024_09_27::store, question),
            ["draft", question @ ..] => ask!(crate::wasi::config0_2_0_draft::store, question),
            ["runtime", question @ ..] => ask!(crate::wasi::config0_2_0_draft::runtime, question),
            _ => "?\n".to_owned(),
        };
        io::stdout().write_all(answer.as_bytes())?;
    }
    Ok(())
}
