//! Tells the linker how to lay out the binary that is shipped.

fn main() {
    println!("cargo::rerun-if-changed=hot.ld");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-T,{}/hot.ld",
            env!("CARGO_MANIFEST_DIR")
        );
    }
}
