//! The parts of an event that are read. GitHub sends far more: other fields are ignored.

use serde::Deserialize;
use serde_json::{Result, Value, json};

#[derive(Deserialize)]
struct Payload {
    action: Option<String>,
    repository: Option<Repository>,
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct Sender {
    login: String,
}

/// A summary of the event `name` (from `X-GitHub-Event`) with this body. Replace it with your own
/// code.
pub fn summary(name: &str, body: &[u8]) -> Result<Value> {
    let payload: Payload = serde_json::from_slice(body)?;
    let mut summary = json!({
        "event": name,
        "action": payload.action,
        "repository": payload.repository.map(|it| it.full_name),
        "sender": payload.sender.map(|it| it.login),
    });
    // GitHub sends it once, when the webhook is created.
    if name == "ping" {
        summary["answer"] = "pong".into();
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::summary;
    use serde_json::json;

    #[test]
    fn an_event_is_told_by_what_who_and_where() {
        let body = json!({
            "action": "opened",
            "issue": { "number": 1 },
            "repository": { "id": 1_296_269, "full_name": "octocat/Hello-World" },
            "sender": { "login": "octocat", "type": "User" },
        });
        assert_eq!(
            summary("issues", body.to_string().as_bytes()).unwrap(),
            json!({
                "event": "issues",
                "action": "opened",
                "repository": "octocat/Hello-World",
                "sender": "octocat",
            })
        );
    }

    #[test]
    fn a_ping_is_answered_with_pong() {
        assert_eq!(summary("ping", b"{}").unwrap()["answer"], "pong");
    }

    #[test]
    fn what_is_no_json_object_is_no_event() {
        for body in ["", "{", "[]", "\"push\"", r#"{"sender": 1}"#] {
            assert!(summary("push", body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
