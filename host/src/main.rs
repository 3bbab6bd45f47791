//! `wasm-sock`: see `wasm-sock help`.

use std::process::ExitCode;

/// musl's allocator asks the kernel for memory page by page, and gives each page back: fifty system
/// calls in a cold start. This one asks for 64 KiB at a time.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    wasm_sock::cli::main()
}
