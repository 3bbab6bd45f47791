//! Tells the linker how to lay out the binary that is shipped, and compiles the filters of system calls.

#[path = "src/sandbox/syscalls.rs"]
mod syscalls;

#[path = "build/filter.rs"]
mod filter;

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=hot.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/sandbox/syscalls.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-T,{}/hot.ld",
            env!("CARGO_MANIFEST_DIR")
        );
    }
    write_filters();
}

/// `filters.rs`: an expression, which `sandbox/seccomp.rs` includes.
fn write_filters() {
    let mut text = String::from("[\n");
    for variant in syscalls::VARIANTS {
        text.push_str("&[\n");
        for step in filter::compile(variant) {
            let filter::Step { code, jt, jf, k } = step;
            let _ = writeln!(text, "step({code}, {jt}, {jf}, {k}),");
        }
        text.push_str("],\n");
    }
    text.push(']');
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("filters.rs"), text).expect("OUT_DIR can be written");
}
