//! Times and sizes in a form that is short enough for a line.

use std::time::Duration;

/// `950 µs`, `1.2 ms`, `3.4 s`.
pub fn time(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1000 => format!("{micros} µs"),
        micros @ 1000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// `12 B`, `3.4 KiB`, `1.1 MiB`, `2.0 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{amount:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_unit_that_suits_them() {
        assert_eq!(time(Duration::from_micros(950)), "950 µs");
        assert_eq!(time(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(time(Duration::from_millis(61_000)), "61.0 s");
        assert_eq!(
            [0, 1023, 1536, 3 << 20].map(size),
            ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]
        );
    }
}
