//! Sends the date and time in UTC, in one line, and closes the connection (RFC 867).

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn main() -> io::Result<()> {
    // A clock that is set before 1970 counts as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    io::stdout().write_all(daytime(seconds).as_bytes())
}

/// The line for a time in seconds since 1970, in the format that RFC 867 suggests.
fn daytime(seconds: u64) -> String {
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let weekday = WEEKDAYS[((days + 4) % 7) as usize]; // 1970 began on a Thursday
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{weekday}, {month} {day}, {year} {hour:02}:{minute:02}:{second:02}-UTC\r\n")
}

/// Days since 1970 → year, month 1–12, day 1–31, in the Gregorian calendar.
///
/// Counts in years that begin on 1 March, so that a leap day is the last of its year, and in
/// eras of 400 years, after which the calendar repeats (H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`).
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const FROM_YEAR_0_TO_1970: u64 = 719_468;

    let days = days + FROM_YEAR_0_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{civil_date, daytime};

    #[test]
    fn a_moment_is_told_as_rfc_867_suggests() {
        assert_eq!(daytime(0), "Thursday, January 1, 1970 00:00:00-UTC\r\n");
        assert_eq!(
            daytime(1_795_361_322),
            "Sunday, November 22, 2026 15:28:42-UTC\r\n"
        );
    }

    #[test]
    fn leap_days_come_every_fourth_year_but_not_in_2100() {
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(11_017), (2000, 3, 1));
        assert_eq!(civil_date(47_540), (2100, 2, 28));
        assert_eq!(civil_date(47_541), (2100, 3, 1));
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = civil_date(0);
        for days in 1..146_097 {
            let (year, month, day) = civil_date(days);
            let next_day = (year, month, day) == (before.0, before.1, before.2 + 1);
            let next_month = (year, month, day) == (before.0, before.1 + 1, 1);
            let next_year = (year, month, day) == (before.0 + 1, 1, 1) && before.1 == 12;
            assert!(
                next_day || next_month || next_year,
                "{before:?} before {:?}",
                (year, month, day)
            );
            before = (year, month, day);
        }
    }
}
