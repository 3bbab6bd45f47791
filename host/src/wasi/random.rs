//! `wasi:random`: random bytes from the kernel, as Wasmtime implements it.

use super::interface::{Interface, p2, p3};
use super::state::GuestState;
use wasmtime_wasi::p2::bindings::random as random2;
use wasmtime_wasi::p3::bindings::random as random3;
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

pub const INTERFACES: &[Interface] = &[
    p2("wasi:random/random", |l| {
        random2::random::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
    p2("wasi:random/insecure", |l| {
        random2::insecure::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
    p2("wasi:random/insecure-seed", |l| {
        random2::insecure_seed::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
    p3("wasi:random/random", |l| {
        random3::random::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
    p3("wasi:random/insecure", |l| {
        random3::insecure::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
    p3("wasi:random/insecure-seed", |l| {
        random3::insecure_seed::add_to_linker::<GuestState, WasiRandom>(l, GuestState::random)
    }),
];
