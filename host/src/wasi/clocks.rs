//! `wasi:clocks`: monotonic clock, wall clock and time zone, as Wasmtime implements them.

use super::interface::{Interface, p2, p3};
use super::state::GuestState;
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::clocks as clocks2;
use wasmtime_wasi::p3::bindings::clocks as clocks3;

pub const INTERFACES: &[Interface] = &[
    p2("wasi:clocks/wall-clock", |l| {
        clocks2::wall_clock::add_to_linker::<GuestState, WasiClocks>(l, GuestState::clocks)
    }),
    p2("wasi:clocks/monotonic-clock", |l| {
        clocks2::monotonic_clock::add_to_linker::<GuestState, WasiClocks>(l, GuestState::clocks)
    }),
    p3("wasi:clocks/types", |l| {
        clocks3::types::add_to_linker::<GuestState, WasiClocks>(l, GuestState::clocks)
    }),
    p3("wasi:clocks/monotonic-clock", |l| {
        clocks3::monotonic_clock::add_to_linker::<GuestState, WasiClocks>(l, GuestState::clocks)
    }),
    p3("wasi:clocks/system-clock", |l| {
        clocks3::system_clock::add_to_linker::<GuestState, WasiClocks>(l, GuestState::clocks)
    }),
];
