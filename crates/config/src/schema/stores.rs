//! `keyvalue`: a table of stores.

use super::super::checker::{Checker, Key, Value};
use super::super::keyvalue::{KeyValue, StoreAddress};
use super::super::value;
use super::STORE;
use toml::de::DeValue;

/// The longest name of a store, in bytes: it is a part of every key.
const MOST_NAME: usize = 255;

impl Checker<'_> {
    /// `NAME = "PLACE"`, or `NAME = { at = "PLACE", … }`. A store with a mistake is left out.
    pub(super) fn stores(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<KeyValue> {
        let mut stores = Vec::new();
        for (key, value) in self.table(key, value) {
            let name = key.get_ref().as_ref();
            if name.len() > MOST_NAME || name.contains('\0') {
                self.wrong(key, value, "the name of a store has at most 255 bytes, and no NUL");
                continue;
            }
            let before = self.mistakes();
            let store = self.store(key, value);
            if self.mistakes() == before {
                stores.extend(store);
            }
        }
        stores
    }

    fn store(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<KeyValue> {
        let mut store = KeyValue {
            name: key.get_ref().to_string(),
            at: StoreAddress::Embedded,
            lifetime: None,
            prefix: None,
        };
        let DeValue::Table(table) = value.get_ref() else {
            self.set(&mut store.at, key, value, value::store_address);
            return Some(store);
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "at" => self.set(&mut store.at, key, value, value::store_address),
                "expire" => self.set(&mut store.lifetime, key, value, value::lifetime),
                "prefix" => self.set(&mut store.prefix, key, value, |v| value::string(v).map(Some)),
                _ => self.unknown(key, STORE),
            }
        }
        if !table.contains_key("at") {
            self.wrong(
                key,
                value,
                "\"at\" is missing (as in { at = \"embedded\", expire = \"1h\" })",
            );
        }
        if store.prefix.is_some() && store.at == StoreAddress::Embedded {
            self.wrong(
                key,
                value,
                "\"prefix\" is for servers (leave it out: an embedded store is the handler's alone)",
            );
        }
        Some(store)
    }
}
