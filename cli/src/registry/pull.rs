//! Pulling a module: nothing is believed that has not the digest that was asked for.

use super::artifact::Manifest;
use super::connection::Connection;
use super::{Digest, MAX_MANIFEST, Reference, with};

/// The module at `reference`, which must have a digest.
///
/// # Errors
/// When there is no digest (the message has the command with the one that the tag has now), when the registry cannot be
/// reached, or when what it sends is something else.
pub fn pull(reference: &Reference) -> Result<Vec<u8>, String> {
    with(reference, async |connection| module(&connection).await)
}

/// As [`pull`], over a connection.
///
/// # Errors
/// As there.
pub async fn module(connection: &Connection) -> Result<Vec<u8>, String> {
    let reference = &connection.reference;
    let Some(digest) = &reference.digest else {
        return Err(tag_refused(connection).await?);
    };
    let bytes = connection.get(&format!("manifests/{digest}"), MAX_MANIFEST).await?;
    same(digest, &bytes).map_err(|why| connection.said(&why))?;
    let of_it = |why: String| format!("{reference}: {why}");
    let manifest = Manifest::parse(&bytes).map_err(of_it)?;
    let layer = manifest.module().map_err(of_it)?;
    let digest: Digest = layer.digest.parse().map_err(of_it)?;
    let module = connection.get(&format!("blobs/{digest}"), layer.size).await?;
    same(&digest, &module).map_err(|why| connection.said(&why))?;
    match module.starts_with(b"\0asm") {
        true => Ok(module),
        // Also an artifact of Wasmtime: machine code, which is made here, and taken from nowhere.
        false => Err(of_it(
            "not a WebAssembly module (it does not begin with \"\\0asm\")".to_owned(),
        )),
    }
}

fn same(expected: &Digest, bytes: &[u8]) -> Result<(), String> {
    let found = Digest::of(bytes);
    match found == *expected {
        true => Ok(()),
        false => Err(format!(
            "sends something else than what was asked for\n  asked for {expected}\n  came      {found}"
        )),
    }
}

/// The message for a reference that can be another module tomorrow.
async fn tag_refused(connection: &Connection) -> Result<String, String> {
    let reference = &connection.reference;
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let bytes = connection.get(&format!("manifests/{tag}"), MAX_MANIFEST).await?;
    // A tag that leads to what cannot be installed is told at once.
    Manifest::parse(&bytes)
        .and_then(|manifest| manifest.module().map(drop))
        .map_err(|why| format!("{reference}: {why}"))?;
    let pinned = reference.pinned(Digest::of(&bytes));
    Ok(format!(
        "{reference}: a tag can become another module (say which: with its digest).\n\
         What it is now:\n  wasm-sock install {pinned}"
    ))
}
