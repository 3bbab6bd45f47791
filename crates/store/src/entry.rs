//! Entries as they are handed around: values, numbers, and what was observed of a value.

use crate::StoreError;
use crate::{MOST_KEY, MOST_VALUE};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An entry, for export and import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The store that it is in.
    pub store: String,
    pub key: String,
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since 1970. `None`: never.
    pub expires: Option<i64>,
}

/// What a value was at some time: a digest of it, so that a guest which holds many takes no memory for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed(Option<[u8; 32]>);

impl Observed {
    /// `None`: there was no entry.
    pub fn of(value: Option<&[u8]>) -> Self {
        Self(value.map(|value| Sha256::digest(value).into()))
    }
}

/// A counter: a value of decimal digits, as in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub i64);

impl Number {
    /// # Errors
    /// [`StoreError::NotANumber`]
    pub fn parse(value: &[u8]) -> Result<Self, StoreError> {
        let text = std::str::from_utf8(value).map_err(|_| StoreError::NotANumber)?;
        text.parse().map(Self).map_err(|_| StoreError::NotANumber)
    }

    /// # Errors
    /// [`StoreError::OutOfRange`]
    pub fn plus(self, delta: i64) -> Result<Self, StoreError> {
        self.0.checked_add(delta).map(Self).ok_or(StoreError::OutOfRange)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time in `lifetime` from now, in milliseconds since 1970.
pub(crate) fn in_future(lifetime: Option<Duration>) -> Option<i64> {
    let lifetime = i64::try_from(lifetime?.as_millis()).unwrap_or(i64::MAX);
    Some(now().saturating_add(lifetime))
}

pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    match key.len() > MOST_KEY {
        true => Err(StoreError::KeyTooLong),
        false => Ok(()),
    }
}

pub(crate) fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
    match value.len() > MOST_VALUE {
        true => Err(StoreError::ValueTooLarge),
        false => check_key(key),
    }
}
