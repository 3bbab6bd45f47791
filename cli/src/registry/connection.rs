//! Requests to one registry: TLS, time-outs, lengths, redirects, and what the registry wants to know of the person.

use super::artifact::ACCEPTED;
use super::authorization::{self, Authorization};
use super::reference::{Reference, is_loopback};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

/// How long a registry may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To accept a connection, TLS included.
    pub connect: Duration,
    /// To send something, each time.
    pub idle: Duration,
    /// For all of it.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_mins(15),
        }
    }
}

/// How often a registry may send a request elsewhere. (Usually once, to where it keeps its blobs.)
const MAX_REDIRECTS: usize = 3;

/// How much of the explanation of an error is read, in bytes, and shown, in characters.
const MAX_ERROR: u64 = 16 << 10;
const SHOWN_ERROR: usize = 200;

/// What a request is for: the scope of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Pull,
    Push,
}

/// A request, which can be sent again.
struct Request<'a> {
    method: Method,
    url: Url,
    body: Option<(&'a str, Vec<u8>)>,
}

/// A registry and a repository in it.
pub struct Connection {
    pub reference: Reference,
    pub client: Client,
    base: Url,
    patience: Patience,
    authorization: RefCell<Authorization>,
}

impl Connection {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the system's roots cannot be read.
    pub fn new(reference: &Reference, patience: Patience) -> Result<Self, String> {
        // Fails when there is one already, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_local = reference.is_local();
        let mut client = Client::builder()
            .user_agent(concat!("wasm-sock/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .https_only(!is_local)
            .connect_timeout(patience.connect)
            .read_timeout(patience.idle);
        if is_local {
            // A proxy is another machine.
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| format!("TLS: {}", why(&error, patience)))?;
        let scheme = if is_local { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", reference.api_host(), reference.repository);
        let base = Url::parse(&base).map_err(|error| format!("{reference}: {error}"))?;
        Ok(Self {
            reference: reference.clone(),
            client,
            base,
            patience,
            authorization: RefCell::default(),
        })
    }

    /// A manifest or a blob of the repository: at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not there, may not be read, is longer, or the registry does not answer as it should.
    pub async fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, String> {
        let request = Request {
            method: Method::GET,
            url: self.url(path)?,
            body: None,
        };
        let response = self.exchange(request, Access::Pull).await?;
        let response = self.successful(response).await?;
        self.body(response, limit).await
    }

    /// Is a blob there?
    ///
    /// # Errors
    /// When the registry does not answer as it should.
    pub async fn has(&self, path: &str) -> Result<bool, String> {
        let request = Request {
            method: Method::HEAD,
            url: self.url(path)?,
            body: None,
        };
        let response = self.exchange(request, Access::Push).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.successful(response).await.map(|_| true)
    }

    /// Begins an upload. Returns where it goes.
    ///
    /// # Errors
    /// As above; also when it goes to another host.
    pub async fn begin_upload(&self) -> Result<Url, String> {
        let request = Request {
            method: Method::POST,
            url: self.url("blobs/uploads/")?,
            body: Some(("application/octet-stream", Vec::new())),
        };
        let response = self.exchange(request, Access::Push).await?;
        let response = self.successful(response).await?;
        let location = self.location(&response, &self.base)?;
        match location.origin() == self.base.origin() {
            true => Ok(location),
            // The module would go where the person has not sent it.
            false => Err(self.said(&format!("wants the upload at another host, {}", shown_host(&location)))),
        }
    }

    /// Stores a blob or a manifest.
    ///
    /// # Errors
    /// As above.
    pub async fn put(&self, url: Url, media_type: &str, bytes: Vec<u8>) -> Result<Response, String> {
        let request = Request {
            method: Method::PUT,
            url,
            body: Some((media_type, bytes)),
        };
        let response = self.exchange(request, Access::Push).await?;
        self.successful(response).await
    }

    /// The URL of something in the repository.
    ///
    /// # Errors
    /// Never with valid references.
    pub fn url(&self, path: &str) -> Result<Url, String> {
        self.base.join(path).map_err(|error| self.said(&error.to_string()))
    }

    /// A message about the registry.
    pub fn said(&self, what: &str) -> String {
        format!("{}: {what}", self.reference.host)
    }

    /// Sends a request, again when the registry wants to know who asks, and follows redirects.
    async fn exchange(&self, mut request: Request<'_>, access: Access) -> Result<Response, String> {
        let mut has_asked = false;
        let mut redirects = 0;
        loop {
            let response = self.send(&request).await?;
            let is_own = request.url.origin() == self.base.origin();
            if response.status() == StatusCode::UNAUTHORIZED && is_own && !has_asked {
                has_asked = true;
                let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
                let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
                let answer = authorization::answer(self, &challenges, access).await?;
                if answer.is_none() {
                    return Ok(response);
                }
                self.authorization.replace(answer);
                continue;
            }
            let is_read = matches!(request.method, Method::GET | Method::HEAD);
            if !response.status().is_redirection() || !is_read {
                return Ok(response);
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(self.said("redirects again and again"));
            }
            request.url = self.redirected(&response, &request.url)?;
        }
    }

    async fn send(&self, request: &Request<'_>) -> Result<Response, String> {
        let mut builder = self.client.request(request.method.clone(), request.url.clone());
        builder = builder.header(ACCEPT, ACCEPTED);
        // What the registry knows of the person is for the registry alone.
        if let Some(value) = &*self.authorization.borrow()
            && request.url.origin() == self.base.origin()
        {
            builder = builder.header(AUTHORIZATION, HeaderValue::clone(value));
        }
        if let Some((media_type, bytes)) = &request.body {
            builder = builder.header(CONTENT_TYPE, *media_type).body(bytes.clone());
        }
        let sent = builder.send().await;
        sent.map_err(|error| format!("{}: {}", shown_host(&request.url), why(&error, self.patience)))
    }

    /// Where a redirect leads. From TLS only to TLS; from this machine's registry to this machine, or to TLS.
    fn redirected(&self, response: &Response, from: &Url) -> Result<Url, String> {
        let to = self.location(response, from)?;
        let is_allowed = match to.scheme() {
            "https" => true,
            "http" => self.reference.is_local() && to.host_str().is_some_and(|host| is_loopback(unbracketed(host))),
            _ => false,
        };
        let has_name = !to.username().is_empty() || to.password().is_some();
        match is_allowed && !has_name {
            true => Ok(to),
            false => Err(self.said(&format!(
                "redirects to {}://{}, which is not followed (only https: is)",
                to.scheme(),
                shown_host(&to)
            ))),
        }
    }

    fn location(&self, response: &Response, base: &Url) -> Result<Url, String> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.said("does not say where (no Location: header)"))?;
        base.join(location)
            .map_err(|error| self.said(&format!("its Location: header is no address: {error}")))
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is longer than `limit`, or is cut off.
    pub async fn body(&self, mut response: Response, limit: u64) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            match chunk.map_err(|error| self.said(&why(&error, self.patience)))? {
                Some(chunk) if (body.len() + chunk.len()) as u64 > limit => {
                    return Err(self.said(&format!("sends more than the {limit} bytes that it may")));
                }
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return Ok(body),
            }
        }
    }

