//! Guests make HTTP requests as the libraries of their languages do: through `wasm-sock-egress`, to what was granted.

mod languages;
mod load;
mod refused;
mod servers;
mod tls;

use harness::{Address, Egress, Host, Kind, World};

/// A handler whose guest passes requests on to the URL in their query, and what it needs. They end with the test.
pub struct Web {
    pub host: Host,
    pub egress: Egress,
    pub address: Address,
    pub world: World,
}

impl Web {
    /// `guest` is one of `tests/actors/http-fetch`.
    pub fn new(guest: &str, settings: &str) -> Self {
        let world = World::new(Kind::P2);
        Self::of(world, guest, settings)
    }

    pub fn of(world: World, guest: &str, settings: &str) -> Self {
        world.install("web", guest);
        world.configure(&format!("[handler.web]\n{settings}\n"));
        let egress = world.egress();
        let address = world.tcp("web");
        let host = world.start(&[]);
        Self {
            host,
            egress,
            address,
            world,
        }
    }

    /// What the guest got from `url`: status and body; 502: an error.
    pub fn get(&self, url: &str) -> (u16, String) {
        let response = self.address.get(&format!("/?{url}"));
        (response.status, response.text())
    }

    /// The error that the guest got.
    #[track_caller]
    pub fn error(&self, url: &str) -> String {
        let (status, text) = self.get(url);
        assert_eq!(status, 502, "{text}");
        text
    }
}
