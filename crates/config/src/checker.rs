//! Walks a parsed configuration file and collects all errors.
//!
//! After an error the check continues without the value, so that one run finds all errors.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::error::{ConfigError, Location};
use super::source::SourceFile;
use super::value::{Reading, wrong_type};

pub(super) type Key<'a> = Spanned<DeString<'a>>;
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// The most errors that are reported. More, such as from a wrong file given to `--config`, would only fill the log,
/// and the time to sort them in grows with the square of their number.
const MAX_ERRORS: usize = 100;

pub(super) struct Checker<'a> {
    source: &'a SourceFile,
    errors: Vec<ConfigError>,
    /// The lines with a syntax error. The parser continues after it, so that the next one is found, too, but other
    /// errors in that line would be misleading.
    broken_lines: BTreeSet<usize>,
    /// All mistakes so far, also those that are not shown.
    mistakes: usize,
    /// The handler whose table is being read.
    pub(super) handler: Option<String>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a SourceFile, syntax_errors: &[toml::de::Error]) -> Self {
        let mut checker = Checker {
            source,
            errors: Vec::new(),
            broken_lines: BTreeSet::new(),
            mistakes: 0,
            handler: None,
        };
        for error in syntax_errors {
            let span = error.span().unwrap_or_default();
            let line = source.position(span.start).line;
            checker.error(span, format!("not valid TOML: {}", error.message()));
            checker.broken_lines.insert(line);
        }
        checker
    }

    /// All errors, sorted by position.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|error| error.position);
        if self.errors.len() == MAX_ERRORS {
            let message = format!("{MAX_ERRORS} errors are shown (fix these to see the others)");
            let more = ConfigError::whole_file(&self.source.path, message);
            self.errors.push(more);
        }
        self.errors
    }

    /// How many mistakes there are so far, shown or not.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes
    }

    /// Whether a line with a syntax error may hide settings other than numbers and words. In `memory = 64MiB` the
    /// quotes are missing, and the parser continues in the next line. After a bracket or a quote it may take the
    /// next settings for a part of this one.
    pub(super) fn syntax_may_hide(&self, harmless: &[&str]) -> bool {
        let mut lines = self.source.text.lines();
        let mut next = 1;
        self.broken_lines.iter().any(|&number| {
            let line = lines.nth(number - next).unwrap_or_default();
            next = number + 1;
            let Some((key, value)) = line.split_once('=') else {
                return true;
            };
            !harmless.contains(&key.trim()) || value.contains(['[', '{', '"', '\''])
        })
    }

    pub(super) fn location(&self, key: &Key<'_>) -> Location {
        self.source.location(key.span().start)
    }

    /// Reports `message` about `span`, except in a line with a syntax error.
    pub(super) fn error(&mut self, span: Range<usize>, message: String) {
        self.mistakes += 1;
        if self.errors.len() == MAX_ERRORS {
            return;
        }
        let line = self.source.position(span.start).line;
        if !self.broken_lines.contains(&line) {
            let mut error = self.source.error(span, message);
            error.handler = self.handler.clone();
            self.errors.push(error);
        }
    }

    /// Stores the result of `read` for `value`, or reports its error.
    pub(super) fn set<T>(
        &mut self,
        setting: &mut T,
        key: &Key<'_>,
        value: &Value<'_>,
        read: impl Fn(&DeValue<'_>) -> Reading<T>,
    ) {
        match read(value.get_ref()) {
            Ok(read) => *setting = read,
            Err(message) => self.wrong(key, value, &message),
        }
    }

    /// The results of `read` for all elements; errors are reported, and their elements left out.
    pub(super) fn list<T>(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        read: impl Fn(&DeValue<'_>) -> Reading<T>,
    ) -> Vec<T> {
        let mut list = Vec::new();
        for element in self.array(key, value) {
            match read(element.get_ref()) {
                Ok(read) => list.push(read),
                Err(message) => self.wrong(key, element, &message),
            }
        }
        list
    }

    /// As [`Checker::list`], with the place of each element, also of those with an error; one alone needs no brackets.
    pub(super) fn one_or_more<'v, 'i, T>(
        &mut self,
        key: &Key<'_>,
        value: &'v Value<'i>,
        read: impl Fn(&DeValue<'_>) -> Reading<T>,
    ) -> Vec<(&'v Value<'i>, Option<T>)> {
        let elements: &[Value<'i>] = match value.get_ref() {
            DeValue::Array(array) => array,
            _ => std::slice::from_ref(value),
        };
        let mut list = Vec::new();
        for element in elements {
            let read = read(element.get_ref()).map_err(|message| self.wrong(key, element, &message));
            list.push((element, read.ok()));
        }
        list
    }

    /// The elements of an array; none, and an error, if it is no array.
    pub(super) fn array<'v, 'i>(&mut self, key: &Key<'_>, value: &'v Value<'i>) -> &'v [Value<'i>] {
        if let DeValue::Array(array) = value.get_ref() {
            return array;
        }
        let message = wrong_type("an array", value.get_ref());
        self.wrong(key, value, &format!("{message} (put it in brackets: [...])"));
        &[]
    }

    /// The entries of a table; none, and an error, if it is no table.
    pub(super) fn table<'v, 'i>(
        &mut self,
        key: &Key<'_>,
        value: &'v Value<'i>,
    ) -> impl Iterator<Item = (&'v Key<'i>, &'v Value<'i>)> + use<'v, 'i> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(key, value, &wrong_type("a table", value.get_ref()));
        }
        table.into_iter().flatten()
    }

    /// Reports `message` about the value of `key`.
    pub(super) fn wrong(&mut self, key: &Key<'_>, value: &Value<'_>, message: &str) {
        let name = key.get_ref().escape_debug();
        self.error(value.span(), format!("{name}: {message}"));
    }
}
