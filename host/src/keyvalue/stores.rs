//! The stores of a handler, each opened when a guest first asks for it.

use super::bucket::{Bucket, Place};
use super::embedded::Embedded;
use super::folder::usable_file;
use super::server::Server;
use crate::config::{HandlerConfig, KeyValue, StoreAddress};
use crate::egress::Egress;
use std::sync::{Arc, OnceLock};

/// The stores that the guests of a handler may open.
pub struct Stores {
    handler: Arc<str>,
    granted: Vec<KeyValue>,
    quota: u64,
    egress: Option<Arc<Egress>>,
    embedded: OnceLock<Arc<Embedded>>,
    /// Those of `granted`, at the same places.
    servers: Vec<OnceLock<Arc<Server>>>,
}

impl Stores {
    /// `None`: none was granted.
    pub fn of(handler: &Arc<str>, config: &HandlerConfig, egress: Option<&Arc<Egress>>) -> Option<Arc<Self>> {
        if config.keyvalue.is_empty() {
            return None;
        }
        Some(Arc::new(Self {
            handler: handler.clone(),
            granted: config.keyvalue.clone(),
            quota: config.keyvalue_quota,
            egress: egress.cloned(),
            embedded: OnceLock::new(),
            servers: config.keyvalue.iter().map(|_| OnceLock::new()).collect(),
        }))
    }

    /// The same stores, if nothing has changed in their settings.
    pub fn renewed(
        former: Option<&Arc<Self>>,
        handler: &Arc<str>,
        config: &HandlerConfig,
        egress: Option<&Arc<Egress>>,
    ) -> Option<Arc<Self>> {
        let is_same =
            |former: &&Arc<Self>| former.granted == config.keyvalue && former.quota == config.keyvalue_quota;
        former
            .filter(is_same)
            .cloned()
            .or_else(|| Self::of(handler, config, egress))
    }

    /// The store of this name. An empty name is that of `default`, as for Wasmtime's own `serve`.
    pub fn open(&self, name: &str) -> Option<Bucket> {
        let position = |name: &str| self.granted.iter().position(|store| store.name == name);
        let index = position(name).or_else(|| name.is_empty().then(|| position("default")).flatten())?;
        Some(Bucket::new(&self.granted[index], self.place(index)))
    }

    fn place(&self, index: usize) -> Place {
        let store = &self.granted[index];
        match &store.at {
            StoreAddress::Embedded => Place::Embedded(self.embedded().clone()),
            StoreAddress::Redis(server) => {
                let make = || Server::new(self.handler.clone(), store, server, self.egress.clone());
                Place::Server(self.servers[index].get_or_init(make).clone())
            }
        }
    }

    fn embedded(&self) -> &Arc<Embedded> {
        self.embedded
            .get_or_init(|| Embedded::new(self.handler.clone(), usable_file(&self.handler), self.quota))
    }
}
