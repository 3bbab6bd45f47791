//! wasm-sock.toml(5): the text of `man/wasm-sock.toml.5`, in which a line `.\" SETTINGS TABLE` stands for the settings
//! of a table.

use super::page::prose;
use clap_mangen::roff::{Roff, bold, italic, roman};
use wasm_sock_config::settings::{CONFIG_FILE, DEFAULTS, DIR, HANDLER, HOST, Kind, OUTBOUND, SOCKET, STORE, Setting};

const FRAME: &str = include_str!("../../man/wasm-sock.toml.5");
const PLACE: &str = ".\\\" SETTINGS ";

/// The tables of the settings by their names in the page.
const TABLES: [(&str, &[Setting]); 8] = [
    ("host", HOST),
    ("defaults", DEFAULTS),
    ("handler", HANDLER),
    ("dirs", DIR),
    ("outbound", OUTBOUND),
    ("keyvalue", STORE),
    ("config", CONFIG_FILE),
    ("socket", SOCKET),
];

pub fn text() -> String {
    let mut text = String::new();
    for line in FRAME.lines() {
        let table = line.strip_prefix(PLACE);
        match table.and_then(|table| TABLES.iter().find(|(name, _)| *name == table)) {
            Some((_, settings)) => text.push_str(&list(settings)),
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn list(settings: &[Setting]) -> String {
    let mut list = Roff::new();
    for setting in settings {
        list.control("TP", []);
        let mut head = vec![bold(setting.key), roman(" = "), italic(kind(&setting.kind))];
        if let Some(default) = setting.default {
            head.extend([roman("  [default: "), roman(default), roman("]")]);
        }
        list.text(head);
        list.text(prose(setting.meaning));
    }
    list.to_roff()
}

/// What can be the value, in words.
fn kind(kind: &Kind) -> String {
    let or_infinity = |text: &str, infinity: bool| match infinity {
        true => format!("{text}, or \"infinity\""),
        false => text.to_owned(),
    };
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Count { infinity } => or_infinity("a number from 1", *infinity),
        Kind::Time { zero, infinity } => or_infinity(if *zero { "time" } else { "time, not 0" }, *infinity),
        Kind::Size { least, most, infinity } => {
            let range = match (*least, *most) {
                (0 | 1, u64::MAX) => String::new(),
                (least, u64::MAX) => format!(" from {}", size(least)),
                (least, most) => format!(" from {} to {}", size(least), size(most)),
            };
            or_infinity(&format!("size{range}"), *infinity)
        }
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            words.join(", ")
        }
        Kind::Text { what, .. } => (*what).to_owned(),
        Kind::Mode => "an octal number".to_owned(),
        Kind::List(element) => format!("[ {}, ... ]", self::kind(element)),
        Kind::OneOrMore(element) => format!("{}, or [ several ]", self::kind(element)),
        Kind::Table(settings, _) => {
            let keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        Kind::Names(_, value) => format!("{{ NAME = {}, ... }}", self::kind(value)),
        Kind::Either(one, other) => format!("{}, or {}", self::kind(one), self::kind(other)),
    }
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_setting() {
        let text = text();
        assert!(!text.contains(PLACE), "a table that is not there");
        for (table, settings) in TABLES {
            assert!(FRAME.contains(&format!("{PLACE}{table}\n")), "{table}");
            for setting in settings {
                let key = setting.key.replace('-', "\\-");
                assert!(text.contains(&format!("\\fB{key}\\fR = ")), "{key}: {text}");
            }
        }
    }

    #[test]
    fn values_are_told_in_words() {
        assert_eq!(size(1), "1B");
        assert_eq!(size(65_536), "64KiB");
        assert_eq!(size(4 << 30), "4GiB");
        let bound = Kind::Count { infinity: true };
        assert_eq!(kind(&bound), "a number from 1, or \"infinity\"");
        assert_eq!(kind(&Kind::List(&Kind::Boolean)), "[ true or false, ... ]");
    }
}
