//! A manual page, in the language of groff_man(7).

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A page: its text begins with the section NAME.
pub struct Page {
    name: String,
    section: u8,
    text: String,
}

impl Page {
    pub fn new(name: &str, section: u8, text: String) -> Self {
        Self {
            name: name.to_owned(),
            section,
            text,
        }
    }

    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The whole page. The date is `YYYY-MM-DD`.
    pub fn with_title(&self, date: &str) -> String {
        let section = self.section.to_string();
        let title = self.name.to_uppercase();
        let source = concat!("wasm-sock ", env!("CARGO_PKG_VERSION"));
        let mut head = Roff::new();
        head.control("TH", [title.as_str(), &section, date, source, "wasm-sock"]);
        format!("{}{}", head.to_roff(), ascii(&self.text))
    }
}

/// groff reads bytes, unless it is told otherwise: other characters are escaped (groff_char(7)).
fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii() {
            true => ascii.push(character),
            false => ascii.push_str(&format!("\\[u{:04X}]", u32::from(character))),
        }
    }
    ascii
}

/// A paragraph; what is between backticks is bold.
pub fn prose(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts
        .map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

/// Lines that stay as they are.
pub fn verbatim<'a>(roff: &mut Roff, lines: impl IntoIterator<Item = &'a str>) {
    roff.control("nf", []).control("RS", ["4"]);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("RE", []).control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_title_and_is_ascii() {
        let page = Page::new("wasm-sock-x", 1, "a\u{2026}\n".to_owned());
        assert_eq!(page.file_name(), "wasm-sock-x.1");
        let text = page.with_title("2030-01-31");
        assert!(text.starts_with(".TH WASM-SOCK-X 1 2030-01-31 \"wasm-sock "), "{text}");
        assert!(text.ends_with("a\\[u2026]\n"), "{text}");
    }

    #[test]
    fn what_is_between_backticks_is_bold() {
        assert_eq!(prose("`a` is b"), [bold("a"), roman(" is b")]);
    }
}
