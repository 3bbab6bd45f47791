//! Tells the linker how to lay out the binary that is shipped, and compiles the filters of system calls.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};
use wasm_sock_seccomp::{Architecture, Variant, compile};

fn main() {
    println!("cargo::rerun-if-changed=pgo/hot.ld");
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    // The script is for the linker of binutils, which `make host` takes for x86_64: its order names functions of that.
    if env::var("RUSTC_LINKER").is_ok_and(|linker| linker == "cc") {
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-T,{}/pgo/hot.ld",
            env!("CARGO_MANIFEST_DIR")
        );
        // Without tables for that, nothing walks the stack: src/libc_overrides/unwind.rs.
        println!("cargo::rustc-cfg=without_backtraces");
    }
    println!("cargo::rustc-check-cfg=cfg(without_backtraces)");
    write_filters(&architecture);
}

/// Writes `filters.rs`, an expression that `sandbox/seccomp.rs` includes: the filter of each variant.
fn write_filters(architecture: &str) {
    let architecture = Architecture::named(architecture)
        .unwrap_or_else(|| panic!("crates/seccomp has no numbers of the system calls of {architecture}"));
    let mut text = String::from("[\n");
    for variant in Variant::ALL {
        text.push_str("&[\n");
        for step in compile(&architecture, variant.lists()) {
            let _ = writeln!(text, "step({}, {}, {}, {}),", step.code, step.jt, step.jf, step.k);
        }
        text.push_str("],\n");
    }
    text.push(']');
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("filters.rs"), text).expect("OUT_DIR can be written");
}
