//! Parses durations and sizes with units (`1min 30s`, `64MiB`), with systemd's meaning of every unit.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::error::quoted;

/// A family of units: the sum of its parts is a whole number of the smallest one.
struct Units {
    what: &'static str,
    allowed: &'static str,
    /// Each unit in the smallest one. The empty unit is what a bare number means.
    factors: &'static [(&'static str, u64)],
}

/// systemd.time(7), "Parsing time spans", in microseconds. Months and years are left out: no
/// connection lasts that long, and `M` for months is one slip of the finger away from `m`.
const TIME: Units = Units {
    what: "duration",
    allowed: "us, ms, s, min, h, d, w; as in \"30s\" or \"1min 30s\"",
    factors: &[
        ("", 1_000_000),
        ("us", 1),
        ("µs", 1),
        ("usec", 1),
        ("ms", 1_000),
        ("msec", 1_000),
        ("s", 1_000_000),
        ("sec", 1_000_000),
        ("second", 1_000_000),
        ("seconds", 1_000_000),
        ("m", 60_000_000),
        ("min", 60_000_000),
        ("minute", 60_000_000),
        ("minutes", 60_000_000),
        ("h", 3_600_000_000),
        ("hr", 3_600_000_000),
        ("hour", 3_600_000_000),
        ("hours", 3_600_000_000),
        ("d", 86_400_000_000),
        ("day", 86_400_000_000),
        ("days", 86_400_000_000),
        ("w", 604_800_000_000),
        ("week", 604_800_000_000),
        ("weeks", 604_800_000_000),
    ],
};

/// `K`, `M`, `G` and `T` are powers of 1024, as in every size of a unit file. `KB`, `MB` and so on
/// are left out: half of their readers take them for powers of 1000.
const SIZE: Units = Units {
    what: "size",
    allowed: "B, KiB, MiB, GiB, TiB or K, M, G, T, all powers of 1024; as in \"64MiB\"",
    factors: &[
        ("", 1),
        ("B", 1),
        ("K", 1 << 10),
        ("KiB", 1 << 10),
        ("M", 1 << 20),
        ("MiB", 1 << 20),
        ("G", 1 << 30),
        ("GiB", 1 << 30),
        ("T", 1 << 40),
        ("TiB", 1 << 40),
    ],
};

/// Parses a time span as in systemd.time(7): `30s`, `500ms`, `1min 30s`; a bare number is seconds.
///
/// # Errors
/// A sentence fit for the user: what is wrong and what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    sum(text, &TIME).map(Duration::from_micros)
}

/// Parses an idle timeout: a duration, or `infinity` for never (`None`).
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_idle_timeout(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == "infinity" {
        return Ok(None);
    }
    let duration = parse_duration(text).map_err(|error| format!("{error}; or \"infinity\""))?;
    Ok(Some(duration))
}

/// Parses a size into bytes: `64MiB`, `64M`, `512KiB`, `1024`.
///
/// # Errors
/// A sentence fit for the user: what is wrong and what is allowed.
pub fn parse_size(text: &str) -> Result<u64, String> {
    sum(text, &SIZE)
}

/// Adds up parts such as `1min 30s`: a whole number and a unit each.
fn sum(text: &str, units: &Units) -> Result<u64, String> {
    let malformed = || {
        let (what, allowed) = (units.what, units.allowed);
        let text = quoted(text);
        format!("{text} is not a {what}: write whole numbers with units ({allowed})")
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_before(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_before(after.trim_start(), |c| c.is_ascii_digit() || c.is_whitespace());
        let known = units.factors.iter().find(|(name, _)| *name == unit);
        let (false, Some((_, factor))) = (number.is_empty(), known) else {
            return Err(malformed());
        };
        // Nothing but digits, so a number that does not parse is too large.
        let part = number.parse().ok().and_then(|n: u64| n.checked_mul(*factor));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{} is too large", quoted(text)))?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// `text` up to and from the first character that `ends` it.
fn split_before(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}
