//! Embeds the example guests, which are the templates of `wasm-sock new`: those in the repository, not copies of them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The examples that are templates.
const EXAMPLES: [&str; 11] = [
    "echo",
    "hello",
    "hello-assemblyscript",
    "hello-c",
    "hello-cpp",
    "hello-go",
    "hello-zig",
    "http-hello",
    "http-javascript",
    "http-python",
    "http-typescript",
];

/// What tools make in them.
const MADE: [&str; 5] = ["__pycache__", "build", "node_modules", "target", "venv"];

fn main() {
    // As cargo says now: this program may have been built for another checkout that shares the target directory.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let guests = Path::new(&manifest).join("../guests");
    let mut table = String::from("pub const EXAMPLES: &[(&str, &[File])] = &[\n");
    for example in EXAMPLES {
        let folder = guests.join(example);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        // Writing to a string does not fail.
        let _ = writeln!(table, "    ({example:?}, &[");
        for file in files {
            let name = file
                .strip_prefix(&folder)
                .expect("it is below the folder")
                .display()
                .to_string();
            let file = fs::canonicalize(file).expect("the file is there").display().to_string();
            let _ = writeln!(table, "        ({name:?}, include_bytes!({file:?})),");
        }
        table.push_str("    ]),\n");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("examples.rs"), table).expect("write the table of the examples");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    // So that a new file is found.
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder).expect("the example is there") {
        let path = entry.expect("list an example").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || MADE.contains(&&*name) || name.ends_with(".wasm") {
            continue;
        }
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}
