//! What was asked for on the command line.

use crate::{CHAPTERS, Result};
use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "usage: wasm-sock-bench [--rounds NUMBER] [--only CHAPTER,…] [--smoke | --record] BUILD";

pub struct Options {
    /// The folder with the programs and guests.
    pub build: PathBuf,
    /// The chapters; all, if there are none.
    only: Vec<String>,
    pub effort: Effort,
    /// Whether SPECIFICATION.md and docs/bench get the numbers.
    pub record: bool,
}

/// How long and how often.
#[derive(Clone, Copy)]
pub struct Effort {
    /// How often each contender is started cold.
    pub rounds: usize,
    /// How often each contender is under load, and how long.
    pub turns: usize,
    pub turn: Duration,
    /// Clients that wait for an answer at the same time.
    pub clients: usize,
    /// Handlers in one service.
    pub handlers: &'static [usize],
    /// Connections that say nothing.
    pub idle: &'static [usize],
    /// Whether it is the instrument that is tried, not the host.
    pub smoke: bool,
    /// A chapter that takes longer hangs.
    pub chapter_at_most: Duration,
}

const FULL: Effort = Effort {
    rounds: 200,
    turns: 5,
    turn: Duration::from_secs(2),
    clients: 16,
    handlers: &[1, 10, 100, 1000],
    idle: &[0, 100, 1000, 10_000],
    smoke: false,
    chapter_at_most: Duration::from_secs(600),
};

const SMOKE: Effort = Effort {
    rounds: 3,
    turns: 1,
    turn: Duration::from_millis(200),
    handlers: &[1, 10],
    idle: &[0, 100],
    smoke: true,
    chapter_at_most: Duration::from_secs(120),
    ..FULL
};

impl Options {
    pub fn wants(&self, chapter: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == chapter)
    }
}

pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let (mut build, mut only, mut rounds) = (None, Vec::new(), None);
    let (mut effort, mut record) = (FULL, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--rounds" => rounds = Some(value()?.parse::<usize>()?.max(1)),
            "--only" => {
                let list = value()?;
                let names = list.split(',').filter(|name| !name.is_empty());
                only = names.map(String::from).collect();
            }
            "--smoke" => effort = SMOKE,
            "--record" => record = true,
            _ if argument.starts_with('-') || build.is_some() => return Err(USAGE.into()),
            _ => build = Some(argument.into()),
        }
    }
    let known = CHAPTERS.each_ref().map(|chapter| chapter.name);
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no chapter {unknown}, but {}", known.join(", ")).into());
    }
    effort.rounds = rounds.unwrap_or(effort.rounds);
    if record && effort.smoke {
        return Err("the numbers of a quick run are worth nothing".into());
    }
    Ok(Options {
        build: build.ok_or(USAGE)?,
        only,
        effort,
        record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(text: &str) -> Result<Options> {
        read(text.split(' ').map(String::from))
    }

    #[test]
    fn all_chapters_are_wanted_unless_some_are_named() {
        assert!(read_words("build").unwrap().wants("cold"));
        let options = read_words("--only warm,http --rounds 7 build").unwrap();
        assert!(options.wants("http") && !options.wants("cold"));
        assert_eq!(options.effort.rounds, 7);
        assert!(read_words("--only worm build").is_err());
    }

    #[test]
    fn a_quick_run_is_never_recorded() {
        assert!(read_words("--smoke --record build").is_err());
        assert!(read_words("--only").is_err());
        assert!(read_words("--rounds 3").is_err());
    }
}
