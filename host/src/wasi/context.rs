//! The WASI context of one guest: what it may access besides its connection.

use super::environment::GuestContext;
use super::handles::{self, Opened};
use super::outbound::Reach;
use super::stderr::Lines;
use crate::net::{Stdin, Stdio, Stdout};
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView};

/// The most random bytes that a component may ask for in one call: other guests of the thread wait while they are
/// generated.
const MOST_RANDOM: u64 = 1 << 20;

/// The WASI context of a guest. It is created when the guest first needs it: a core module that only reads and writes
/// its connection never does.
pub struct WasiContext {
    pub guest: Arc<GuestContext>,
    stdio: Option<Stdio>,
    made: Option<Box<Made>>,
    /// Whether a core module's descriptors 0 and 1 are non-blocking (`O_NONBLOCK`).
    pub nonblocking: [bool; 2],
    /// The guest answers a HEAD request.
    pub answers_head: bool,
    /// The files and directories that a component has opened.
    pub opened: Opened,
}

struct Made {
    /// Serves core modules and components: a component uses only the context in it.
    wasi: WasiP1Ctx,
    /// Its way out.
    reach: Arc<Reach>,
}

impl WasiContext {
    /// The context of a guest. Without `stdio`, its standard input is empty and its standard output is logged.
    /// `granted` has the directories that the guest may open.
    pub fn new(guest: Arc<GuestContext>, stdio: Option<Stdio>, granted: Option<WasiCtxBuilder>) -> Self {
        let made = granted.map(|builder| make(builder, &guest, stdio.as_ref()));
        let opened = Opened::default();
        Self {
            guest,
            stdio,
            made,
            nonblocking: [false; 2],
            answers_head: false,
            opened,
        }
    }

    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.made().wasi
    }

    pub fn reach(&mut self) -> Arc<Reach> {
        self.made().reach.clone()
    }

    /// The table of the guest's handles; `None` as long as there is none.
    pub fn handles(&mut self) -> Option<&mut ResourceTable> {
        Some(self.made.as_mut()?.wasi.ctx().table)
    }

    fn made(&mut self) -> &mut Made {
        let make = || make(WasiCtx::builder(), &self.guest, self.stdio.as_ref());
        self.made.get_or_insert_with(make)
    }
}

fn make(mut builder: WasiCtxBuilder, guest: &Arc<GuestContext>, stdio: Option<&Stdio>) -> Box<Made> {
    let log = Lines::new(guest.clone());
    match stdio {
        Some(stdio) => builder.stdin(Stdin(stdio.clone())).stdout(Stdout(stdio.clone())),
        None => builder.stdout(log.clone()),
    };
    let reach = Reach::new(guest.clone());
    builder.stderr(log).max_random_size(MOST_RANDOM);
    let mut wasi = builder.build_p1();
    wasi.ctx().table.set_max_capacity(handles::MOST);
    Box::new(Made { wasi, reach })
}
