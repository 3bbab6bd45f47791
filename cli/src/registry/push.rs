//! Pushing a module: its blobs, then the manifest, which makes them an artifact.

use super::artifact::{Artifact, MANIFEST};
use super::connection::Connection;
use super::{Digest, Reference, with};

/// Pushes a module with this file name to `reference`; without a tag it has only its digest. `created` is a time of RFC
/// 3339. Returns the digest of the manifest.
///
/// # Errors
/// When it is no WebAssembly, or the registry does not take it.
pub fn push(reference: &Reference, wasm: &[u8], title: &str, created: Option<&str>) -> Result<Digest, String> {
    let artifact = Artifact::of(wasm, title, created)?;
    with(reference, async |connection| upload(&connection, wasm, artifact).await)
}

/// As [`push`], over a connection.
///
/// # Errors
/// As there.
pub async fn upload(connection: &Connection, wasm: &[u8], artifact: Artifact) -> Result<Digest, String> {
    blob(connection, wasm.to_vec()).await?;
    blob(connection, artifact.config).await?;
    let digest = Digest::of(&artifact.manifest);
    let name = match &connection.reference.tag {
        Some(tag) => tag.clone(),
        None => digest.to_string(),
    };
    let url = connection.url(&format!("manifests/{name}"))?;
    let response = connection.put(url, MANIFEST, artifact.manifest).await?;
    let stored = response.headers().get("docker-content-digest");
    match stored.is_none_or(|stored| stored.as_bytes() == digest.to_string().as_bytes()) {
        true => Ok(digest),
        false => Err(connection.said("has stored something else than what was sent (its digest differs)")),
    }
}

async fn blob(connection: &Connection, bytes: Vec<u8>) -> Result<(), String> {
    let digest = Digest::of(&bytes).to_string();
    if connection.has(&format!("blobs/{digest}")).await? {
        return Ok(());
    }
    let mut url = connection.begin_upload().await?;
    url.query_pairs_mut().append_pair("digest", &digest);
    connection.put(url, "application/octet-stream", bytes).await.map(drop)
}
