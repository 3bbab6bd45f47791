//! `ETag` and `Last-Modified`, and the conditions of a request that refer to them (RFC 9110, section 13).

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::{fmt_http_date, parse_http_date};
use wstd::http::HeaderMap;

/// What tells one version of a file from another.
pub struct Validators {
    pub etag: String,
    /// `None`: the file system has no time for it.
    pub last_modified: Option<String>,
    modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Debug, PartialEq)]
pub enum Condition {
    Met,
    /// The client has this version.
    NotModified,
    /// The client wants another version.
    Failed,
}

impl Validators {
    pub fn of(metadata: &Metadata) -> Validators {
        // HTTP's dates are after 1970, and count whole seconds.
        let modified = metadata.modified().ok();
        let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        Validators::new(since, metadata.len())
    }

    fn new(modified: Option<Duration>, size: u64) -> Validators {
        let nanoseconds = modified.map_or(0, |modified| modified.as_nanos());
        let modified =
            modified.map(|modified| UNIX_EPOCH + Duration::from_secs(modified.as_secs()));
        Validators {
            etag: format!("\"{nanoseconds:x}-{size:x}\""),
            last_modified: modified.map(fmt_http_date),
            modified,
        }
    }

    /// Evaluates the conditions, in the order of section 13.2.2.
    pub fn condition(&self, headers: &HeaderMap) -> Condition {
        let is_expected = match text(headers, "if-match") {
            Some(tags) => self.is_among(tags, false),
            None => {
                date(headers, "if-unmodified-since").is_none_or(|date| !self.is_newer_than(date))
            }
        };
        let is_known = match text(headers, "if-none-match") {
            Some(tags) => self.is_among(tags, true),
            None => {
                date(headers, "if-modified-since").is_some_and(|date| !self.is_newer_than(date))
            }
        };
        match (is_expected, is_known) {
            (false, _) => Condition::Failed,
            (true, true) => Condition::NotModified,
            (true, false) => Condition::Met,
        }
    }

    /// Whether a part may be sent: without `If-Range`, or if what the client has is of this version.
    pub fn allow_range(&self, headers: &HeaderMap) -> bool {
        text(headers, "if-range").is_none_or(|version| {
            version == self.etag || self.last_modified.as_deref() == Some(version)
        })
    }

    fn is_newer_than(&self, date: SystemTime) -> bool {
        self.modified.is_none_or(|modified| modified > date)
    }

    /// Whether a list has this version, or is `*`. `weak`: a tag that is marked as weak will do.
    fn is_among(&self, tags: &str, weak: bool) -> bool {
        let same = |tag: &str| {
            let tag = tag.trim();
            tag == self.etag || weak && tag.strip_prefix("W/") == Some(&self.etag)
        };
        // No tag of ours has a comma in it.
        tags.trim() == "*" || tags.split(',').any(same)
    }
}

/// A header as text. One that is none, such as a tag of another server, is no version of ours.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().unwrap_or_default())
}

/// A date that cannot be read is ignored.
fn date(headers: &HeaderMap, name: &str) -> Option<SystemTime> {
    parse_http_date(text(headers, name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wstd::http::{HeaderName, HeaderValue};

    const DATE: &str = "Thu, 01 Jan 1970 00:01:40 GMT";
    const BEFORE: &str = "Thu, 01 Jan 1970 00:01:39 GMT";

    fn validators() -> Validators {
        Validators::new(Some(Duration::from_millis(100_500)), 255)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn condition(lines: &[(&'static str, &str)]) -> Condition {
        validators().condition(&headers(lines))
    }

    #[test]
    fn a_version_is_a_time_and_a_size() {
        let validators = validators();
        assert_eq!(validators.etag, "\"1766444d00-ff\"");
        assert_eq!(validators.last_modified.as_deref(), Some(DATE));
    }

    #[test]
    fn a_client_with_this_version_gets_no_other() {
        let etag = &*validators().etag;
        let weak = format!("W/{etag}");
        let list = format!("\"x\", {etag}");
        for tag in [etag, &weak, &list, "*"] {
            assert_eq!(
                condition(&[("if-none-match", tag)]),
                Condition::NotModified,
                "{tag}"
            );
        }
        assert_eq!(
            condition(&[("if-modified-since", DATE)]),
            Condition::NotModified
        );
        for (name, value) in [
            ("if-none-match", "\"x\""),
            ("if-modified-since", BEFORE),
            ("if-modified-since", "today"),
        ] {
            assert_eq!(
                condition(&[(name, value)]),
                Condition::Met,
                "{name}: {value}"
            );
        }
        // A tag counts more than a date.
        assert_eq!(
            condition(&[("if-none-match", "\"x\""), ("if-modified-since", DATE)]),
            Condition::Met
        );
    }

    #[test]
    fn a_client_that_wants_another_version_is_refused() {
        let etag = &*validators().etag;
        let weak = format!("W/{etag}");
        assert_eq!(condition(&[("if-match", etag)]), Condition::Met);
        assert_eq!(condition(&[("if-match", "*")]), Condition::Met);
        assert_eq!(condition(&[("if-unmodified-since", DATE)]), Condition::Met);
        for (name, value) in [
            ("if-match", "\"x\""),
            ("if-match", &weak),
            ("if-unmodified-since", BEFORE),
        ] {
            assert_eq!(
                condition(&[(name, value)]),
                Condition::Failed,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn a_part_is_of_the_version_that_the_client_has() {
        let etag = &*validators().etag;
        let weak = format!("W/{etag}");
        let allows = |version: &str| validators().allow_range(&headers(&[("if-range", version)]));
        assert!(validators().allow_range(&HeaderMap::new()));
        assert!(allows(etag) && allows(DATE));
        assert!(!allows("\"x\"") && !allows(BEFORE) && !allows(&weak));
    }
}
