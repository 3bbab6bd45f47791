//! The API of the chat service.

use std::time::Duration;

use serde_json::json;
use wstd::http::{Client, Error, Request, StatusCode};

/// How long the API may take to connect and to answer. Together they are less than a claim lasts (`chat.rs`).
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

pub struct Api {
    pub base: String,
    pub token: String,
}

#[derive(Debug, PartialEq)]
pub enum Delivery {
    Done,
    /// It will not take this message, however often it is sent.
    Refused(StatusCode),
}

impl Api {
    /// Sends a text to a chat. An error means: not now, perhaps later.
    pub async fn send_message(&self, chat: i64, text: &str) -> Result<Delivery, Error> {
        let body = json!({ "chat_id": chat, "text": text }).to_string();
        // The address has the token in it. It is never logged, and nor is an error that could show it.
        let request = Request::post(self.url("sendMessage"))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(body)
            .map_err(|_| Error::msg("`api` and `token` make no valid URL"))?;
        let mut client = Client::new();
        client.set_connect_timeout(CONNECT);
        client.set_first_byte_timeout(ANSWER);
        let response = client.send(request).await?;
        outcome(response.status())
    }

    fn url(&self, method: &str) -> String {
        let base = self.base.trim_end_matches('/');
        format!("{base}/bot{}/{method}", self.token)
    }
}

fn outcome(status: StatusCode) -> Result<Delivery, Error> {
    match status {
        StatusCode::OK => Ok(Delivery::Done),
        // "chat not found", "bot was blocked by the user"
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => Ok(Delivery::Refused(status)),
        // Too many messages (429), a fault of the service, or a wrong token (401, 404), which the administrator
        // can mend.
        _ => Err(Error::msg(format!("the API answers {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_a_part_of_the_address() {
        for base in ["https://api.example", "https://api.example/"] {
            let (base, token) = (base.to_owned(), "1:a".to_owned());
            let url = Api { base, token }.url("sendMessage");
            assert_eq!(url, "https://api.example/bot1:a/sendMessage");
        }
    }

    #[test]
    fn only_what_can_succeed_later_is_repeated() {
        let of = |code: u16| outcome(StatusCode::from_u16(code).unwrap()).ok();
        assert_eq!(of(200), Some(Delivery::Done));
        assert_eq!(of(403), Some(Delivery::Refused(StatusCode::FORBIDDEN)));
        for later in [302, 401, 404, 429, 500, 502] {
            assert_eq!(of(later), None, "{later}");
        }
    }
}
