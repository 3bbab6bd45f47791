//! When what is made was made: `$SOURCE_DATE_EPOCH`, so that the same source makes the same bytes.

use std::time::{SystemTime, UNIX_EPOCH};

/// `$SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>), as RFC 3339; `None` if it is not set.
///
/// # Errors
/// When it is no number of seconds.
pub fn given() -> Result<Option<String>, String> {
    let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    let time = seconds.parse().ok().and_then(date);
    time.map(Some)
        .ok_or_else(|| format!("$SOURCE_DATE_EPOCH: {seconds:?} is no number of seconds since 1970"))
}

/// The date of what is made now, `YYYY-MM-DD`: that of `$SOURCE_DATE_EPOCH`, or today's.
///
/// # Errors
/// As [`given`].
pub fn day() -> Result<String, String> {
    let now = || {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        since_1970.and_then(|time| date(time.as_secs())).unwrap_or_default()
    };
    let mut date = given()?.unwrap_or_else(now);
    date.truncate("YYYY-MM-DD".len());
    Ok(date)
}

/// A time in seconds since 1970, in UTC; `None` from the year 10000 on.
fn date(seconds: u64) -> Option<String> {
    let (days, second) = (i64::try_from(seconds / 86_400).ok()?, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years that begin in March, in eras of 400.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year < 10_000).then(|| {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(seconds).as_deref(), Some(expected));
        }
        assert_eq!(date(253_402_300_800), None);
        assert_eq!(date(u64::MAX), None);
    }
}
