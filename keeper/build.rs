//! Links the keeper to addresses at which no other program is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        // The filter of system calls knows the keeper by the addresses of its code, and the host inherits the filter
        // (src/filter.rs). Programs that are linked to fixed addresses are far below, all others far above.
        "-Wl,-Ttext-segment=0x70000000",
        // Headers, code and constants in the same pages of the file.
        "-Wl,-z,noseparate-code",
        "-Wl,-z,norelro",
        "-Wl,--build-id=none",
        // `strip` of a profile is not heeded for a package with settings of its own.
        "-Wl,--strip-all",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
