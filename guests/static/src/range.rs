//! The range that a client asks for (RFC 9110, section 14).

use wstd::http::HeaderValue;

/// The part of a file that is to be sent.
#[derive(Debug, PartialEq)]
pub enum Asked {
    Whole,
    Part {
        first: u64,
        /// At least 1.
        length: u64,
    },
    /// It begins where the file has ended.
    Beyond,
}

/// What `Range` asks for of a file with `size` bytes. Several ranges in one request, other units and what is no range
/// are answered with the whole file, which is always right.
pub fn of(header: Option<&HeaderValue>, size: u64) -> Asked {
    let range = header.and_then(|header| parse(header.to_str().ok()?));
    match range {
        None => Asked::Whole,
        Some((Some(first), _)) if first >= size => Asked::Beyond,
        Some((Some(first), last)) => {
            let last = last.unwrap_or(u64::MAX).min(size - 1);
            let length = last - first + 1;
            Asked::Part { first, length }
        }
        // The last bytes, as many as there are.
        Some((None, Some(length))) if length > 0 && size > 0 => {
            let length = length.min(size);
            let first = size - length;
            Asked::Part { first, length }
        }
        Some((None, _)) => Asked::Beyond,
    }
}

/// `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH`.
fn parse(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = header.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text.is_empty() {
        true => Some(None),
        // `u64` would take a sign, too.
        false if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
        false => None,
    };
    let (first, last) = (number(first)?, number(last)?);
    let is_range = match (first, last) {
        (Some(first), Some(last)) => first <= last,
        (None, None) => false,
        _ => true,
    };
    (unit.eq_ignore_ascii_case("bytes") && is_range).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(header: &str, size: u64) -> Asked {
        of(Some(&HeaderValue::from_str(header).unwrap()), size)
    }

    #[test]
    fn a_range_is_cut_at_the_end_of_the_file() {
        let part = |first, length| Asked::Part { first, length };
        assert_eq!(asked("bytes=0-0", 10), part(0, 1));
        assert_eq!(asked("bytes=2-4", 10), part(2, 3));
        assert_eq!(asked("bytes=2-", 10), part(2, 8));
        assert_eq!(asked("bytes=2-99", 10), part(2, 8));
        assert_eq!(asked("Bytes=9-18446744073709551615", 10), part(9, 1));
        assert_eq!(asked("bytes=-3", 10), part(7, 3));
        assert_eq!(asked("bytes=-99", 10), part(0, 10));
    }

    #[test]
    fn a_range_behind_the_end_is_none() {
        for (header, size) in [
            ("bytes=10-", 10),
            ("bytes=10-12", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-1", 0),
        ] {
            assert_eq!(asked(header, size), Asked::Beyond, "{header}");
        }
    }

    #[test]
    fn what_is_not_one_range_is_answered_with_the_whole() {
        assert_eq!(of(None, 10), Asked::Whole);
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=4-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=99999999999999999999-",
            "bytes=0-1-2",
        ] {
            assert_eq!(asked(header, 10), Asked::Whole, "{header}");
        }
    }
}
