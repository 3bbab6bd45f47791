//! What a registry wants to know of the person: nothing, a password (Basic), or a token that another server gives out
//! (Bearer, <https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! Names and passwords are those of `docker login` and `podman login`: the files, and the programs that keep them.

use super::connection::{Access, Connection};
use super::reference::{Reference, is_loopback};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;

/// The value of the header `Authorization:`.
pub type Authorization = Option<HeaderValue>;

/// The longest answer with a token, in bytes.
const MAX_TOKEN: u64 = 256 << 10;

/// Under which name `docker login` keeps what is for Docker's own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A token; servers call it by one name or the other.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Answers the challenges of a registry. `None`: there is nothing to answer with.
///
/// # Errors
/// When a credential cannot be read, or the server of tokens gives none.
pub async fn answer(connection: &Connection, challenges: &[&str], access: Access) -> Result<Authorization, String> {
    let reference = &connection.reference;
    for challenge in challenges {
        let parsed = http_auth::parse_challenges(challenge);
        let parsed = parsed.map_err(|_| connection.said("its WWW-Authenticate: header is not valid"))?;
        for challenge in parsed {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let parameter = |name: &str| {
                    let mut parameters = challenge.params.iter();
                    let found = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                let realm = parameter("realm").unwrap_or_default();
                let realm = realm_url(connection, &realm)?;
                let token = token(connection, realm, parameter("service"), access).await?;
                return header(&format!("Bearer {token}")).map(Some);
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                return match credential(reference)? {
                    Some(DockerCredential::UsernamePassword(name, password)) => basic(&name, &password).map(Some),
                    _ => Ok(None),
                };
            }
        }
    }
    Ok(None)
}

/// Where tokens are given out. A password goes there: by TLS only, or to this machine from this machine's registry.
fn realm_url(connection: &Connection, realm: &str) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|error| connection.said(&format!("has no address for tokens: {error}")))?;
    let is_local = || connection.reference.is_local() && url.host_str().is_some_and(is_loopback);
    match url.scheme() == "https" || (url.scheme() == "http" && is_local()) {
        true => Ok(url),
        false => Err(connection.said("wants a token from where there is no TLS")),
    }
}

async fn token(
    connection: &Connection,
    mut realm: Url,
    service: Option<String>,
    access: Access,
) -> Result<String, String> {
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    let scope = format!("repository:{}:{actions}", connection.reference.repository);
    let mut fields = vec![("scope", scope)];
    fields.extend(service.map(|service| ("service", service)));
    let request = match credential(&connection.reference)? {
        // OAuth 2 (docker's "identity token").
        Some(DockerCredential::IdentityToken(token)) => {
            fields.push(("grant_type", "refresh_token".to_owned()));
            fields.push(("refresh_token", token));
            fields.push(("client_id", "wasm-sock".to_owned()));
            let mut form = realm.clone();
            form.set_query(None);
            form.query_pairs_mut().extend_pairs(fields);
            let form = form.query().unwrap_or_default().to_owned();
            let request = connection.client.post(realm).body(form);
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        }
        Some(DockerCredential::UsernamePassword(name, password)) => {
            realm.query_pairs_mut().extend_pairs(fields);
            connection.client.get(realm).basic_auth(name, Some(password))
        }
        None => {
            realm.query_pairs_mut().extend_pairs(fields);
            connection.client.get(realm)
        }
    };
    let refused = |what: &str| {
        let host = &connection.reference.host;
        connection.said(&format!("its server of tokens {what} (log in: docker login {host})"))
    };
    let response = request.send().await;
    let response = response.map_err(|_| refused("does not answer"))?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(&format!("answers {status}")));
    }
    let body = connection.body(response, MAX_TOKEN).await?;
    let token: Token = serde_json::from_slice(&body).map_err(|_| refused("gives no token"))?;
    token
        .token
        .or(token.access_token)
        .ok_or_else(|| refused("gives no token"))
}

/// What the person has told `docker login` or `podman login`.
fn credential(reference: &Reference) -> Result<Option<DockerCredential>, String> {
    let server = match reference.api_host() == reference.host {
        true => &reference.host,
        false => DOCKER_HUB,
    };
    let sources = [
        docker_credential::get_credential as fn(&str) -> _,
        docker_credential::get_podman_credential,
    ];
    for source in sources {
        match source(server) {
            Ok(credential) => return Ok(Some(credential)),
            Err(
                CredentialRetrievalError::ConfigNotFound
                | CredentialRetrievalError::ConfigReadError
                | CredentialRetrievalError::NoCredentialConfigured,
            ) => {}
            // Its output may have what nobody should see.
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                return Err(format!("{server}: the program {helper} has no password for it"));
            }
            Err(error) => return Err(format!("{server}: no password: {error}")),
        }
    }
    Ok(None)
}

fn basic(name: &str, password: &str) -> Result<HeaderValue, String> {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    header(&format!("Basic {pair}"))
}

fn header(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "the token or password is not valid".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
