//! Verifies that the sender of a request knows the secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether `signature`, the value of an `X-Hub-Signature-256` header, is that of `body`.
pub fn is_valid(signature: &str, secret: &str, body: &[u8]) -> bool {
    let Some(digits) = signature.strip_prefix("sha256=") else {
        return false;
    };
    let Ok(code) = hex::decode(digits) else {
        return false;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(body);
    // Not `==`, which stops at the first difference: an attacker could measure how much of a guess
    // was right.
    mac.verify_slice(&code).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    // The example in GitHub's documentation, "Validating webhook deliveries".
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const DIGITS: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_example_of_github_is_valid() {
        assert!(is_valid(&format!("sha256={DIGITS}"), SECRET, BODY));
    }

    #[test]
    fn another_body_or_secret_has_another_signature() {
        let signature = format!("sha256={DIGITS}");
        assert!(!is_valid(&signature, SECRET, b"Hello, World?"));
        assert!(!is_valid(&signature, "another secret", BODY));
        assert!(!is_valid(&signature, "", BODY));
    }

    #[test]
    fn what_is_no_whole_signature_is_refused() {
        let flipped = format!("sha256=6{}", &DIGITS[1..]);
        let half = format!("sha256={}", &DIGITS[..32]);
        let longer = format!("sha256={DIGITS}00");
        let sha1 = format!("sha1={DIGITS}");
        for signature in [
            "",
            "sha256=",
            "sha256=no",
            DIGITS,
            &flipped,
            &half,
            &longer,
            &sha1,
        ] {
            assert!(!is_valid(signature, SECRET, BODY), "{signature:?}");
        }
    }
}
