//! Building a project with the tools of its language.

use super::search::{self, Found};
use super::{Builder, Profile, Project};
use crate::CommandError;
use serde::Deserialize;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

/// The target that Rust is built for, unless the project says otherwise: the one that all interfaces are in.
const RUST_TARGET: &str = "wasm32-wasip2";

/// The command that builds `project`, as a person would type it.
pub(super) fn command_line(project: &Project, profile: Profile) -> String {
    let command = command(project, profile);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables = variables.map(|(name, value)| format!("{}={}", name.display(), value.display()));
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.filter(|word| !word.as_encoded_bytes().starts_with(b"--message-format"));
    let words: Vec<String> = variables
        .chain(words.map(|word| word.to_string_lossy().into_owned()))
        .collect();
    words.join(" ")
}

fn command(project: &Project, profile: Profile) -> Command {
    let mut command = match &project.builder {
        Builder::Cargo => cargo(&project.folder, profile),
        Builder::Go => {
            let mut go = Command::new("go");
            go.env("GOOS", "wasip1").env("GOARCH", "wasm").args(["build", "-o"]);
            go.arg(go_module(project)).arg(".");
            go
        }
        Builder::Npm => with_arguments("npm", &["run", "--silent", "build"]),
        Builder::Zig => {
            let mode = match profile {
                Profile::Development => "-Doptimize=Debug",
                Profile::Release => "-Doptimize=ReleaseSmall",
            };
            with_arguments("zig", &["build", "-Dtarget=wasm32-wasi", mode])
        }
        Builder::Make => with_arguments("make", &[]),
        Builder::Command(command) => with_arguments("sh", &["-c", command]),
    };
    command.current_dir(&project.folder);
    command
}

fn with_arguments(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn cargo(folder: &Path, profile: Profile) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--message-format=json-render-diagnostics"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    if !chooses_target(folder) {
        cargo.args(["--target", RUST_TARGET]);
    }
    cargo
}

/// Does the configuration of cargo, here or above, build for WebAssembly already?
fn chooses_target(folder: &Path) -> bool {
    folder.ancestors().any(|folder| {
        let text = fs::read_to_string(folder.join(".cargo/config.toml")).unwrap_or_default();
        let config: toml::Table = text.parse().unwrap_or_default();
        let target = config.get("build").and_then(|build| build.get("target"));
        target.is_some_and(|target| target.to_string().contains("wasm32-"))
    })
}

/// Below the folder, where the templates build to as well.
fn go_module(project: &Project) -> PathBuf {
    Path::new("build").join(format!("{}.wasm", project.name()))
}

/// Builds `project`. Returns the module.
pub(super) fn run(project: &Project, profile: Profile) -> Result<PathBuf, CommandError> {
    let began = SystemTime::now();
    let artifacts = execute(project, profile)?;
    match &project.builder {
        Builder::Cargo => one_of(project, artifacts),
        Builder::Go => Ok(project.folder.join(go_module(project))),
        _ => match search::modules(&project.folder, began) {
            Found::One(module) => Ok(module),
            Found::Several(modules) => one_of(project, modules),
            Found::None => one_of(project, Vec::new()),
        },
    }
}

/// Runs the build. Returns the modules that cargo says it built.
pub(super) fn execute(project: &Project, profile: Profile) -> Result<Vec<PathBuf>, CommandError> {
    let mut command = command(project, profile);
    command.stdin(Stdio::null());
    // The result of `wasm-sock` goes to standard output, not what a compiler says.
    let is_cargo = project.builder == Builder::Cargo;
    let output = match is_cargo {
        true => Stdio::piped(),
        false => Stdio::from(io::stderr().as_fd().try_clone_to_owned()?),
    };
    let mut child = command
        .stdout(output)
        .spawn()
        .map_err(|error| cannot_run(&command, &error))?;
    let artifacts = cargo_artifacts(&mut child)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(CommandError::Failed(format!(
            "the build failed (see above): `{}`: {status}",
            project.command_line(profile)
        )));
    }
    Ok(artifacts)
}

