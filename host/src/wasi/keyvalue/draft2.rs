//! `wasi:keyvalue@0.2.0-draft2`, as Spin has it.

use super::view::{Error, KeyValue, Result, View, view};
use crate::keyvalue::{Bucket, Failure, Observed};
use crate::wasi::state::GuestState;
use bindings::wasi::keyvalue::{atomics, batch, store};
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Linker, Resource, Type};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft2",
        world: "imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: {
            "wasi:keyvalue/store.bucket": crate::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::wasi::keyvalue::view::Error },
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

/// The interface with `get-many`, of which there are two.
pub const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft2";
const GET_MANY: &str = "get-many";

/// Does a component import the older `get-many`, which returns `list<option<tuple<string, list<u8>>>>`? The proposal
/// had it until August 2026, under the same version. Spin, and the proposal now, return
/// `list<tuple<string, option<list<u8>>>>`.
pub fn wants_older_get_many(linker: &Linker<GuestState>, batch: &ComponentItem) -> bool {
    let ComponentItem::ComponentInstance(batch) = batch else {
        return false;
    };
    let Some(ComponentItem::ComponentFunc(get_many)) = batch.get_export(linker.engine(), GET_MANY).map(|get| get.ty)
    else {
        return false;
    };
    let Some(Type::Result(result)) = get_many.results().next() else {
        return false;
    };
    matches!(result.ok(), Some(Type::List(list)) if matches!(list.ty(), Type::Option(_)))
}

/// Replaces `get-many` by the older one.
pub fn define_older_get_many(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(BATCH)?
        .func_wrap_async(GET_MANY, |store, arguments| Box::new(older_get_many(store, arguments)))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Without keys that are not there, whose places say `none`.
type OlderAnswer = std::result::Result<Vec<Option<(String, Vec<u8>)>>, store::Error>;

async fn older_get_many(
    mut state: StoreContextMut<'_, GuestState>,
    (bucket, keys): (Resource<Bucket>, Vec<String>),
) -> wasmtime::Result<(OlderAnswer,)> {
    let mut view = view(state.data_mut());
    let answer = match batch::Host::get_many(&mut view, bucket, keys).await {
        Ok(pairs) => Ok(pairs.into_iter().map(|(key, value)| Some((key, value?))).collect()),
        Err(error) => Err(store::Host::convert_error(&mut view, error)?),
    };
    Ok((answer,))
}

/// A compare-and-swap: what the value was when the guest began it. It stays that, so that a value which the guest has
/// read later is not taken for it.
#[derive(Clone)]
pub struct Cas {
    bucket: Bucket,
    key: String,
    observed: Observed,
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>> {
        View::open(self, &identifier)
    }

    fn convert_error(&mut self, error: Error) -> wasmtime::Result<store::Error> {
        match error {
            Error::Failure(failure) => Ok(failure.into()),
            Error::Trap(error) => Err(error),
        }
    }
}

impl From<Failure> for store::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchStore => Self::NoSuchStore,
            failure => Self::Other(failure.to_string()),
        }
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

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<String>) -> Result<store::KeyResponse> {
        let (keys, cursor) = self.bucket(&bucket)?.keys_after(cursor).await?;
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.drop_bucket(bucket)
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>> {
        let bucket = self.bucket(&bucket)?;
        let observed = bucket.observe(key.clone()).await?;
        Ok(self.table().push(Cas { bucket, key, observed })?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>> {
        let cas = self.table().get(&cas)?.clone();
        Ok(cas.bucket.get(cas.key).await?)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table().delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Result<i64> {
        Ok(self.bucket(&bucket)?.increment(key, delta).await?)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<std::result::Result<(), atomics::CasError>> {
        let cas = self.table().delete(cas)?;
        let (key, observed) = (cas.key.clone(), cas.observed);
        Ok(match cas.bucket.swap(key, observed, value).await {
            Ok(None) => Ok(()),
            Ok(Some(observed)) => {
                let again = self.table().push(Cas { observed, ..cas })?;
                Err(atomics::CasError::CasFailed(again))
            }
            Err(failure) => Err(atomics::CasError::StoreError(failure.into())),
        })
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let values = self.bucket(&bucket)?.get_many(keys.clone()).await?;
        Ok(keys.into_iter().zip(values).collect())
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Result<()> {
        Ok(self.bucket(&bucket)?.set(key_values).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<()> {
        Ok(self.bucket(&bucket)?.delete(keys).await?)
    }
}
