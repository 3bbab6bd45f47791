//! The promises, and what became of them. They stand in SPECIFICATION.md and nowhere else: what a
//! reader is told is what is checked.

use crate::Result;
use std::collections::BTreeMap;

/// A row of a table in SPECIFICATION.md whose first column is `promise`.
#[derive(Debug)]
pub struct Promise {
    pub what: String,
    /// The word after `ONLY=`, the last one above the table.
    pub chapter: String,
    pub at_least: bool,
    pub bound: f64,
    pub unit: String,
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Kept,
    Broken,
    /// Its chapter ran, but a peer was missing.
    NotMeasured,
    /// Its chapter was not asked for.
    NotAsked,
}

impl Promise {
    /// The row's promise, if it says one.
    fn read(row: &[&str], chapter: &str) -> Option<Self> {
        let [what, bound, ..] = row else { return None };
        let mut words = bound.splitn(3, ' ');
        let at_least = match words.next()? {
            "≤" => false,
            "≥" => true,
            _ => return None,
        };
        Some(Self {
            what: (*what).into(),
            chapter: chapter.into(),
            at_least,
            bound: words.next()?.replace(',', "").parse().ok()?,
            unit: words.next()?.into(),
        })
    }

    pub fn holds(&self, measured: f64) -> bool {
        if self.at_least {
            measured >= self.bound
        } else {
            measured <= self.bound
        }
    }

    /// Bytes and microseconds, in which everything is measured, in the unit of the bound.
    pub fn in_its_unit(&self, measured: f64) -> f64 {
        measured
            / match self.unit.split(' ').next() {
                Some("KiB") => 1024.0,
                Some("MiB") => 1_048_576.0,
                Some("MB") => 1e6,
                Some("ms") => 1000.0,
                _ => 1.0,
            }
    }

    /// How far it is from being broken, in per cent of the bound; less than nothing if it is.
    pub fn margin(&self, measured: f64) -> f64 {
        let share = 100.0 * (measured / self.bound - 1.0);
        if self.at_least { share } else { -share }
    }

    pub fn bound(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        format!("{sign} {} {}", number(self.bound), self.unit)
    }
}

/// As many digits as say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => {
            let text = format!("{value:.0}");
            format!("{},{}", &text[..text.len() - 3], &text[text.len() - 3..])
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size => {
            let text = if size >= 10.0 {
                format!("{value:.1}")
            } else {
                format!("{value:.2}")
            };
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
    }
}

/// The cells of a row of a table in Markdown; nothing for other lines.
fn cells(line: &str) -> Vec<&str> {
    let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
        return Vec::new();
    };
    row.split('|').map(str::trim).collect()
}

/// Visits every line of a specification, with its promise if there is one.
fn visit<'a>(text: &'a str, mut line_of: impl FnMut(&'a str, Option<Promise>)) {
    let (mut chapter, mut in_table) = (String::new(), false);
    for line in text.lines() {
        if let Some((_, rest)) = line.rsplit_once("ONLY=") {
            chapter = rest.chars().take_while(|c| c.is_alphabetic()).collect();
        }
        let row = cells(line);
        let heading = row.first() == Some(&"promise");
        in_table = heading || in_table && !row.is_empty();
        let promise = in_table.then(|| Promise::read(&row, &chapter)).flatten();
        line_of(line, promise);
    }
}

/// All promises of a specification, in its order.
pub fn read(text: &str) -> Vec<Promise> {
    let mut promises = Vec::new();
    visit(text, |_, promise| promises.extend(promise));
    promises
}

/// What was measured, by the names of the promises.
pub type Measured = BTreeMap<String, f64>;

/// The same specification with today's numbers in it.
pub fn with_measured(text: &str, measured: &Measured) -> String {
    let mut new = String::new();
    visit(text, |line, promise| {
        match promise.and_then(|promise| Some((*measured.get(&promise.what)?, promise))) {
            Some((value, promise)) => {
                let state = if promise.holds(value) { "met" } else { "**not met**" };
                let (what, bound) = (&promise.what, promise.bound());
                new += &format!("| {what} | {bound} | {} | {state} |", number(value));
            }
            None => new += line,
        }
        new.push('\n');
    });
    new
}

pub fn verdict(promise: &Promise, measured: &Measured, chapters: &[&str]) -> Verdict {
    match measured.get(&promise.what) {
        Some(value) if promise.holds(*value) => Verdict::Kept,
        Some(_) => Verdict::Broken,
        None if chapters.contains(&promise.chapter.as_str()) => Verdict::NotMeasured,
        None => Verdict::NotAsked,
    }
}

/// A promise that is broken, or of which nobody knows, is not kept. (Broken ones do not matter to a
/// quick run, whose numbers mean nothing.)
pub fn exit_code(verdicts: &[Verdict], smoke: bool) -> u8 {
    let bad = |verdict| matches!(verdict, &Verdict::Broken | &Verdict::NotMeasured);
    u8::from(!smoke && verdicts.iter().any(bad))
}

