//! Who may send requests, and of which form they have to be, before their bodies are read.

use subtle::ConstantTimeEq;
use wstd::http::{HeaderMap, Method, StatusCode};

use crate::header;

/// The status of an answer without a body, and a header that explains it.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    pub header: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub fn of(status: StatusCode) -> Refusal {
        Refusal {
            status,
            header: None,
        }
    }

    fn with(status: StatusCode, name: &'static str, value: &'static str) -> Refusal {
        Refusal {
            header: Some((name, value)),
            ..Refusal::of(status)
        }
    }
}

/// Checks the head of a request. `value` looks up what the administrator has configured.
pub fn check(
    method: &Method,
    headers: &HeaderMap,
    value: impl Fn(&str) -> Result<Option<String>, ()>,
) -> Result<(), Refusal> {
    let unreadable = |()| Refusal::of(StatusCode::INTERNAL_SERVER_ERROR);
    // A browser names the site whose page makes it send a request, which need not be one of ours (DNS rebinding).
    let origin = header(headers, "origin");
    let origins = value("origins").map_err(unreadable)?.unwrap_or_default();
    if headers.contains_key("origin") && !origins.split_whitespace().any(|known| known == origin) {
        return Err(Refusal::of(StatusCode::FORBIDDEN));
    }
    if let Some(token) = value("token").map_err(unreadable)? {
        let sent = header(headers, "authorization")
            .split_once(' ')
            .unwrap_or_default();
        // Not `==`, which stops at the first difference: an attacker could measure how much of a guess was right.
        let is_known = sent.0.eq_ignore_ascii_case("bearer")
            && bool::from(token.as_bytes().ct_eq(sent.1.as_bytes()));
        if !is_known {
            return Err(Refusal::with(
                StatusCode::UNAUTHORIZED,
                "www-authenticate",
                "Bearer",
            ));
        }
    }
    // GET would open a stream of messages from the server, and DELETE end a session: there are none of either.
    if method != Method::POST {
        return Err(Refusal::with(
            StatusCode::METHOD_NOT_ALLOWED,
            "allow",
            "POST",
        ));
    }
    if !media_types(header(headers, "content-type"))
        .any(|media_type| media_type == "application/json")
    {
        return Err(Refusal::of(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let is_json =
        |media_type: String| matches!(&*media_type, "application/json" | "application/*" | "*/*");
    match media_types(header(headers, "accept")).any(is_json) {
        true => Ok(()),
        false => Err(Refusal::of(StatusCode::NOT_ACCEPTABLE)),
    }
}

/// The media types of a list, without their parameters.
fn media_types(list: &str) -> impl Iterator<Item = String> {
    let types = list.split(',').filter_map(|entry| entry.split(';').next());
    types.map(|media_type| media_type.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wstd::http::{HeaderName, HeaderValue};

    const SENT: [(&str, &str); 2] = [
        ("content-type", "application/json; charset=utf-8"),
        ("accept", "application/json, text/event-stream"),
    ];

    fn checked(
        method: &Method,
        lines: &[(&'static str, &'static str)],
        configured: &[(&str, &str)],
    ) -> u16 {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let headers = lines.iter().map(header).collect();
        let value = |key: &str| {
            let found = configured.iter().find(|(name, _)| *name == key);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        };
        check(method, &headers, value).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    fn sent(more: &[(&'static str, &'static str)], configured: &[(&str, &str)]) -> u16 {
        checked(&Method::POST, &[&SENT, more].concat(), configured)
    }

    #[test]
    fn a_client_without_the_token_is_refused() {
        let token = [("token", "s3cret")];
        assert_eq!(sent(&[], &[]), 200);
        assert_eq!(sent(&[("authorization", "Bearer s3cret")], &token), 200);
        assert_eq!(sent(&[("authorization", "bearer s3cret")], &token), 200);
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "s3cret",
        ] {
            assert_eq!(sent(&[("authorization", wrong)], &token), 401, "{wrong:?}");
        }
        assert_eq!(sent(&[], &token), 401);
        let unreadable = check(&Method::POST, &HeaderMap::new(), |_| Err(()));
        assert_eq!(
            unreadable,
            Err(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR))
        );
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let origins = [("origins", "https://a.example https://b.example")];
        assert_eq!(sent(&[("origin", "https://b.example")], &origins), 200);
        assert_eq!(sent(&[("origin", "https://c.example")], &origins), 403);
        assert_eq!(sent(&[("origin", "null")], &[]), 403);
        assert_eq!(sent(&[("origin", "")], &[]), 403);
    }

    #[test]
    fn what_is_no_json_by_post_is_refused() {
        assert_eq!(checked(&Method::GET, &SENT, &[]), 405);
        assert_eq!(checked(&Method::POST, &SENT[1..], &[]), 415);
        assert_eq!(
            checked(
                &Method::POST,
                &[SENT[0], ("accept", "text/event-stream")],
                &[]
            ),
            406
        );
        assert_eq!(
            checked(&Method::POST, &[SENT[0], ("accept", "*/*;q=0.1")], &[]),
            200
        );
    }
}
