//! A store that a guest has opened.

use super::embedded::Embedded;
use super::{Failure, Keys, Observed, Stores};
use crate::config::{KeyValue, StoreAddress};
use std::sync::Arc;
use wasm_sock_store::{Change, Changed, What};

/// A store that a guest has opened: `wasi:keyvalue/store.bucket`.
#[derive(Clone)]
pub struct Bucket {
    stores: Arc<Stores>,
    index: usize,
    /// Where the guest is in the list of keys.
    pub cursor: Option<Cursor>,
}

/// A place in the list of keys, for guests that know only how many they have seen.
#[derive(Debug, Clone)]
pub struct Cursor {
    pub seen: u64,
    pub last: String,
}

impl Bucket {
    pub fn new(stores: Arc<Stores>, index: usize) -> Self {
        let cursor = None;
        Self { stores, index, cursor }
    }

    fn settings(&self) -> &KeyValue {
        &self.stores.granted[self.index]
    }

    fn embedded(&self) -> Result<&Embedded, Failure> {
        match self.settings().at {
            StoreAddress::Embedded => Ok(self.stores.embedded()),
            StoreAddress::Redis(_) => Err(Failure::Unavailable("not yet".to_owned())),
        }
    }

    fn name(&self) -> String {
        self.settings().name.clone()
    }

    async fn change(&self, what: What) -> Result<Changed, Failure> {
        let (store, lifetime) = (self.name(), self.settings().lifetime);
        self.embedded()?.change(Change { store, lifetime, what }).await
    }

    /// The value of a key. `None`: there is none.
    ///
    /// # Errors
    /// These, and those of the other functions: see [`Failure`].
    pub async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Failure> {
        let store = self.name();
        self.embedded()?
            .read(None, move |database| database.get(&store, &key))
            .await
    }

    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let store = self.name();
        let nothing = vec![None; keys.len()];
        self.embedded()?
            .read(nothing, move |database| database.get_many(&store, &keys))
            .await
    }

    pub async fn exists(&self, key: String) -> Result<bool, Failure> {
        let store = self.name();
        self.embedded()?
            .read(false, move |database| database.exists(&store, &key))
            .await
    }

    /// Some keys after the key `after`, but for the `skip` next ones.
    pub async fn keys(&self, after: Option<String>, skip: u64) -> Result<Keys, Failure> {
        let store = self.name();
        let read = move |database: &wasm_sock_store::Database| database.keys(&store, after.as_deref(), skip);
        self.embedded()?.read(Keys::default(), read).await
    }

    /// Sets values, which are on the disk when this returns.
    pub async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
        self.change(What::Set(entries)).await.map(drop)
    }

    pub async fn delete(&self, keys: Vec<String>) -> Result<(), Failure> {
        self.change(What::Delete(keys)).await.map(drop)
    }

    /// Adds to a number. Returns the sum.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, Failure> {
        match self.change(What::Increment { key, delta }).await? {
            Changed::Number(number) => Ok(number),
            // No change of this kind ends so.
            Changed::Done | Changed::NotSwapped(_) => Ok(delta),
        }
    }

    /// What the value of a key is now, for [`Self::swap`].
    pub async fn observe(&self, key: String) -> Result<Observed, Failure> {
        let store = self.name();
        let read = move |database: &wasm_sock_store::Database| database.observe(&store, &key);
        self.embedded()?.read(Observed::of(None), read).await
    }

    /// Sets a value, unless another than the observed one is there. That is returned: nothing was set.
    pub async fn swap(&self, key: String, observed: Observed, value: Vec<u8>) -> Result<Option<Observed>, Failure> {
        match self.change(What::Swap { key, observed, value }).await? {
            Changed::NotSwapped(now) => Ok(Some(now)),
            Changed::Done | Changed::Number(_) => Ok(None),
        }
    }
}
