//! Walking a parsed file and collecting what is wrong with it.
//!
//! A reader that meets an error tells it and goes on with nothing, so that one run finds them all.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::error::{ConfigError, Location};
use super::source::SourceFile;
use super::value::{Reading, wrong_type};

pub(super) type Key<'a> = Spanned<DeString<'a>>;
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// As many as anybody fixes in one go. More, such as from a wrong file given to `--config`, would
/// only flood the log, and the time to place them grows with their square.
const MAX_ERRORS: usize = 100;

pub(super) struct Checker<'a> {
    source: &'a SourceFile,
    errors: Vec<ConfigError>,
    /// The lines with a syntax error. The parser goes on behind one, so that the next is found
    /// too, but what else it saw in that line is a guess that nobody should read about.
    broken_lines: BTreeSet<usize>,
    /// The handler whose table is read.
    pub(super) handler: Option<String>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a SourceFile, syntax_errors: &[toml::de::Error]) -> Self {
        let mut checker = Checker {
            source,
            errors: Vec::new(),
            broken_lines: BTreeSet::new(),
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

    /// Everything that was told, by position.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|error| error.position);
        if self.errors.len() == MAX_ERRORS {
            let message = format!("{MAX_ERRORS} errors are shown (fix these to see the others)");
            let more = ConfigError::whole_file(&self.source.path, message);
            self.errors.push(more);
        }
        self.errors
    }

    pub(super) fn location(&self, key: &Key<'_>) -> Location {
        self.source.location(key.span().start)
    }

    /// Tells `message` about `span`, except on a line that is broken already.
    pub(super) fn error(&mut self, span: Range<usize>, message: String) {
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

    /// Stores what `read` makes of `value`, or tells what is wrong with it.
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

    /// What `read` makes of each element; those it cannot read are told and left out.
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

    /// `message` about the value of `key`.
    pub(super) fn wrong(&mut self, key: &Key<'_>, value: &Value<'_>, message: &str) {
        let name = key.get_ref().escape_debug();
        self.error(value.span(), format!("{name}: {message}"));
    }
}
