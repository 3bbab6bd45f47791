//! `wasm-sock`: see `wasm-sock help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasm_sock::cli::main()
}
