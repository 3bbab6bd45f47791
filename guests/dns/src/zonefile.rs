//! Reads zone files, in the format of RFC 1035, section 5.1: without `$INCLUDE`, and with the types
//! of records that [`Words::data`] lists.

use std::fmt::Display;
use std::str::FromStr;

use domain::base::iana::Class;
use domain::base::name::UncertainName;
use domain::base::{CharStr, Serial, ToName, Ttl};
use domain::rdata::rfc1035::TxtBuilder;
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Srv};

use crate::zone::{Data, Name, Record};

/// The records in a text, each with the number of its line, counted from 1. The error begins with
/// the number of a line as well.
pub fn read(text: &str) -> Result<Vec<(usize, Record)>, String> {
    let mut reader = Reader::default();
    let mut records = Vec::new();
    for entry in entries(text)? {
        let record = reader.read(&entry);
        let record = record.map_err(|error| format!("{}: {error}", entry.line))?;
        records.extend(record.map(|record| (entry.line, record)));
    }
    Ok(records)
}

/// One line of the file, or several that parentheses join.
struct Entry<'a> {
    line: usize,
    /// Whether the entry has no name of its own, but that of the entry before.
    is_indented: bool,
    words: Vec<&'a str>,
    in_parentheses: bool,
}

fn entries(text: &str) -> Result<Vec<Entry<'_>>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let unfinished = entries.pop_if(|entry| entry.in_parentheses);
        let mut entry = unfinished.unwrap_or(Entry {
            line: number,
            is_indented: line.starts_with([' ', '\t']),
            words: Vec::new(),
            in_parentheses: false,
        });
        let added = entry.add(line);
        added.map_err(|error| format!("{number}: {error}"))?;
        entries.push(entry);
    }
    if let Some(entry) = entries.last().filter(|entry| entry.in_parentheses) {
        return Err(format!("{}: this `(` has no `)`", entry.line));
    }
    entries.retain(|entry| !entry.words.is_empty());
    Ok(entries)
}

impl<'a> Entry<'a> {
    /// Splits a line into words. A quoted string is one word; comments are skipped.
    fn add(&mut self, line: &'a str) -> Result<(), String> {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            rest = match first {
                ';' => break,
                '(' | ')' => {
                    self.in_parentheses = first == '(';
                    &rest[1..]
                }
                '"' => {
                    let quoted = &rest[1..];
                    let end = find(quoted, |next| next == '"').ok_or("this `\"` has no other")?;
                    self.words.push(&quoted[..end]);
                    &quoted[end + 1..]
                }
                _ => {
                    let is_end = |next: char| next.is_whitespace() || "();\"".contains(next);
                    let (word, rest) = rest.split_at(find(rest, is_end).unwrap_or(rest.len()));
                    self.words.push(word);
                    rest
                }
            }
            .trim_start();
        }
        Ok(())
    }
}

/// The position of the first such character that is not escaped by a backslash.
fn find(text: &str, is_wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut is_escaped = false;
    text.find(|next| {
        let is_found = !is_escaped && is_wanted(next);
        is_escaped = !is_escaped && next == '\\';
        is_found
    })
}

/// What an entry may omit, because an entry before it has it.
#[derive(Default)]
struct Reader {
    origin: Option<Name>,
    ttl: Option<Ttl>,
    owner: Option<Name>,
}

impl Reader {
    /// `None` if the entry is a directive, which is about the entries after it.
    fn read(&mut self, entry: &Entry) -> Result<Option<Record>, String> {
        let mut words = Words {
            words: entry.words.iter(),
            origin: self.origin.clone(),
        };
        let directive = entry.words[0];
        if directive.starts_with('$') {
            words.next()?;
            match directive {
                "$ORIGIN" => self.origin = Some(words.name()?),
                "$TTL" => self.ttl = Some(words.ttl()?),
                _ => return Err(format!("{directive} is not supported")),
            }
            return words.end().map(|()| None);
        }
        if !entry.is_indented {
            self.owner = Some(words.name()?);
        }
        let owner = self.owner.clone().ok_or("there is no name before this")?;
        let record = words.record(owner, self.ttl)?;
        words.end().map(|()| Some(record))
    }
}

