//! Reads lines, does with a store what each says, and answers with a line: `VERSION COMMAND STORE ARGUMENT…`, where
//! VERSION is that of `wasi:keyvalue`: `1` for 0.2.0-draft, `2` for 0.2.0-draft2. Values are text.

mod draft;
mod draft2;

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "actor", generate_all });
}

use std::io::{BufRead, Write, stdin, stdout};

/// The answer to a command: what is told, or the error of the store.
type Answer = Result<String, String>;

fn main() {
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["ready"] => Ok("ready".to_owned()),
            ["1", command, store, arguments @ ..] => draft::act(command, store, arguments),
            ["2", command, store, arguments @ ..] => draft2::act(command, store, arguments),
            _ => Err(format!("what is {line:?}?")),
        };
        let text = answer.unwrap_or_else(|error| format!("error: {error}"));
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// `KEY=VALUE`
fn pairs(arguments: &[&str]) -> Vec<(String, Vec<u8>)> {
    let pairs = arguments.iter().filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|key| (*key).to_owned()).collect()
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map_or("none".to_owned(), |value| {
        format!("={}", String::from_utf8_lossy(&value))
    })
}

/// The value of `set-size`: so many bytes.
fn sized(size: &str) -> Vec<u8> {
    vec![b'x'; size.parse().unwrap_or(0)]
}
