//! `wasi:cli`: arguments and environment variables, standard streams, exit.

use super::environment::GuestContext;
use super::interface::{Interface, p2, p3};
use super::state::GuestState;
use wasmtime::Result;
use wasmtime::component::HasData;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::cli as cli2;
use wasmtime_wasi::p3::bindings::cli as cli3;

const ENVIRONMENT: &str = "args and env, for what is yours";

pub const INTERFACES: &[Interface] = &[
    p2("wasi:cli/environment", |l| {
        cli2::environment::add_to_linker::<GuestState, GuestContext>(l, guest)
    })
    .needs(ENVIRONMENT),
    p2("wasi:cli/exit", |l| {
        cli2::exit::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/stdin", |l| {
        cli2::stdin::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/stdout", |l| {
        cli2::stdout::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/stderr", |l| {
        cli2::stderr::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/terminal-input", |l| {
        cli2::terminal_input::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/terminal-output", |l| {
        cli2::terminal_output::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/terminal-stdin", |l| {
        cli2::terminal_stdin::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/terminal-stdout", |l| {
        cli2::terminal_stdout::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p2("wasi:cli/terminal-stderr", |l| {
        cli2::terminal_stderr::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    // Only types: there is nothing to define.
    p3("wasi:cli/types", |_| Ok(())),
    p3("wasi:cli/environment", |l| {
        cli3::environment::add_to_linker::<GuestState, GuestContext>(l, guest)
    })
    .needs(ENVIRONMENT),
    p3("wasi:cli/exit", |l| {
        cli3::exit::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/stdin", |l| {
        cli3::stdin::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/stdout", |l| {
        cli3::stdout::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/stderr", |l| {
        cli3::stderr::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/terminal-input", |l| {
        cli3::terminal_input::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/terminal-output", |l| {
        cli3::terminal_output::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/terminal-stdin", |l| {
        cli3::terminal_stdin::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/terminal-stdout", |l| {
        cli3::terminal_stdout::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
    p3("wasi:cli/terminal-stderr", |l| {
        cli3::terminal_stderr::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)
    }),
];

fn guest(state: &mut GuestState) -> &GuestContext {
    &state.context.guest
}

impl HasData for GuestContext {
    type Data<'a> = &'a GuestContext;
}

impl cli2::environment::Host for &GuestContext {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.variables())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(self.arguments())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl cli3::environment::Host for &GuestContext {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.variables())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(self.arguments())
    }

    fn get_initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}
