//! Why a store cannot be read or changed.

use rusqlite::ffi::ErrorCode;
use thiserror::Error;

/// Why a store cannot be read or changed. The text is for guests and for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// There is no file yet, and it was not to be made.
    #[error("nothing was stored yet")]
    Missing,
    /// The file is no store, or its content contradicts itself.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The file was made by a newer version of wasm-sock, or by another program.
    #[error("the store has a format that is not known here: {0}")]
    Unknown(String),
    #[error("the store is full: it has reached its quota")]
    Quota,
    #[error("the disk is full")]
    DiskFull,
    /// Another process has held the file for longer than the wait.
    #[error("the store is busy")]
    Busy,
    #[error("the key is longer than {} bytes", crate::MOST_KEY)]
    KeyTooLong,
    #[error("the value is larger than {} MiB", crate::MOST_VALUE >> 20)]
    ValueTooLarge,
    /// `increment` of a value that is no whole number in decimal digits.
    #[error("the value is not a whole number")]
    NotANumber,
    #[error("the number would be out of range")]
    OutOfRange,
    /// The file cannot be opened, read or written: permissions, a broken disk.
    #[error("{0}")]
    Failed(String),
}

impl StoreError {
    /// Is it about what the guest asked for, so that other changes of the same transaction are not concerned?
    pub(crate) fn is_of_the_request(&self) -> bool {
        matches!(
            self,
            Self::KeyTooLong | Self::ValueTooLarge | Self::NotANumber | Self::OutOfRange
        )
    }

    /// Is it about the file, so that an administrator has to look at it?
    pub fn is_of_the_file(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Unknown(_) | Self::DiskFull | Self::Failed(_)
        )
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            // Which of the two, is found out where the quota is known.
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::TooBig) => Self::ValueTooLarge,
            // A column that has another type, or a table that is not there: no host has written that.
            Some(ErrorCode::Unknown) => Self::Damaged(error.to_string()),
            None => Self::Damaged(error.to_string()),
            Some(_) => Self::Failed(error.to_string()),
        }
    }
}