    /// The response if it is a success.
    async fn successful(&self, response: Response) -> Result<Response, String> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!(" (log in: docker login {0}, or podman login {0})", self.reference.host)
            }
            StatusCode::NOT_FOUND => " (is the address right, and may you read it?)".to_owned(),
            StatusCode::TOO_MANY_REQUESTS => " (try again later)".to_owned(),
            _ => String::new(),
        };
        // Without an explanation the status is enough.
        let body = self.body(response, MAX_ERROR).await.unwrap_or_default();
        let explanation = explanation(&body).map_or_else(String::new, |text| format!(": {text}"));
        Err(self.said(&format!("answers {status}{explanation}{advice}")))
    }
}

/// What a registry says of an error.
#[derive(Deserialize)]
struct Explanations {
    errors: Vec<Explanation>,
}

#[derive(Deserialize)]
struct Explanation {
    #[serde(default)]
    message: String,
}

/// The explanation, fit for a terminal.
fn explanation(body: &[u8]) -> Option<String> {
    let explanations: Explanations = serde_json::from_slice(body).ok()?;
    let message = &explanations.errors.first()?.message;
    let shown: String = message
        .chars()
        .filter(|letter| !letter.is_control())
        .take(SHOWN_ERROR)
        .collect();
    (!shown.is_empty()).then_some(shown)
}

/// The innermost reason of an error, which is the one that says something.
fn why(error: &reqwest::Error, patience: Patience) -> String {
    if error.is_timeout() {
        let limit = if error.is_connect() {
            patience.connect
        } else {
            patience.idle
        };
        return format!("does not answer (for {} s)", limit.as_secs_f32());
    }
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    match error.is_connect() {
        true => format!("cannot connect: {reason}"),
        false => reason.to_string(),
    }
}

/// A host and its port.
fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