/// The rest of an entry that is not yet read.
struct Words<'a> {
    words: std::slice::Iter<'a, &'a str>,
    origin: Option<Name>,
}

impl<'a> Words<'a> {
    /// What follows the name: `[ttl] [IN] type data`, or `[IN] [ttl] type data`.
    fn record(&mut self, owner: Name, mut ttl: Option<Ttl>) -> Result<Record, String> {
        let rtype = loop {
            let word = self.next()?;
            if let Ok(seconds) = word.parse() {
                ttl = Some(Ttl::from_secs(seconds));
            } else if !word.eq_ignore_ascii_case("IN") {
                break word;
            }
        };
        let data = self.data(rtype)?;
        let ttl = ttl.ok_or("there is no TTL, neither here nor in a $TTL before")?;
        Ok(Record::new(owner, Class::IN, ttl, data))
    }

    fn data(&mut self, rtype: &str) -> Result<Data, String> {
        Ok(match rtype.to_ascii_uppercase().as_str() {
            "A" => A::new(self.parse()?).into(),
            "AAAA" => Aaaa::new(self.parse()?).into(),
            "CNAME" => Cname::new(self.name()?).into(),
            "MX" => Mx::new(self.parse()?, self.name()?).into(),
            "NS" => Ns::new(self.name()?).into(),
            "PTR" => Ptr::new(self.name()?).into(),
            "SOA" => Soa::new(
                self.name()?,
                self.name()?,
                Serial(self.parse()?),
                self.ttl()?,
                self.ttl()?,
                self.ttl()?,
                self.ttl()?,
            )
            .into(),
            "SRV" => Srv::new(self.parse()?, self.parse()?, self.parse()?, self.name()?).into(),
            "TXT" => self.text()?,
            _ => return Err(format!("records of type {rtype} are not supported")),
        })
    }

    /// One string or more, each of no more than 255 bytes.
    fn text(&mut self) -> Result<Data, String> {
        let mut text = TxtBuilder::<Vec<u8>>::new();
        loop {
            let string: CharStr<Vec<u8>> = self.parse()?;
            let added = text.append_charstr(&string);
            added.map_err(|error| error.to_string())?;
            if self.words.len() == 0 {
                let text = text.finish().map_err(|error| error.to_string())?;
                return Ok(text.into());
            }
        }
    }

    /// A name that does not end with a dot is relative to the origin, and `@` is the origin.
    fn name(&mut self) -> Result<Name, String> {
        let name = match self.next()? {
            "@" => UncertainName::empty_vec(),
            word => parse(word)?,
        };
        match (name, &self.origin) {
            (UncertainName::Absolute(name), _) => Ok(name),
            (UncertainName::Relative(name), Some(origin)) => match name.chain(origin) {
                Ok(name) => Ok(name.to_vec()),
                Err(error) => Err(error.to_string()),
            },
            _ => Err("there is no $ORIGIN before this name".into()),
        }
    }

    fn ttl(&mut self) -> Result<Ttl, String> {
        self.parse().map(Ttl::from_secs)
    }

    fn parse<T: FromStr<Err: Display>>(&mut self) -> Result<T, String> {
        parse(self.next()?)
    }

    fn next(&mut self) -> Result<&'a str, String> {
        let word = self.words.next();
        Ok(word.ok_or("something is missing at the end")?)
    }

    fn end(mut self) -> Result<(), String> {
        match self.words.next() {
            Some(word) => Err(format!("{word}: nothing more belongs here")),
            None => Ok(()),
        }
    }
}

fn parse<T: FromStr<Err: Display>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

#[cfg(test)]
mod tests;
