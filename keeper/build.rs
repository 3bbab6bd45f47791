//! Links the keeper to addresses at which no other program is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        // The filter of system calls knows the keeper by the addresses of its code, and the host inherits the filter
        // (src/filter.rs). Programs that are linked to fixed addresses are far below, all others far above.
        "--image-base=0x70000000",
        // Headers, code and constants in the same pages of the file.
        "-znoseparate-code",
        "--no-rosegment",
        "-znorelro",
        "--build-id=none",
        // What unwinds the stack, which nothing here does: with that, the linker would take Rust's whole library.
        "--defsym=rust_eh_personality=0",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
