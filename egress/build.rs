//! Compiles the filter of system calls.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};
use wasm_sock_seccomp::{Architecture, compile, lists::EGRESS};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let architecture = Architecture::named(&architecture)
        .unwrap_or_else(|| panic!("crates/seccomp has no numbers of the system calls of {architecture}"));
    let mut text = String::from("&[\n");
    for step in compile(&architecture, &[EGRESS]) {
        let _ = writeln!(text, "step({}, {}, {}, {}),", step.code, step.jt, step.jf, step.k);
    }
    text.push(']');
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("filter.rs"), text).expect("OUT_DIR can be written");
}
