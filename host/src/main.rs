//! `wasm-sock`: see `wasm-sock help`.

mod allocator;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator::new();

fn main() -> ExitCode {
    wasm_sock::cli::main()
}
