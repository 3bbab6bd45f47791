//! A chat bot that keeps a to-do list for each chat. The chat service calls it (a webhook) with each message, and it
//! answers through the service's HTTPS API. Both are as Telegram has them: https://core.telegram.org/bots/api
//!
//! The service repeats an update (a message, with a number) until it gets status 2xx. So the status is 200 only when
//! the update is on the disk and its answer was sent; whatever fails before that is made good by the repetition. An update changes a
//! list once. Its answer may be sent twice, if the connection to the API breaks before the API has confirmed it: the API
//! has no means to tell.
//!
//! From `wasi:config`: `webhook-secret` is what the service sends with each update (`secret_token` of `setWebhook`),
//! `token` is what the bot calls the API with; both are secrets. `api` is where the API is, if not at Telegram. The
//! lists are in the key-value store `default`.

mod api;
mod chat;
mod chats;
mod todo;

use std::time::{SystemTime, UNIX_EPOCH};

use api::{Api, Delivery};
use chat::Step;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use wstd::http::body::util::{BodyExt, Empty, LengthLimitError, Limited};
use wstd::http::body::{Body, Bytes};
use wstd::http::{Error, HeaderMap, Method, Request, Response, StatusCode};

wit_bindgen::generate!({ path: "wit", world: "keeping", generate_all });

/// The largest update, in bytes, because all of it is held in memory. A message has up to 4096 characters.
const MAX_BODY: usize = 256 * 1024;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if request.method() != Method::POST {
        // The answer to HEAD has no body: writing one can fail, even the body of zero bytes that
        // `Body::empty()` is.
        let nothing = Body::from_http_body(Empty::<Bytes>::new());
        let response = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED);
        return Ok(response.header("allow", "POST").body(nothing)?);
    }
    let (status, text) = match receive(request).await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(refusal) => refusal,
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", text.len());
    Ok(response.body(text.into())?)
}

/// Why an update is not accepted: the status and the text of the answer.
type Refusal = (StatusCode, &'static str);

async fn receive(request: Request<Body>) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    // Without a secret, all the world could write to the lists: no update is accepted then.
    let secret = configured("webhook-secret")?.ok_or_else(|| missing("webhook-secret"))?;
    if !is_secret(&head.headers, &secret) {
        return Err((StatusCode::UNAUTHORIZED, "not the secret of this webhook\n"));
    }
    let api = Api {
        base: configured("api")?.unwrap_or_else(|| "https://api.telegram.org".to_owned()),
        token: configured("token")?.ok_or_else(|| missing("token"))?,
    };
    let body = read(body).await?;
    let update: Update = serde_json::from_slice(&body)
        .map_err(|_| (StatusCode::BAD_REQUEST, "not the JSON of an update\n"))?;
    match update.message {
        Some(Message {
            chat,
            text: Some(text),
        }) => handle(&api, chat.id, update.update_id, &text).await,
        // A picture, or a new member: there is nothing to do, and no need to repeat it.
        _ => Ok(()),
    }
}

/// Changes the list of a chat as the text says, and answers in the chat.
async fn handle(api: &Api, chat: i64, update: i64, text: &str) -> Result<(), Refusal> {
    let step = chats::change(chat, |state| state.begin(update, text, now()));
    let answer = match step.map_err(unavailable)? {
        Step::Send(answer) => answer,
        Step::Nothing => return Ok(()),
        Step::Later => return Err((StatusCode::SERVICE_UNAVAILABLE, "being handled\n")),
    };
    let delivery = api.send_message(chat, &answer).await;
    let noted = chats::change(chat, |state| match delivery {
        Ok(Delivery::Done | Delivery::Refused(_)) => state.sent(update),
        Err(_) => state.release(update),
    });
    // No reason for another status: if the answer was sent, a repetition would send it twice; if it was not, the
    // claim ends by itself.
    if let Err(error) = noted {
        eprintln!("update {update}: {error:?}");
    }
    match delivery {
        Ok(Delivery::Done) => Ok(()),
        // A repetition would be refused as well, for example because the user has blocked the bot.
        Ok(Delivery::Refused(status)) => {
            eprintln!("update {update}: the API refuses the answer: {status}");
            Ok(())
        }
        Err(error) => Err(unavailable(error)),
    }
}

/// What is needed of an update; the service sends more.
#[derive(Deserialize)]
struct Update {
    update_id: i64,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    chat: ChatId,
    text: Option<String>,
}

#[derive(Deserialize)]
struct ChatId {
    id: i64,
}

fn is_secret(headers: &HeaderMap, secret: &str) -> bool {
    let sent = headers.get("x-telegram-bot-api-secret-token");
    // Not `==`, which stops at the first difference: an attacker could measure how much of a guess was right.
    sent.is_some_and(|sent| bool::from(sent.as_bytes().ct_eq(secret.as_bytes())))
}

/// A value of the handler's `config` or `secrets`; an empty one is none.
fn configured(key: &str) -> Result<Option<String>, Refusal> {
    let value = wasi::config::store::get(key).map_err(unavailable)?;
    Ok(value.filter(|value| !value.is_empty()))
}

fn missing(key: &str) -> Refusal {
    eprintln!("`{key}` is not set: add it to `secrets` and to the service's credentials");
    (StatusCode::INTERNAL_SERVER_ERROR, "not configured\n")
}

/// Tells the log what went wrong, and the service to repeat the update.
fn unavailable(error: impl std::fmt::Debug) -> Refusal {
    eprintln!("{error:?}");
    (StatusCode::SERVICE_UNAVAILABLE, "try again\n")
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let body = Limited::new(body.into_boxed_body(), MAX_BODY).collect();
    match body.await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "more than 256 KiB\n"))
        }
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body broke off\n")),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wstd::http::{HeaderName, HeaderValue};

    #[test]
    fn only_the_secret_itself_is_the_secret() {
        let is_valid = |sent: Option<&'static str>| {
            let name = HeaderName::from_static("x-telegram-bot-api-secret-token");
            let headers = sent.map(|sent| (name, HeaderValue::from_static(sent)));
            is_secret(&headers.into_iter().collect(), "s3cret")
        };
        assert!(is_valid(Some("s3cret")));
        for wrong in ["", "s3cre", "s3crets", "S3CRET", "Bearer s3cret"] {
            assert!(!is_valid(Some(wrong)), "{wrong:?}");
        }
        assert!(!is_valid(None));
    }

    #[test]
    fn updates_of_every_kind_are_understood() {
        let parsed = |text: &str| serde_json::from_str::<Update>(text);
        let message = r#"{"update_id":7,"message":{"message_id":1,"date":0,"chat":{"id":-100200,"type":"group"},
            "from":{"id":1,"is_bot":false,"first_name":"Ada"},"text":"/list"}}"#;
        let message = parsed(message).unwrap().message.unwrap();
        assert_eq!(
            (message.chat.id, message.text.as_deref()),
            (-100_200, Some("/list"))
        );
        let picture = r#"{"update_id":8,"message":{"chat":{"id":1},"photo":[]}}"#;
        assert!(parsed(picture).unwrap().message.unwrap().text.is_none());
        let other = parsed(r#"{"update_id":9,"poll":{}}"#).unwrap();
        assert!(other.message.is_none() && other.update_id == 9);
        assert!(parsed(r#"{"message":{}}"#).is_err());
    }
}
