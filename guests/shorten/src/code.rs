//! Codes: what stands for an address in a short link.

use sha2::{Digest, Sha256};

/// Digits and letters without those that look alike (Crockford's Base32).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How long a code is: 40 bits, so that one that was made up leads nowhere.
const SHORTEST: usize = 8;
const LONGEST: usize = 32;

/// The codes of an address, each longer than the one before: the beginnings of its SHA-256.
pub struct Codes {
    letters: String,
    length: usize,
}

impl Codes {
    pub fn of(url: &str) -> Codes {
        let digest = Sha256::digest(url);
        let letters = digest
            .iter()
            .map(|byte| LETTERS[usize::from(byte % 32)] as char);
        Codes {
            letters: letters.collect(),
            length: SHORTEST,
        }
    }
}

impl Iterator for Codes {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let code = self.letters.get(..self.length)?;
        self.length += 1;
        Some(code.to_owned())
    }
}

pub fn is_code(text: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| LETTERS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_same_codes_each_time_and_another_has_others() {
        let codes: Vec<String> = Codes::of("https://example.org/").collect();
        assert_eq!(codes.len(), LONGEST - SHORTEST + 1);
        assert!(codes.iter().all(|code| is_code(code)));
        assert!(codes[1].starts_with(&codes[0]) && codes[1].len() == codes[0].len() + 1);
        assert_eq!(
            Codes::of("https://example.org/").next().as_ref(),
            Some(&codes[0])
        );
        assert_ne!(
            Codes::of("https://example.com/").next().as_ref(),
            Some(&codes[0])
        );
    }

    #[test]
    fn what_is_no_code_is_not_looked_up() {
        for text in [
            "",
            "short",
            "favicon.ico",
            "ABCDEFGH",
            "abcdefgl",
            &"0".repeat(33),
        ] {
            assert!(!is_code(text), "{text}");
        }
    }
}
