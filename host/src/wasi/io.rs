//! `wasi:io`: errors, polling (with a limit of handles in one call), streams.

use super::interface::{Interface, p2, redefine};
use super::state::GuestState;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};

pub const INTERFACES: &[Interface] = &[
    p2("wasi:io/error", |l| error::add_to_linker::<GuestState, Io>(l, table)),
    p2("wasi:io/poll", define_poll),
    p2("wasi:io/streams", |l| {
        streams::add_to_linker::<GuestState, Io>(l, table)
    }),
];

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(state: &mut GuestState) -> &mut ResourceTable {
    state.ctx().table
}

/// The most handles in one call of `poll`. All of them are checked whenever one becomes ready, which blocks the
/// thread. Programs need no more than one for each descriptor and a few timers.
pub const MOST_WAITED_FOR: usize = 4096;

/// Defines the interface, with a `poll` that enforces [`MOST_WAITED_FOR`].
fn define_poll(linker: &mut Linker<GuestState>) -> Result<()> {
    poll::add_to_linker::<GuestState, Io>(linker, table)?;
    redefine(linker, "wasi:io/poll", |instance| {
        instance.func_wrap_async("poll", |store, arguments| Box::new(wait_for(store, arguments)))
    })
}

async fn wait_for(
    mut store: StoreContextMut<'_, GuestState>,
    (handles,): (Vec<Resource<DynPollable>>,),
) -> Result<(Vec<u32>,)> {
    if handles.len() > MOST_WAITED_FOR {
        wasmtime::bail!("waited for more than {MOST_WAITED_FOR} handles at once");
    }
    let table = store.data_mut().ctx().table;
    poll::Host::poll(table, handles).await.map(|ready| (ready,))
}
