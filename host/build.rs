//! Tells the linker how to lay out the binary that is shipped, and compiles the filters of system calls.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};
use wasm_sock_seccomp::{Step, compile, lists};

fn main() {
    println!("cargo::rerun-if-changed=hot.ld");
    println!("cargo::rerun-if-changed=build.rs");
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
    for variant in lists::VARIANTS {
        text.push_str("&[\n");
        for step in compile(variant) {
            let Step { code, jt, jf, k } = step;
            let _ = writeln!(text, "step({code}, {jt}, {jf}, {k}),");
        }
        text.push_str("],\n");
    }
    text.push(']');
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("filters.rs"), text).expect("OUT_DIR can be written");
}
