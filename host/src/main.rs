//! `wasm-sock`: see `wasm-sock help`.

use std::process::ExitCode;
use wasm_sock::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    wasm_sock::cli::main()
}
