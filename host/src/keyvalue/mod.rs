//! Key-value stores of a handler: the embedded one, and those of servers that speak Redis' protocol.
//!
//! Nothing is opened before a guest asks for it. Reading the embedded store happens in the guest's thread, like
//! reading a small file that is in memory; changes wait for the disk in a thread of their own ([`worker`]).

mod bucket;
mod embedded;
mod failure;
mod server;
mod worker;

use crate::config::{Environment, HandlerConfig, KeyValue, StoreAddress};
use crate::egress::Egress;
use crate::journal::{self, Level};
use crate::sandbox::Needs;
use bucket::Place;
use embedded::Embedded;
use rustix::process::geteuid;
use server::Server;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use wasm_sock_store::{file_of, make_folder};

pub use bucket::Bucket;
pub use failure::Failure;
pub use wasm_sock_store::Observed;
pub use worker::finish;

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
    pub fn open(self: &Arc<Self>, name: &str) -> Option<Bucket> {
        let position = |name: &str| self.granted.iter().position(|store| store.name == name);
        let index = position(name).or_else(|| name.is_empty().then(|| position("default")).flatten())?;
        Some(Bucket::new(self.clone(), index))
    }

    fn place(&self, index: usize) -> Place<'_> {
        let store = &self.granted[index];
        match &store.at {
            StoreAddress::Embedded => Place::Embedded(self.embedded()),
            StoreAddress::Redis(server) => {
                let make = || Server::new(self.handler.clone(), store, server, self.egress.clone());
                Place::Server(self.servers[index].get_or_init(make))
            }
        }
    }

    fn embedded(&self) -> &Arc<Embedded> {
        self.embedded.get_or_init(|| {
            let file = directory().map(|state| file_of(&state, &self.handler));
            Embedded::new(self.handler.clone(), file, self.quota)
        })
    }
}

/// The directory of what is kept (`StateDirectory=` of the service, systemd.exec(5)). `None`: a user without a home.
fn directory() -> Option<PathBuf> {
    Environment::current(geteuid().is_root()).state_directory()
}

fn is_embedded(config: &HandlerConfig) -> bool {
    config.keyvalue.iter().any(|store| store.at == StoreAddress::Embedded)
}

/// Adds what the sandbox has to allow for the stores of a handler: its folder, and the way out.
pub fn add_needs(handler: &str, config: &HandlerConfig, needs: &mut Needs) {
    if config.keyvalue.iter().any(|store| store.at != StoreAddress::Embedded) {
        needs.add_reaching_out();
    }
    if is_embedded(config)
        && let Some(state) = directory()
    {
        needs.add_state(state.join(handler));
    }
}

/// Makes the folders of embedded stores, before the sandbox, which cannot allow what is not there. A failure is logged.
pub fn make_folders(needs: &Needs) {
    for folder in &needs.state {
        if let Err(error) = make_folder(folder) {
            let folder = folder.display();
            let message = format_args!("keyvalue: {folder}: {error} (see StateDirectory= in the service)");
            journal::log(Level::Error, message);
        }
    }
}
