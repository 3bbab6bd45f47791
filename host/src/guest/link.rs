//! WASI 0.2 and 0.3 for components, one interface at a time: a component gets those that it imports.
//!
//! Registering all of WASI takes longer than running a small guest.

use super::environment::Who;
use super::state::State;
use super::{handles, http as http_guest, lookup};
use wasmtime::component::{HasData, Linker, LinkerInstance, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets};
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::p3::bindings::http as http3;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

fn who(state: &mut State) -> &Who {
    &state.context.who
}

fn table(state: &mut State) -> &mut ResourceTable {
    state.ctx().table
}

/// The minor versions of WASI that components are linked to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    Two,
    Three,
}

/// The interface that a name means (`wasi:cli/stdin@0.2.6`), and its minor version: all of one minor version
/// are compatible, so a component gets the one there is. `None`: it is not of WASI 0.2 or 0.3.
pub fn interface(import: &str) -> Option<(&str, Minor)> {
    let (interface, version) = import.split_once('@')?;
    if version.starts_with("0.2.") {
        Some((interface, Minor::Two))
    } else if version.starts_with("0.3.") {
        Some((interface, Minor::Three))
    } else {
        None
    }
}

/// Defines the interface `import`. Returns whether there is such an interface.
///
/// # Errors
/// When it is there already.
pub fn define(linker: &mut Linker<State>, import: &str) -> wasmtime::Result<bool> {
    match interface(import) {
        Some((interface, Minor::Two)) => {
            let is_known = define_p2(linker, interface)?;
            if handles::LIMITED.contains(&interface) {
                handles::limit(linker, interface)?;
            }
            if interface == "wasi:http/types" {
                http_guest::define_body(linker)?;
            }
            Ok(is_known)
        }
        Some((interface, Minor::Three)) => define_p3(linker, interface),
        None => Ok(false),
    }
}

/// Defines functions anew of an interface of WASI 0.2 that is defined.
///
/// # Errors
/// When the interface is not there.
pub fn redefine(
    linker: &mut Linker<State>,
    interface: &str,
    define: impl FnOnce(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    // The version that Wasmtime defines; a component may ask for another.
    define(&mut linker.instance(&format!("{interface}@0.2.12"))?)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn define_p2(l: &mut Linker<State>, interface: &str) -> wasmtime::Result<bool> {
    match interface {
        "wasi:io/error" => io::error::add_to_linker::<State, Io>(l, table)?,
        "wasi:io/poll" => io::poll::add_to_linker::<State, Io>(l, table)?,
        "wasi:io/streams" => io::streams::add_to_linker::<State, Io>(l, table)?,
        "wasi:clocks/wall-clock" => {
            clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
        }
        "wasi:clocks/monotonic-clock" => {
            clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
        }
        "wasi:random/random" => random::random::add_to_linker::<State, WasiRandom>(l, State::random)?,
        "wasi:random/insecure" => {
            random::insecure::add_to_linker::<State, WasiRandom>(l, State::random)?;
        }
        "wasi:random/insecure-seed" => {
            random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)?;
        }
        "wasi:filesystem/types" => {
            filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
        }
        "wasi:filesystem/preopens" => {
            filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
        }
        "wasi:http/types" => {
            let options = http::types::LinkOptions::default();
            http::types::add_to_linker::<State, WasiHttp>(l, &options, State::http)?;
        }
        "wasi:http/outgoing-handler" => {
            http::outgoing_handler::add_to_linker::<State, WasiHttp>(l, State::http)?;
        }
        _ if interface.starts_with("wasi:cli/") => return define_cli(l, interface),
        _ if interface.starts_with("wasi:sockets/") => return define_sockets(l, interface),
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_cli(l: &mut Linker<State>, interface: &str) -> wasmtime::Result<bool> {
    match interface {
        "wasi:cli/environment" => cli::environment::add_to_linker::<State, Who>(l, who)?,
        "wasi:cli/exit" => cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stdin" => cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stdout" => cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stderr" => cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-input" => cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-output" => cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-stdin" => cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-stdout" => cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-stderr" => cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sockets can be linked by everybody; what is granted is decided when they are used (`outbound`).
fn define_sockets(l: &mut Linker<State>, interface: &str) -> wasmtime::Result<bool> {
    match interface {
        "wasi:sockets/network" => {
            let options = sockets::network::LinkOptions::default();
            sockets::network::add_to_linker::<State, WasiSockets>(l, &options, State::sockets)?;
        }
        "wasi:sockets/instance-network" => {
            sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
        }
        "wasi:sockets/ip-name-lookup" => lookup::define_p2(l)?,
        "wasi:sockets/tcp" => sockets::tcp::add_to_linker::<State, WasiSockets>(l, State::sockets)?,
        "wasi:sockets/tcp-create-socket" => {
            sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
        }
        "wasi:sockets/udp" => sockets::udp::add_to_linker::<State, WasiSockets>(l, State::sockets)?,
        "wasi:sockets/udp-create-socket" => {
            sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn define_p3(l: &mut Linker<State>, interface: &str) -> wasmtime::Result<bool> {
    use p3::{cli, clocks, filesystem, random, sockets};
    match interface {
        // Only types: there is nothing to define.
        "wasi:cli/types" => {}
        "wasi:cli/environment" => cli::environment::add_to_linker::<State, Who>(l, who)?,
        "wasi:cli/exit" => cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stdin" => cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stdout" => cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/stderr" => cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?,
        "wasi:cli/terminal-input" => {
            cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
        }
        "wasi:cli/terminal-output" => {
            cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
        }
        "wasi:cli/terminal-stdin" => {
            cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
        }
        "wasi:cli/terminal-stdout" => {
            cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
        }
        "wasi:cli/terminal-stderr" => {
            cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
        }
        "wasi:clocks/types" => clocks::types::add_to_linker::<State, WasiClocks>(l, State::clocks)?,
        "wasi:clocks/monotonic-clock" => {
            clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
        }
        "wasi:clocks/system-clock" => {
            clocks::system_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
        }
        "wasi:filesystem/types" => {
            filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
        }
        "wasi:filesystem/preopens" => {
            filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
        }
        "wasi:random/random" => {
            random::random::add_to_linker::<State, WasiRandom>(l, State::random)?;
        }
        "wasi:random/insecure" => {
            random::insecure::add_to_linker::<State, WasiRandom>(l, State::random)?;
        }
        "wasi:random/insecure-seed" => {
            random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)?;
        }
        "wasi:sockets/types" => {
            sockets::types::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
        }
        "wasi:sockets/ip-name-lookup" => lookup::define_p3(l)?,
        "wasi:http/types" => http3::types::add_to_linker::<State, WasiHttp>(l, State::http)?,
        "wasi:http/client" => http3::client::add_to_linker::<State, WasiHttp>(l, State::http)?,
        _ => return Ok(false),
    }
    Ok(true)
}
