//! A store that a guest has opened.

use super::embedded::Embedded;
use super::server::Server;
use super::{Failure, Observed, Stores};
use crate::config::KeyValue;
use std::sync::Arc;
use wasm_sock_store::{Change, Changed, Database, Keys, What};

/// A store that a guest has opened: `wasi:keyvalue/store.bucket`.
#[derive(Clone)]
pub struct Bucket {
    stores: Arc<Stores>,
    index: usize,
    /// Where the guest is in the list of keys.
    seen: Option<Seen>,
}

/// A place in the list of keys, for guests that know only how many they have seen.
#[derive(Debug, Clone)]
struct Seen {
    count: u64,
    last: String,
}

/// Where the entries are.
pub enum Place<'a> {
    Embedded(&'a Arc<Embedded>),
    Server(&'a Arc<Server>),
}

impl Bucket {
    pub fn new(stores: Arc<Stores>, index: usize) -> Self {
        let seen = None;
        Self { stores, index, seen }
    }

    fn settings(&self) -> &KeyValue {
        &self.stores.granted[self.index]
    }

    fn place(&self) -> Place<'_> {
        self.stores.place(self.index)
    }

    fn name(&self) -> String {
        self.settings().name.clone()
    }

    async fn change(&self, embedded: &Embedded, what: What) -> Result<Changed, Failure> {
        let (store, lifetime) = (self.name(), self.settings().lifetime);
        embedded.change(Change { store, lifetime, what }).await
    }

    /// The value of a key. `None`: there is none.
    ///
    /// # Errors
    /// These, and those of the other functions: see [`Failure`].
    pub async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Failure> {
        let store = self.name();
        match self.place() {
            Place::Embedded(embedded) => embedded.read(None, move |database| database.get(&store, &key)).await,
            Place::Server(server) => server.get(&key).await,
        }
    }

    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let (store, nothing) = (self.name(), vec![None; keys.len()]);
        match self.place() {
            Place::Embedded(embedded) => {
                let read = move |database: &Database| database.get_many(&store, &keys);
                embedded.read(nothing, read).await
            }
            Place::Server(server) => server.get_many(&keys).await,
        }
    }

    pub async fn exists(&self, key: String) -> Result<bool, Failure> {
        let store = self.name();
        match self.place() {
            Place::Embedded(embedded) => {
                embedded
                    .read(false, move |database| database.exists(&store, &key))
                    .await
            }
            Place::Server(server) => server.exists(&key).await,
        }
    }

    async fn embedded_keys(&self, embedded: &Embedded, after: Option<String>, skip: u64) -> Result<Keys, Failure> {
        let store = self.name();
        let read = move |database: &Database| database.keys(&store, after.as_deref(), skip);
        embedded.read(Keys::default(), read).await
    }

    /// Some keys, and the cursor for more: the last of these keys, or the number that a server has given.
    pub async fn keys_after(&self, cursor: Option<String>) -> Result<(Vec<String>, Option<String>), Failure> {
        match self.place() {
            Place::Embedded(embedded) => {
                let found = self.embedded_keys(embedded, cursor, 0).await?;
                let cursor = found.keys.last().filter(|_| found.more).cloned();
                Ok((found.keys, cursor))
            }
            Place::Server(server) => {
                let cursor = cursor.as_deref().unwrap_or("0").parse();
                let cursor = cursor.map_err(|_| Failure::Unavailable("this is no cursor of the store".to_owned()))?;
                let (keys, cursor) = server.scan(cursor).await?;
                Ok((keys, cursor.map(|cursor| cursor.to_string())))
            }
        }
    }

    /// The same with numbers. That of the embedded store is how many keys the guest has seen, of which the last is kept
    /// here; a number that the guest has from an earlier instance is counted off from the first key.
    pub async fn keys_from(&mut self, cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>), Failure> {
        let count = cursor.unwrap_or(0);
        let embedded = match self.place() {
            Place::Embedded(embedded) => embedded.clone(),
            Place::Server(server) => return server.scan(count).await,
        };
        let (after, skip) = match self.seen.take().filter(|seen| seen.count == count && count > 0) {
            Some(seen) => (Some(seen.last), 0),
            None => (None, count),
        };
        let found = self.embedded_keys(&embedded, after, skip).await?;
        let count = count.saturating_add(found.keys.len() as u64);
        let last = found.keys.last().filter(|_| found.more).cloned();
        self.seen = last.map(|last| Seen { count, last });
        let cursor = found.more.then_some(count);
        Ok((found.keys, cursor))
    }

    /// Sets values, all of them or none. The embedded store has them on the disk when this returns.
    pub async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
        match self.place() {
            Place::Embedded(embedded) => self.change(embedded, What::Set(entries)).await.map(drop),
            Place::Server(server) => server.set(&entries).await,
        }
    }

    pub async fn delete(&self, keys: Vec<String>) -> Result<(), Failure> {
        match self.place() {
            Place::Embedded(embedded) => self.change(embedded, What::Delete(keys)).await.map(drop),
            Place::Server(server) => server.delete(&keys).await,
        }
    }

    /// Adds to a number. Returns the sum.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, Failure> {
        match self.place() {
            Place::Embedded(embedded) => match self.change(embedded, What::Increment { key, delta }).await? {
                Changed::Number(number) => Ok(number),
                // No change of this kind ends so.
                Changed::Done | Changed::NotSwapped(_) => Ok(delta),
            },
            Place::Server(server) => server.increment(&key, delta).await,
        }
    }

    /// What the value of a key is now, for [`Self::swap`].
    pub async fn observe(&self, key: String) -> Result<Observed, Failure> {
        let store = self.name();
        match self.place() {
            Place::Embedded(embedded) => {
                let read = move |database: &Database| database.observe(&store, &key);
                embedded.read(Observed::of(None), read).await
            }
            Place::Server(server) => server.observe(&key).await,
        }
    }

    /// Sets a value, unless another than the observed one is there. That is returned: nothing was set.
    pub async fn swap(&self, key: String, observed: Observed, value: Vec<u8>) -> Result<Option<Observed>, Failure> {
        match self.place() {
            Place::Embedded(embedded) => match self.change(embedded, What::Swap { key, observed, value }).await? {
                Changed::NotSwapped(now) => Ok(Some(now)),
                Changed::Done | Changed::Number(_) => Ok(None),
            },
            Place::Server(server) => server.swap(&key, observed, &value).await,
        }
    }
}
