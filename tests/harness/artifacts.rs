//! The programs and guests under test, as `make` leaves them in `build/`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The worlds that guests are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module of WASI 0.1.
    P1,
    /// A component of WASI 0.2.
    P2,
    /// A component of WASI 0.3.
    P3,
}

/// Those that all guests are built for; of WASI 0.3 there are only actors.
pub const BOTH: [Kind; 2] = [Kind::P1, Kind::P2];

pub const ALL: [Kind; 3] = [Kind::P1, Kind::P2, Kind::P3];

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Kind::P1 => "p1",
            Kind::P2 => "p2",
            Kind::P3 => "p3",
        }
    }
}

pub(crate) fn build_folder() -> PathBuf {
    match env::var_os("WASM_SOCK_BUILD") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../build"),
    }
}

fn built(path: &str) -> PathBuf {
    let path = build_folder().join(path);
    fs::canonicalize(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: run `make` first (or point WASM_SOCK_BUILD at what it built)",
            path.display()
        )
    })
}

/// The program under test.
///
/// # Panics
/// If it is not built, or is older than its source.
pub fn wasm_sock() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    // It hands over to these.
    compiler();
    cli();
    keeper();
    current("wasm-sock", &IS_STALE, &["host", "crates"], "host")
}

/// Copies a program that the test runs then. Not in this process: another test that forks meanwhile would hold the copy
/// open for writing, and execve(2) would fail (ETXTBSY).
///
/// # Panics
/// If it cannot.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().expect("start cp");
    assert!(status.success(), "cp {} {}: {status}", from.display(), to.display());
}

/// # Panics
/// As [`wasm_sock`].
pub fn compiler() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    current(
        "wasm-sock-compile",
        &IS_STALE,
        &["compile", "engine", "crates"],
        "compile",
    )
}

fn cli() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    current("wasm-sock-cli", &IS_STALE, &["cli", "crates"], "compile")
}

/// What holds the sockets while no host runs.
///
/// # Panics
/// As [`wasm_sock`].
pub fn keeper() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    current("wasm-sock-keeper", &IS_STALE, &["keeper"], "compile")
}

/// What connects guests to what they were granted.
///
/// # Panics
/// As [`wasm_sock`].
pub fn egress() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    current("wasm-sock-egress", &IS_STALE, &["egress", "crates"], "egress")
}

/// What systemd runs at `daemon-reload`.
///
/// # Panics
/// As [`wasm_sock`].
pub fn generator() -> PathBuf {
    static IS_STALE: OnceLock<Option<String>> = OnceLock::new();
    current(
        "wasm-sock-generator",
        &IS_STALE,
        &["generator", "crates", "units"],
        "compile",
    )
}

/// A program that is no older than the source below `folders`; `goal` is what make calls it.
fn current(program: &str, is_stale: &OnceLock<Option<String>>, folders: &[&str], goal: &str) -> PathBuf {
    let path = built(program);
    let newer = is_stale.get_or_init(|| match env::var_os("WASM_SOCK_ALLOW_STALE") {
        Some(_) => None,
        None => newer_source(&build_time(program), folders),
    });
    if let Some(source) = newer {
        panic!(
            "build/{program} is older than {source}: run `make {goal}`, or `make t T=CRATE N=PART_OF_A_NAME` \
             (tests/README.md)"
        );
    }
    path
}

/// When the build began that brought this program up to date: `make` writes it down, since it leaves a program
/// alone whose content is the same. Else, when the program was written.
fn build_time(program: &str) -> SystemTime {
    let record = build_folder().join(format!("{program}.built"));
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    modified(&record)
        .or_else(|_| modified(&built(program)))
        .expect("when a program was built")
}

/// A file below these folders of the repository, or Cargo.lock, that is younger than `build`.
fn newer_source(build: &SystemTime, folders: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut rest: Vec<PathBuf> = folders
        .iter()
        .chain(&["Cargo.lock"])
        .map(|path| root.join(path))
        .collect();
    while let Some(path) = rest.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What is not there, and what is no part of a program.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            if name != "tests" && name != "target" {
                let entries = fs::read_dir(&path).expect("list a folder of the source");
                rest.extend(entries.map(|entry| entry.expect("list a folder of the source").path()));
            }
            continue;
        }
        let is_source = name.ends_with(".rs") || name == "Cargo.toml" || name == "Cargo.lock";
        if is_source && metadata.modified().is_ok_and(|time| time > *build) {
            return Some(path.strip_prefix(&root).unwrap_or(&path).display().to_string());
        }
    }
    None
}

/// A program of the packages that `tools/setup` unpacks.
pub fn unpacked(program: &str) -> PathBuf {
    built(&format!("servers/{program}"))
}

/// A guest: `hello`, `echo`, `daytime`, `gopher` or `actor`.
pub fn wasm(kind: Kind, guest: &str) -> PathBuf {
    built(&format!("guests/{}/{guest}.wasm", kind.folder()))
}

/// The actor as it would be after a change: its `version` part says `edition 1`.
pub fn second_version(kind: Kind) -> Vec<u8> {
    let mut bytes = fs::read(wasm(kind, "actor")).expect("read the actor");
    let (before, after) = (b"version ", b"edition ");
    let at: Vec<usize> = (0..bytes.len() - before.len())
        .filter(|at| bytes[*at..].starts_with(before))
        .collect();
    assert!(!at.is_empty(), "the actor no longer says \"version \"");
    for at in at {
        bytes[at..at + after.len()].copy_from_slice(after);
    }
    bytes
}

/// Makes an artifact look as if it was compiled for the other processor that there are programs for: its `e_machine`
/// (`elf(5)`). Returns the names of that processor and of the one that it was compiled for.
pub fn make_foreign(artifact: &mut [u8]) -> [&'static str; 2] {
    let machine = &mut artifact[18..20];
    let [arm, intel] = [libc::EM_AARCH64, libc::EM_X86_64].map(u16::to_le_bytes);
    let is_arm = machine == arm;
    machine.copy_from_slice(if is_arm { &intel } else { &arm });
    if is_arm {
        ["x86_64", "aarch64"]
    } else {
        ["aarch64", "x86_64"]
    }
}

/// The compiled guest. It is kept in `build/` for the next run, until it is built anew.
pub fn cwasm(kind: Kind, guest: &str) -> PathBuf {
    let source = wasm(kind, guest);
    let folder = build_folder().join("test-cwasm").join(kind.folder());
    fs::create_dir_all(&folder).expect("make a folder in build/");
    let artifact = folder.join(format!("{guest}.cwasm"));
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if modified(&artifact) <= modified(&source) || modified(&artifact) <= modified(&compiler()) {
        compile(&source, &artifact);
    }
    artifact
}

/// Compiles as a user would.
pub fn compile(source: &Path, artifact: &Path) {
    let output = Command::new(wasm_sock())
        .args(["compile".as_ref(), source.as_os_str(), "-o".as_ref()])
        .arg(artifact)
        .output()
        .expect("run wasm-sock compile");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "wasm-sock compile: {said}");
}
