//! Creates a Wasmtime engine: stack size, allocation strategy (on demand or pooling).

use super::code_memory::FromFile;
use std::sync::Arc;
use wasm_sock_engine::Support;
use wasmtime::{Engine, PoolingAllocationConfig};

/// Stack for the host functions that a guest calls, in bytes. Reserved, not used.
const HOST_STACK: usize = 512 << 10;

/// Creates an engine; with a `pool`, it uses Wasmtime's pooling allocator. `stack` is the stack of one guest, in
/// bytes; artifacts do not depend on it.
///
/// # Errors
/// When Wasmtime does not accept the settings, or memory cannot be reserved.
pub fn engine(support: Support, stack: u32, pool: Option<PoolingAllocationConfig>) -> wasmtime::Result<Engine> {
    let mut config = wasm_sock_engine::config_without_compiler(support);
    config
        .with_custom_code_memory(Some(Arc::new(FromFile)))
        .max_wasm_stack(stack as usize)
        .async_stack_size(stack as usize + HOST_STACK);
    if let Some(pool) = pool {
        config.allocation_strategy(pool);
    }
    Engine::new(&config)
}
