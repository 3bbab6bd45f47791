//! `wasi:config`: values from the configuration (`config`), and secrets from the service's credentials (`secrets`).
//!
//! The interface is a draft. Its versions differ in their names only, so all are the same functions.

use super::interface::{Interface, draft};
use super::state::GuestState;
use super::values::Unreadable;
use crate::journal::Level;
use std::sync::Arc;
use wasmtime::component::{ComponentType, Linker, Lower};
use wasmtime::{Result, StoreContextMut};

const NEEDS: &str = "config or secrets, for what is yours";

/// Wasmtime, wasmCloud.
const CANDIDATE: &str = "wasi:config/store@0.2.0-rc.1";
/// Spin.
const OF_2024_09_27: &str = "wasi:config/store@0.2.0-draft-2024-09-27";
/// The proposal, and its name for the interface in components that were built before September 2024.
const DRAFT: &str = "wasi:config/store@0.2.0-draft";
const RUNTIME: &str = "wasi:config/runtime@0.2.0-draft";

pub const INTERFACES: &[Interface] = &[
    draft(CANDIDATE, |l| define(l, CANDIDATE)).needs(NEEDS),
    draft(OF_2024_09_27, |l| define(l, OF_2024_09_27)).needs(NEEDS),
    draft(DRAFT, |l| define(l, DRAFT)).needs(NEEDS),
    draft(RUNTIME, |l| define(l, RUNTIME)).needs(NEEDS),
];

/// `variant error` of the interface.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    #[expect(dead_code, reason = "values come from files")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Found = std::result::Result<Option<Arc<str>>, Error>;
type All = std::result::Result<Vec<(String, Arc<str>)>, Error>;

fn define(linker: &mut Linker<GuestState>, interface: &str) -> Result<()> {
    let mut interface = linker.instance(interface)?;
    interface.func_wrap("get", |store, (key,): (String,)| Ok((get(&store, &key),)))?;
    interface.func_wrap("get-all", |store, ()| Ok((get_all(&store),)))
}

fn get(store: &StoreContextMut<'_, GuestState>, key: &str) -> Found {
    let guest = &store.data().context.guest;
    let value = guest.values.get(&guest.handler, &guest.config, key);
    value.map_err(|why| report(store, &why))
}

fn get_all(store: &StoreContextMut<'_, GuestState>) -> All {
    let guest = &store.data().context.guest;
    guest.values.all(&guest.config).map_err(|why| report(store, &why))
}

/// Logs why there is no value. The guest learns no more than that.
fn report(store: &StoreContextMut<'_, GuestState>, why: &Unreadable) -> Error {
    let guest = &store.data().context.guest;
    if let Some(suppressed) = guest.values.warnings.take() {
        guest.log(Level::Warning, format_args!("{why}{suppressed}"));
    }
    Error::Io("the value cannot be read (the host's log tells why)".to_owned())
}
