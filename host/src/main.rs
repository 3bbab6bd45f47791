//! `wasm-sock`: see `wasm-sock help`.

use std::process::ExitCode;
use wasm_sock::libc_overrides::heap::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    wasm_sock::cli::main()
}