/// What a quick run fails for: not a number that is bad, but one that is none, or is missing although
/// no peer was.
pub fn check_instrument(promises: &[Promise], report: &Measured, skipped: &[&str]) -> Result<()> {
    for (what, value) in report {
        if !value.is_finite() {
            return Err(format!("{what}: {value} is no number").into());
        }
    }
    for Promise { what, chapter, .. } in promises {
        if !report.contains_key(what) && !skipped.contains(&chapter.as_str()) {
            return Err(format!("nothing measured \"{what}\", and no peer was missing").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CHAPTERS, SPECIFICATION};

    fn specification() -> String {
        std::fs::read_to_string(SPECIFICATION).unwrap()
    }

    const ONE: &str = "\
Measured by `make bench ONLY=cold`.

| promise | bound | measured | |
|---|---|---|---|
| first byte | ≤ 5 × static C | 4 | met |
| sockets | ≥ 10,000 sockets | 9,000 | **not met** |

| of something else | ≤ 3 apples | | |
";

    fn measured(first_byte: f64, sockets: f64) -> Measured {
        [("first byte".into(), first_byte), ("sockets".into(), sockets)].into()
    }

    fn verdicts(measured: &Measured, chapters: &[&str]) -> Vec<Verdict> {
        let promises = read(ONE);
        let each = promises.iter();
        each.map(|promise| verdict(promise, measured, chapters)).collect()
    }

    #[test]
    fn promises_are_read_out_of_tables_of_promises_only() {
        let promises = read(ONE);
        let [first, second] = promises.as_slice() else {
            panic!("{promises:?}")
        };
        assert_eq!((first.bound, first.at_least), (5.0, false));
        assert_eq!((first.unit.as_str(), first.chapter.as_str()), ("× static C", "cold"));
        assert_eq!((second.bound, second.at_least), (10_000.0, true));
    }

    #[test]
    fn a_broken_promise_ends_with_a_failure_and_kept_ones_do_not() {
        assert_eq!(exit_code(&verdicts(&measured(5.0, 1e4), &["cold"]), false), 0);
        assert_eq!(exit_code(&verdicts(&measured(5.1, 1e4), &["cold"]), false), 1);
        assert_eq!(exit_code(&verdicts(&measured(5.0, 9999.0), &["cold"]), false), 1);
    }

    #[test]
    fn a_promise_that_was_to_be_measured_and_was_not_is_a_failure() {
        let nothing = Measured::new();
        assert_eq!(exit_code(&verdicts(&nothing, &["cold"]), false), 1);
        assert_eq!(exit_code(&verdicts(&nothing, &["warm"]), false), 0);
    }

    #[test]
    fn a_quick_run_does_not_fail_for_bad_numbers_but_for_none() {
        assert_eq!(exit_code(&verdicts(&measured(99.0, 0.0), &["cold"]), true), 0);
        let promises = read(ONE);
        assert!(check_instrument(&promises, &measured(99.0, 0.0), &[]).is_ok());
        assert!(check_instrument(&promises, &measured(f64::NAN, 0.0), &[]).is_err());
        assert!(check_instrument(&promises, &measured(f64::INFINITY, 0.0), &[]).is_err());
        let one = Measured::from([("sockets".into(), 1.0)]);
        assert!(check_instrument(&promises, &one, &[]).is_err());
        assert!(check_instrument(&promises, &one, &["cold"]).is_ok());
    }

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        for (value, text) in [
            (0.0, "0"),
            (1.2, "1.2"),
            (0.456, "0.46"),
            (5.0, "5"),
            (-12.34, "-12.3"),
            (30.0, "30"),
            (99.97, "100"),
            (1234.5, "1234"),
            (123_456.0, "123,456"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn margins_are_what_is_left_of_a_bound() {
        let promises = read(ONE);
        assert_eq!(promises[0].margin(4.0).round(), 20.0);
        assert_eq!(promises[0].margin(6.0).round(), -20.0);
        assert_eq!(promises[1].margin(9000.0).round(), -10.0);
    }

    #[test]
    fn recorded_numbers_say_whether_the_promise_is_met() {
        let new = with_measured(ONE, &measured(6.0, 10_000.0));
        assert!(
            new.contains("| first byte | ≤ 5 × static C | 6 | **not met** |"),
            "{new}"
        );
        assert!(new.contains("| sockets | ≥ 10,000 sockets | 10,000 | met |"), "{new}");
        assert!(new.ends_with("| of something else | ≤ 3 apples | | |\n"), "{new}");
    }

    #[test]
    fn the_specification_promises_something_in_every_chapter() {
        let promises = read(&specification());
        for chapter in CHAPTERS {
            let of_it = |promise: &&Promise| promise.chapter == chapter.name;
            assert!(promises.iter().any(|p| of_it(&p)), "nothing in {}", chapter.name);
        }
        for Promise { what, chapter, .. } in &promises {
            assert!(
                CHAPTERS.iter().any(|known| known.name == chapter),
                "nobody measures {what}"
            );
            let same = promises.iter().filter(|other| other.what == *what);
            assert_eq!(same.count(), 1, "{what}");
        }
    }

    #[test]
    fn what_the_specification_says_is_met_is_met_by_what_it_says_was_measured() {
        let text = specification();
        let mut seen = 0;
        visit(&text, |line, promise| {
            let Some(promise) = promise else { return };
            let row = cells(line);
            let [_, bound, value, state] = row[..] else {
                panic!("four columns: {line}")
            };
            // Read and written again it is the same, so that nothing of it was overlooked.
            assert_eq!(bound, promise.bound(), "{line}");
            let value: f64 = value.replace(',', "").parse().unwrap_or_else(|_| panic!("{line}"));
            // What was rounded to the bound may have been on either side of it.
            if value != promise.bound {
                let expected = if promise.holds(value) { "met" } else { "**not met**" };
                assert_eq!(state, expected, "{line}");
            }
            seen += 1;
        });
        assert!(seen > 20, "{seen}");
    }
}
