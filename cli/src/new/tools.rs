//! The tools that a language needs, and where they come from.

use super::Language;
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is to be installed, as commands and hints; empty if all is there.
pub fn missing(language: Language) -> Vec<String> {
    let needed: &[(&str, &str)] = match language {
        Language::Rust => &[("cargo", "install Rust: https://rustup.rs")],
        Language::Go => &[MAKE],
        Language::C => &[
            MAKE,
            (
                "clang",
                "apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32  # or the WASI SDK",
            ),
        ],
        Language::Cpp | Language::Zig | Language::Python => &[MAKE, PYTHON],
        Language::Js | Language::Ts | Language::Assemblyscript => {
            &[MAKE, ("npm", "install Node.js 20 or newer: https://nodejs.org")]
        }
    };
    let needed = needed.iter().filter(|(program, _)| !is_installed(program));
    let mut missing: Vec<String> = needed.map(|(_, from)| (*from).to_owned()).collect();
    if language == Language::Go && !is_installed("go") && !is_installed("python3") {
        missing.push("install Go: https://go.dev/dl".to_owned());
    }
    if language == Language::Rust && !has_rust_target() {
        missing.push("rustup target add wasm32-wasip2".to_owned());
    }
    missing
}

const MAKE: (&str, &str) = ("make", "apt-get install make");
const PYTHON: (&str, &str) = ("python3", "apt-get install python3-venv");

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Is Rust's standard library there for WASI 0.2? Unknown is yes: the build says it.
fn has_rust_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "sysroot"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let Ok(output) = rustc.output() else { return true };
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    root.is_empty() || Path::new(&root).join("lib/rustlib/wasm32-wasip2").is_dir()
}
