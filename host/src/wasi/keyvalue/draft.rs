//! `wasi:keyvalue@0.2.0-draft`.

use super::{Error, KeyValue, Result, View, view};
use crate::keyvalue::{Bucket, Failure};
use crate::wasi::state::GuestState;
use bindings::wasi::keyvalue::{atomics, batch, store};
use wasm_sock_store::StoreError;
use wasmtime::component::{Linker, Resource};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft",
        world: "imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: { "wasi:keyvalue/store.bucket": crate::keyvalue::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::wasi::keyvalue::Error },
    });
}

pub fn define_store(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<GuestState, KeyValue>(linker, view)
}

pub fn define_atomics(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    atomics::add_to_linker::<GuestState, KeyValue>(linker, view)
}

pub fn define_batch(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    batch::add_to_linker::<GuestState, KeyValue>(linker, view)
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>> {
        View::open(self, &identifier)
    }

    fn convert_error(&mut self, error: Error) -> wasmtime::Result<store::Error> {
        Ok(match error {
            Error::Failure(Failure::NoSuchStore) => store::Error::NoSuchStore,
            Error::Failure(failure) => store::Error::Other(failure.to_string()),
            Error::Trap(error) => return Err(error),
        })
    }
}

impl store::HostBucket for View<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.bucket(&bucket)?.get(key).await?)
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<()> {
        Ok(self.bucket(&bucket)?.set(vec![(key, value)]).await?)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<()> {
        Ok(self.bucket(&bucket)?.delete(vec![key]).await?)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool> {
        Ok(self.bucket(&bucket)?.exists(key).await?)
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Result<store::KeyResponse> {
        let mut opened = self.bucket(&bucket)?;
        let (keys, cursor) = opened.keys_from(cursor).await?;
        *self.table().get_mut(&bucket)? = opened;
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.drop_bucket(bucket)
    }
}

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Result<u64> {
        let out_of_range = |_| Error::from(Failure::from(StoreError::OutOfRange));
        let delta = i64::try_from(delta).map_err(out_of_range)?;
        let sum = self.bucket(&bucket)?.increment(key, delta).await?;
        u64::try_from(sum).map_err(out_of_range)
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>> {
        let values = self.bucket(&bucket)?.get_many(keys.clone()).await?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs.map(|(key, value)| value.map(|value| (key, value))).collect())
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Result<()> {
        Ok(self.bucket(&bucket)?.set(key_values).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<()> {
        Ok(self.bucket(&bucket)?.delete(keys).await?)
    }
}
