//! The state of a guest, as both drafts see it.

use crate::keyvalue::{Bucket, Failure};
use crate::wasi::state::GuestState;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::WasiView;

/// The state of a guest, as these interfaces see it.
pub struct View<'a>(&'a mut GuestState);

/// Names [`View`] for Wasmtime.
pub struct KeyValue;

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

pub type Result<T> = std::result::Result<T, Error>;

pub fn view(state: &mut GuestState) -> View<'_> {
    View(state)
}

impl View<'_> {
    pub fn table(&mut self) -> &mut ResourceTable {
        self.0.ctx().table
    }

    pub fn open(&mut self, name: &str) -> Result<Resource<Bucket>> {
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

    pub fn bucket(&mut self, bucket: &Resource<Bucket>) -> Result<Bucket> {
        Ok(self.table().get(bucket)?.clone())
    }

    pub fn drop_bucket(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table().delete(bucket)?;
        Ok(())
    }
}