fn one_of(project: &Project, mut modules: Vec<PathBuf>) -> Result<PathBuf, CommandError> {
    let command = project.command_line(Profile::Development);
    match modules.len() {
        1 => Ok(modules.remove(0)),
        0 => Err(CommandError::Failed(format!(
            "{}: `{command}` built no .wasm (does it have a program, and is that built for WASI?)",
            project.folder.display()
        ))),
        _ => {
            modules.sort_unstable();
            let relative = modules
                .iter()
                .map(|module| module.strip_prefix(&project.folder).unwrap_or(module));
            let names: Vec<String> = relative.take(5).map(|module| module.display().to_string()).collect();
            Err(CommandError::Failed(format!(
                "{}: `{command}` built several modules: {} (give the one that is meant, with --build '{command}')",
                project.folder.display(),
                names.join(", ")
            )))
        }
    }
}

/// A line of `cargo build --message-format=json` (The Cargo Book, *External tools*).
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    target: Option<CargoTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct CargoTarget {
    #[serde(default)]
    crate_types: Vec<String>,
}

/// The modules that cargo says it built; reads until it ends.
fn cargo_artifacts(child: &mut Child) -> io::Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    let Some(output) = child.stdout.take() else {
        return Ok(modules);
    };
    for line in BufReader::new(output).lines() {
        modules.extend(modules_in(&line?));
    }
    Ok(modules)
}

fn modules_in(line: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<CargoMessage>(line) else {
        return Vec::new();
    };
    let is_module = |target: CargoTarget| target.crate_types.iter().any(|kind| kind == "bin" || kind == "cdylib");
    let is_built = message.reason == "compiler-artifact" && message.target.is_some_and(is_module);
    let mut files = message.filenames;
    files.retain(|file| is_built && file.extension() == Some(OsStr::new("wasm")));
    files
}

/// Where the tools come from.
fn cannot_run(command: &Command, error: &io::Error) -> CommandError {
    let program = command.get_program().to_string_lossy();
    if error.kind() != io::ErrorKind::NotFound {
        return CommandError::Failed(format!("cannot run {program:?}: {error}"));
    }
    let from = match &*program {
        "cargo" => "install Rust: https://rustup.rs, then `rustup target add wasm32-wasip2`",
        "go" => "install Go: https://go.dev/dl",
        "npm" => "install Node.js: https://nodejs.org",
        "zig" => "install Zig: https://ziglang.org/download",
        "make" => "Debian: apt-get install make",
        _ => "is it in PATH?",
    };
    CommandError::Failed(format!("cannot run {program:?}: it is not installed ({from})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tells_which_modules_it_built() {
        let artifact = |kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"crate_types":["{kind}"]}},"filenames":["{file}"],"fresh":true}}"#
            )
        };
        assert_eq!(modules_in(&artifact("bin", "/p/a.wasm")), [PathBuf::from("/p/a.wasm")]);
        assert_eq!(
            modules_in(&artifact("cdylib", "/p/a.wasm")),
            [PathBuf::from("/p/a.wasm")]
        );
        let finished = r#"{"reason":"build-finished","success":true}"#;
        for line in [&*artifact("lib", "/p/a.rlib"), finished, "warning: not JSON"] {
            assert!(modules_in(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn commands_are_shown_as_a_person_would_type_them() {
        let project = |builder| Project {
            folder: "/p/knock".into(),
            builder,
        };
        let shown = |builder| project(builder).command_line(Profile::Release);
        assert_eq!(shown(Builder::Cargo), "cargo build --release --target wasm32-wasip2");
        assert_eq!(
            shown(Builder::Go),
            "GOARCH=wasm GOOS=wasip1 go build -o build/knock.wasm ."
        );
        assert_eq!(shown(Builder::Make), "make");
    }
}
