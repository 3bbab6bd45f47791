//! Changes, and transactions of several of them.

use crate::entry::{Number, Observed, check, check_key, in_future, now};
use crate::read::value;
use crate::{Database, StoreError};
use rusqlite::{Transaction, TransactionBehavior, params};
use std::time::Duration;

const SET: &str = "INSERT INTO entries(store, key, value, expires) VALUES(?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET value = excluded.value, expires = excluded.expires";
const SET_VALUE: &str = "UPDATE entries SET value = ?3 WHERE store = ?1 AND key = ?2";
const DELETE: &str = "DELETE FROM entries WHERE store = ?1 AND key = ?2";
/// As many as add little to a change.
const REMOVE_EXPIRED: &str = "DELETE FROM entries WHERE rowid IN
                              (SELECT rowid FROM entries WHERE expires <= ?1 ORDER BY expires LIMIT 64)";

/// A change of one store. It happens wholly or not at all.
#[derive(Debug, Clone)]
pub struct Change {
    pub store: String,
    /// How long what is set lives from now on. `None`: until it is deleted.
    pub lifetime: Option<Duration>,
    pub what: What,
}

impl Change {
    /// About as many bytes as it stores.
    pub fn size(&self) -> usize {
        match &self.what {
            What::Set(entries) => entries.iter().map(|(key, value)| key.len() + value.len()).sum(),
            What::Swap { key, value, .. } | What::Import { key, value, .. } => key.len() + value.len(),
            What::Delete(_) | What::Increment { .. } => 0,
        }
    }
}

#[derive(Debug, Clone)]
pub enum What {
    Set(Vec<(String, Vec<u8>)>),
    Delete(Vec<String>),
    /// Adds to a number. An entry that is there keeps its time of expiry, so that a counter can be one per period.
    Increment {
        key: String,
        delta: i64,
    },
    /// Sets a value if the one that is there is still the one that was observed.
    Swap {
        key: String,
        observed: Observed,
        value: Vec<u8>,
    },
    /// Sets an entry with its time of expiry, in milliseconds since 1970.
    Import {
        key: String,
        value: Vec<u8>,
        expires: Option<i64>,
    },
}

/// What a change has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// The new value of what was incremented.
    Number(i64),
    /// Another value was there, which this is: nothing was changed.
    NotSwapped(Observed),
}

type Results = Vec<Result<Changed, StoreError>>;

impl Database {
    /// Makes changes durable: when this returns, they are on the disk. Together they cost as much as one of them.
    /// Each has a result of its own: a change that fails fails alone.
    pub fn commit(&mut self, changes: &[Change]) -> Results {
        if let Err(error) = self.become_writer() {
            return vec![Err(error); changes.len()];
        }
        match self.together(changes) {
            Ok(results) => results,
            Err(error) if changes.len() == 1 || error == StoreError::Busy => vec![Err(error); changes.len()],
            // One of them fills the file, for example.
            Err(_) => changes.iter().map(|change| self.alone(change)).collect(),
        }
    }

    fn alone(&mut self, change: &Change) -> Result<Changed, StoreError> {
        let mut results = self.together(std::slice::from_ref(change))?;
        results.pop().unwrap_or(Ok(Changed::Done))
    }

    /// # Errors
    /// Those for which none of the changes was made.
    fn together(&mut self, changes: &[Change]) -> Result<Results, StoreError> {
        let result = transact(&mut self.connection, changes);
        match result {
            Err(StoreError::DiskFull) if self.is_out_of_quota() => Err(StoreError::Quota),
            result => result,
        }
    }
}

fn transact(connection: &mut rusqlite::Connection, changes: &[Change]) -> Result<Results, StoreError> {
    // Immediate: who reads first and writes later could be too late, and would have to begin again.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.prepare_cached(REMOVE_EXPIRED)?.execute([now()])?;
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        match apply(&transaction, change) {
            Err(error) if !error.is_of_the_request() => return Err(error),
            result => results.push(result),
        }
    }
    transaction.commit()?;
    Ok(results)
}

/// # Errors
/// Those of the request come before anything was changed.
fn apply(transaction: &Transaction<'_>, change: &Change) -> Result<Changed, StoreError> {
    let (store, expires) = (change.store.as_str(), in_future(change.lifetime));
    let set = |key: &str, value: &[u8], expires: Option<i64>| -> Result<(), StoreError> {
        transaction
            .prepare_cached(SET)?
            .execute(params![store, key, value, expires])?;
        Ok(())
    };
    let current = |key: &str| value(transaction, store, key, now());
    match &change.what {
        What::Set(entries) => {
            entries.iter().try_for_each(|(key, value)| check(key, value))?;
            entries.iter().try_for_each(|(key, value)| set(key, value, expires))?;
        }
        What::Import { key, value, expires } => {
            check(key, value)?;
            set(key, value, *expires)?;
        }
        What::Delete(keys) => {
            keys.iter().try_for_each(|key| check_key(key))?;
            for key in keys {
                transaction.prepare_cached(DELETE)?.execute(params![store, key])?;
            }
        }
        What::Increment { key, delta } => {
            check_key(key)?;
            let found = current(key)?;
            let number = found.as_deref().map_or(Ok(Number(0)), Number::parse)?.plus(*delta)?;
            let digits = number.0.to_string();
            match found {
                Some(_) => {
                    let mut statement = transaction.prepare_cached(SET_VALUE)?;
                    statement.execute(params![store, key, digits.as_bytes()])?;
                }
                None => set(key, digits.as_bytes(), expires)?,
            }
            return Ok(Changed::Number(number.0));
        }
        What::Swap { key, observed, value } => {
            check(key, value)?;
            let now = Observed::of(current(key)?.as_deref());
            if now != *observed {
                return Ok(Changed::NotSwapped(now));
            }
            set(key, value, expires)?;
        }
    }
    Ok(Changed::Done)
}
