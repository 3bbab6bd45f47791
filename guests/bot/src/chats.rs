//! The chats in the key-value store, each in one entry.

use wstd::http::Error;

use crate::chat::Chat;
use crate::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::wasi::keyvalue::store;

/// Changes what is kept of a chat, and returns what `change` returned.
///
/// When this returns, the change is on the disk. Guests that run at the same time, in this process or another, cannot
/// undo each other's changes: if one was faster, `change` is called again, with what that one has left
/// (compare-and-swap). So `change` must do nothing but change its argument.
pub fn change<T>(id: i64, mut change: impl FnMut(&mut Chat) -> T) -> Result<T, Error> {
    let bucket = store::open("default")?;
    let mut handle = Cas::new(&bucket, &format!("chat:{id}"))?;
    loop {
        let before = handle.current()?;
        let mut chat = match &before {
            // If it cannot be read, it is kept: the error is better than an empty list.
            Some(value) => serde_json::from_slice(value)?,
            None => Chat::default(),
        };
        let result = change(&mut chat);
        let after = serde_json::to_vec(&chat)?;
        if before.as_ref() == Some(&after) {
            return Ok(result);
        }
        match atomics::swap(handle, &after) {
            Ok(()) => return Ok(result),
            Err(CasError::StoreError(error)) => return Err(error.into()),
            Err(CasError::CasFailed(again)) => handle = again,
        }
    }
}
