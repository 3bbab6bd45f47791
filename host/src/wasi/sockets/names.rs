//! `wasi:sockets/ip-name-lookup`: DNS lookup of the names that a guest was granted, and no others.
//!
//! Wasmtime's own implementation allows either every name or none.

use super::code;
use crate::egress::Failure;
use crate::wasi::state::GuestState;
use std::net::IpAddr;
use wasmtime::component::{Accessor, HasData, Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as p3, types};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi::{WasiView, async_trait};

/// A `resolve-address-stream`.
enum Lookup {
    Asked(AbortOnDropJoinHandle<Result<Vec<IpAddr>, Failure>>),
    /// The addresses that the guest has not read yet.
    Answered(std::vec::IntoIter<IpAddr>),
    Failed(ErrorCode),
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Asked(lookup) = self {
            *self = match lookup.await {
                Ok(addresses) => Self::Answered(addresses.into_iter()),
                Err(failure) => Self::Failed(lookup_code(&failure)),
            };
        }
    }
}

/// The code of a lookup that failed.
fn lookup_code(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::TimedOut | Failure::Limit | Failure::Internal(_) => ErrorCode::TemporaryResolverFailure,
        failure => code::of_failure(failure),
    }
}

type Store<'a> = StoreContextMut<'a, GuestState>;

/// Adds the interface of WASI 0.2 to a linker.
///
/// # Errors
/// When it was defined before.
pub fn define_p2(linker: &mut Linker<GuestState>) -> Result<()> {
    let mut instance = linker.instance("wasi:sockets/ip-name-lookup@0.2.0")?;
    instance.resource(
        "resolve-address-stream",
        ResourceType::host::<Lookup>(),
        |mut store, lookup| {
            let lookup = Resource::<Lookup>::new_own(lookup);
            store.data_mut().ctx().table.delete(lookup)?;
            Ok(())
        },
    )?;
    instance.func_wrap("resolve-addresses", resolve_addresses)?;
    instance.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        resolve_next_address,
    )?;
    instance.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: Store<'_>, (lookup,): (Resource<Lookup>,)| -> Result<(Resource<DynPollable>,)> {
            Ok((subscribe(store.data_mut().ctx().table, lookup)?,))
        },
    )
}

fn resolve_addresses(
    mut store: Store<'_>,
    (network, name): (Resource<Network>, String),
) -> Result<(Result<Resource<Lookup>, ErrorCode>,)> {
    let state = store.data_mut();
    let reach = state.context.reach();
    let table = state.ctx().table;
    table.get(&network)?;
    let lookup = spawn(async move { reach.look_up(&name).await });
    Ok((Ok(table.push(Lookup::Asked(lookup))?),))
}

fn resolve_next_address(
    mut store: Store<'_>,
    (lookup,): (Resource<Lookup>,),
) -> Result<(Result<Option<IpAddress>, ErrorCode>,)> {
    let address = match store.data_mut().ctx().table.get_mut(&lookup)? {
        Lookup::Asked(_) => Err(ErrorCode::WouldBlock),
        Lookup::Answered(addresses) => Ok(addresses.next().map(IpAddress::from)),
        Lookup::Failed(why) => Err(*why),
    };
    Ok((address,))
}

/// Adds the interface of WASI 0.3 to a linker.
///
/// # Errors
/// When it was defined before.
pub fn define_p3(linker: &mut Linker<GuestState>) -> Result<()> {
    p3::add_to_linker::<GuestState, Names>(linker, |state| state)
}

struct Names;

impl HasData for Names {
    type Data<'a> = &'a mut GuestState;
}

impl p3::Host for GuestState {}

impl p3::HostWithStore<GuestState> for Names {
    async fn resolve_addresses(
        store: &Accessor<GuestState, Self>,
        name: String,
    ) -> Result<Result<Vec<types::IpAddress>, p3::ErrorCode>> {
        let reach = store.with(|mut access| access.get().context.reach());
        Ok(match reach.look_up(&name).await {
            Ok(addresses) => Ok(addresses.into_iter().map(Into::into).collect()),
            Err(failure) => Err(match lookup_code(&failure) {
                ErrorCode::AccessDenied => p3::ErrorCode::AccessDenied,
                ErrorCode::NameUnresolvable => p3::ErrorCode::NameUnresolvable,
                ErrorCode::TemporaryResolverFailure => p3::ErrorCode::TemporaryResolverFailure,
                _ => p3::ErrorCode::PermanentResolverFailure,
            }),
        })
    }
}
