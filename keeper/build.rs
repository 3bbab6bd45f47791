//! Links the keeper to addresses at which no other program is.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // For ARM, rustc calls its own linker (.cargo/config.toml), and otherwise a C compiler, which calls that of binutils. They
    // have different names for the first address.
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let (by_compiler, first_address) = match architecture.as_str() {
        "aarch64" => ("", "--image-base"),
        _ => ("-Wl,", "-Ttext-segment"),
    };
    // The filter of system calls knows the keeper by the addresses of its code, and the host inherits the filter
    // (src/filter.rs). Programs that are linked to fixed addresses are far below, all others far above.
    println!("cargo::rustc-link-arg-bins={by_compiler}{first_address}=0x70000000");
    for argument in [
        // Headers, code and constants in the same pages of the file.
        "-znoseparate-code",
        "-znorelro",
        "--build-id=none",
        // `strip` of a profile is not heeded for a package with settings of its own.
        "--strip-all",
    ] {
        println!("cargo::rustc-link-arg-bins={by_compiler}{argument}");
    }
}
