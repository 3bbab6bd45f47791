use proptest::prelude::*;

use super::*;

fn seconds(text: &str) -> u64 {
    parse_duration(text).expect(text).as_secs()
}

#[test]
fn every_unit_of_time_means_what_it_means_in_systemd() {
    for (text, microseconds) in [
        ("3us", 3),
        ("3µs", 3),
        ("3usec", 3),
        ("500ms", 500_000),
        ("500msec", 500_000),
        ("30s", 30_000_000),
        ("30sec", 30_000_000),
        ("1second", 1_000_000),
        ("30 seconds", 30_000_000),
        ("2m", 120_000_000),
        ("5min", 300_000_000),
        ("1minute", 60_000_000),
        ("2minutes", 120_000_000),
        ("1h", 3_600_000_000),
        ("1hr", 3_600_000_000),
        ("1hour", 3_600_000_000),
        ("2hours", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("1day", 86_400_000_000),
        ("2days", 172_800_000_000),
        ("1w", 604_800_000_000),
        ("1week", 604_800_000_000),
        ("2weeks", 1_209_600_000_000),
    ] {
        let expected = Ok(Duration::from_micros(microseconds));
        assert_eq!(parse_duration(text), expected, "{text}");
    }
}

#[test]
fn a_bare_number_is_seconds_and_parts_add_up() {
    // All of these as `systemd-analyze timespan` reads them.
    assert_eq!(seconds("0"), 0);
    assert_eq!(seconds("90"), 90);
    assert_eq!(seconds("1min 30s"), 90);
    assert_eq!(seconds("1min30s"), 90);
    assert_eq!(seconds("1min30"), 90);
    assert_eq!(seconds("  2 h  "), 7200);
    assert_eq!(seconds("5 5"), 10);
}

#[test]
fn what_is_no_duration_is_refused_with_the_allowed_units() {
    for text in [
        "", " ", "s", "-1s", "+1s", "1.5s", "1_0", "5M", "1y", "30sek", "1hmin", "5 s s", "infinity", "1S", "0x10",
        "١s",
    ] {
        let error = parse_duration(text).expect_err(text);
        let expected = format!(
            "{text:?} is not a duration: write whole numbers with units \
             (us, ms, s, min, h, d, w; as in \"30s\" or \"1min 30s\")"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn an_idle_timeout_may_also_be_infinity() {
    assert_eq!(parse_idle_timeout("infinity"), Ok(None));
    assert_eq!(parse_idle_timeout("0"), Ok(Some(Duration::ZERO)));
    assert_eq!(parse_idle_timeout("1min"), Ok(Some(Duration::from_secs(60))));
    let error = parse_idle_timeout("never").expect_err("never");
    assert!(error.ends_with("; or \"infinity\""), "{error}");
}

#[test]
fn units_of_size_are_powers_of_1024() {
    for (text, bytes) in [
        ("1024", 1024),
        ("1024B", 1024),
        ("512K", 512 << 10),
        ("512KiB", 512 << 10),
        ("64M", 64 << 20),
        ("64 MiB", 64 << 20),
        ("1G", 1 << 30),
        ("1GiB", 1 << 30),
        ("2T", 2 << 40),
        ("2TiB", 2 << 40),
        ("1G 512M", (1 << 30) + (512 << 20)),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn an_ambiguous_or_unknown_size_is_refused() {
    for text in [
        "64MB", "64kB", "1GB", "64m", "64mib", "64Mi", "-1", "1.5G", "infinity", "",
    ] {
        let error = parse_size(text).expect_err(text);
        let expected = format!(
            "{text:?} is not a size: write whole numbers with units \
             (B, KiB, MiB, GiB, TiB or K, M, G, T, all powers of 1024; as in \"64MiB\")"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn what_does_not_fit_is_too_large_and_never_wraps() {
    for text in [
        "18446744073709551616us",
        "18446744073709551615s",
        "99999999999999999999999999",
        "18446744073709551615us 1us",
    ] {
        let expected = Err(format!("{text:?} is too large"));
        assert_eq!(parse_duration(text), expected);
    }
    assert_eq!(
        parse_duration("18446744073709551615us"),
        Ok(Duration::from_micros(u64::MAX))
    );
    let expected = Err("\"16777216T\" is too large".to_owned());
    assert_eq!(parse_size("16777216T"), expected);
}

/// The way systemd writes a time span: the largest units first.
fn written(mut microseconds: u64) -> String {
    let mut parts = Vec::new();
    for (unit, factor) in [
        ("w", 604_800_000_000),
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ] {
        if microseconds >= factor {
            parts.push(format!("{}{unit}", microseconds / factor));
            microseconds %= factor;
        }
    }
    if parts.is_empty() {
        parts.push("0".into());
    }
    parts.join(" ")
}

proptest! {
    #[test]
    fn a_duration_written_out_reads_back_the_same(microseconds: u64) {
        let text = written(microseconds);
        prop_assert_eq!(parse_duration(&text), Ok(Duration::from_micros(microseconds)));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = (parse_duration(&text), parse_idle_timeout(&text), parse_size(&text));
    }

    #[test]
    fn nothing_that_looks_like_a_quantity_makes_the_parsers_panic(
        text in "([0-9]{0,22} ?(us|µs|s|min|h|w|K|MiB|T|-|\\.)? ?){0,5}",
    ) {
        let _ = (parse_duration(&text), parse_idle_timeout(&text), parse_size(&text));
    }

    #[test]
    fn a_size_is_its_number_times_its_unit(number in 0..u64::from(u32::MAX), unit in 0..SIZE.factors.len()) {
        let (name, factor) = SIZE.factors[unit];
        let expected = number.checked_mul(factor);
        prop_assert_eq!(parse_size(&format!("{number}{name}")).ok(), expected);
    }
}
