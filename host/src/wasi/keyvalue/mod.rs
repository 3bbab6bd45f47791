//! `wasi:keyvalue`: the stores that a guest was granted (`keyvalue`).
//!
//! Two drafts are in use, which are compatible with themselves only: `0.2.0-draft` (Wasmtime, wasmCloud) and
//! `0.2.0-draft2` (Spin), which has compare-and-swap. Both lead to the same stores.

mod draft;
mod draft2;

use super::interface::{Interface, draft};
use super::state::GuestState;
use crate::keyvalue::{Bucket, Failure};
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::WasiView;

/// The setting that `inspect` shows for these interfaces.
const NEEDS: &str = "keyvalue, for a store";

pub const INTERFACES: &[Interface] = &[
    draft("wasi:keyvalue/store@0.2.0-draft", draft::define_store).needs(NEEDS),
    draft("wasi:keyvalue/atomics@0.2.0-draft", draft::define_atomics).needs(NEEDS),
    draft("wasi:keyvalue/batch@0.2.0-draft", draft::define_batch).needs(NEEDS),
    draft("wasi:keyvalue/store@0.2.0-draft2", draft2::define_store).needs(NEEDS),
    draft("wasi:keyvalue/atomics@0.2.0-draft2", draft2::define_atomics).needs(NEEDS),
    draft("wasi:keyvalue/batch@0.2.0-draft2", draft2::define_batch).needs(NEEDS),
];

/// The state of a guest, as these interfaces see it.
pub struct View<'a>(&'a mut GuestState);

/// Names [`View`] for Wasmtime.
struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = View<'a>;
}

/// An error of a store, or of the guest, which traps.
pub enum Error {
    Failure(Failure),
    Trap(wasmtime::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<wasmtime::component::ResourceTableError> for Error {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

type Result<T> = std::result::Result<T, Error>;

fn view(state: &mut GuestState) -> View<'_> {
    View(state)
}

impl View<'_> {
    fn table(&mut self) -> &mut ResourceTable {
        self.0.ctx().table
    }

    fn open(&mut self, name: &str) -> Result<Resource<Bucket>> {
        let bucket = self
            .0
            .context
            .guest
            .stores
            .as_ref()
            .and_then(|stores| stores.open(name));
        let bucket = bucket.ok_or_else(|| {
            self.0.context.guest.warn_of_store(name);
            Failure::NoSuchStore
        })?;
        Ok(self.table().push(bucket)?)
    }

    fn bucket(&mut self, bucket: &Resource<Bucket>) -> Result<Bucket> {
        Ok(self.table().get(bucket)?.clone())
    }

    fn drop_bucket(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table().delete(bucket)?;
        Ok(())
    }
}
