//! Reading.

use crate::entry::{Observed, check_key, now};
use crate::{Database, Entry, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Bytes of keys in one answer, about.
const MOST_OF_A_PAGE: usize = 64 << 10;
/// Keys in one answer.
const MOST_KEYS: usize = 1000;
/// Bytes of values in one answer.
const MOST_OF_AN_ANSWER: usize = 64 << 20;

const GET: &str = "SELECT value FROM entries WHERE store = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)";
const EXISTS: &str = "SELECT 1 FROM entries WHERE store = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)";
const KEYS: &str = "SELECT key FROM entries WHERE store = ?1 AND key > ?2 AND (expires IS NULL OR expires > ?3)
                    ORDER BY key LIMIT -1 OFFSET ?4";
const FIRST_KEYS: &str = "SELECT key FROM entries WHERE store = ?1 AND (expires IS NULL OR expires > ?2)
                          ORDER BY key LIMIT -1 OFFSET ?3";
const ALL: &str = "SELECT store, key, value, expires FROM entries WHERE expires IS NULL OR expires > ?1
                   ORDER BY store, key";

/// A part of the keys of a store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Keys {
    /// In the order of their bytes.
    pub keys: Vec<String>,
    /// Are there more?
    pub more: bool,
}

impl Database {
    /// The value of a key. `None`: there is none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] and those of the file.
    pub fn get(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        value(&self.connection, store, key, now())
    }

    /// Is there an entry of this key?
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn exists(&self, store: &str, key: &str) -> Result<bool, StoreError> {
        check_key(key)?;
        let mut statement = self.connection.prepare_cached(EXISTS)?;
        Ok(statement.exists(params![store, key, now()])?)
    }

    /// What the value of a key is now, to be compared later.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn observe(&self, store: &str, key: &str) -> Result<Observed, StoreError> {
        Ok(Observed::of(self.get(store, key)?.as_deref()))
    }

    /// The values of several keys, as they were at one time.
    ///
    /// # Errors
    /// As [`Self::get`]; [`StoreError::ValueTooLarge`] when they are too many bytes together.
    pub fn get_many(&self, store: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (mut values, mut bytes, now) = (Vec::with_capacity(keys.len()), 0, now());
        for key in keys {
            check_key(key)?;
            let found = value(&transaction, store, key, now)?;
            bytes += found.as_ref().map_or(0, Vec::len);
            if bytes > MOST_OF_AN_ANSWER {
                return Err(StoreError::ValueTooLarge);
            }
            values.push(found);
        }
        Ok(values)
    }

    /// Some keys after the key `after`, or from the first on, but for the `skip` next ones.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn keys(&self, store: &str, after: Option<&str>, skip: u64) -> Result<Keys, StoreError> {
        let skip = i64::try_from(skip).unwrap_or(i64::MAX);
        let mut statement;
        let mut rows = match after {
            Some(after) => {
                statement = self.connection.prepare_cached(KEYS)?;
                statement.query(params![store, after, now(), skip])?
            }
            None => {
                statement = self.connection.prepare_cached(FIRST_KEYS)?;
                statement.query(params![store, now(), skip])?
            }
        };
        let (mut found, mut bytes) = (Keys::default(), 0);
        while let Some(row) = rows.next()? {
            if bytes >= MOST_OF_A_PAGE || found.keys.len() == MOST_KEYS {
                found.more = true;
                break;
            }
            let key: String = row.get(0)?;
            bytes += key.len();
            found.keys.push(key);
        }
        Ok(found)
    }

    /// All entries of all stores, by store and key, as they were at one time.
    ///
    /// # Errors
    /// Those of `each`, after which no more are read; those of the file as an `Error` of it.
    pub fn for_each<Error: From<StoreError>>(
        &self,
        mut each: impl FnMut(Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut statement = self.connection.prepare(ALL).map_err(StoreError::from)?;
        let mut rows = statement.query([now()]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            each(entry(row).map_err(StoreError::from)?)?;
        }
        Ok(())
    }

    /// Reads every page of the file. Takes long.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what is wrong.
    pub fn verify(&self) -> Result<(), StoreError> {
        let first = "PRAGMA integrity_check(1)";
        let result: String = self.connection.query_row(first, [], |row| row.get(0))?;
        match result.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Damaged(result)),
        }
    }
}

/// The value of a key at the time `now`.
pub(crate) fn value(
    connection: &Connection,
    store: &str,
    key: &str,
    now: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached(GET)?;
    Ok(statement
        .query_row(params![store, key, now], |row| row.get(0))
        .optional()?)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        store: row.get(0)?,
        key: row.get(1)?,
        value: row.get(2)?,
        expires: row.get(3)?,
    })
}
