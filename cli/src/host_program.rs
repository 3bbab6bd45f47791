//! Runs the host program: `wasm-sock describe`, for what only the WebAssembly engine can tell of a module; and the
//! verbs that are the host's own.

use crate::CommandError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable with the path of the host, which the host sets when it hands over to this program.
const HOST_PATH_VARIABLE: &str = "WASM_SOCK_HOST";

/// A module file, as the host describes it.
#[derive(Debug, Deserialize)]
pub struct ModuleDescription {
    /// The kind of guest, as the documentation calls it. `None`: it cannot be served.
    pub kind: Option<String>,
    /// Does it answer HTTP requests? Else it reads and writes bytes.
    #[serde(default, rename = "http")]
    pub is_http: bool,
    /// `None`: it could not be loaded.
    pub imports: Option<Vec<ImportDescription>>,
    /// Why it cannot be served.
    pub error: Option<String>,
}

/// An interface or function that a module imports.
#[derive(Debug, Deserialize)]
pub struct ImportDescription {
    pub name: String,
    /// The setting that it needs to work; `-`: none.
    pub needs: String,
}

/// A handler, as the host would serve it.
#[derive(Debug, Deserialize)]
pub struct HandlerDescription {
    #[serde(rename = "handler")]
    pub name: String,
    /// The module file that is used.
    pub module: String,
    /// As in [`ModuleDescription`], also what follows.
    pub kind: Option<String>,
    #[serde(default, rename = "http")]
    pub is_http: bool,
    pub error: Option<String>,
}

/// Describes a module file.
///
/// # Errors
/// When the host cannot be run, or fails. What is wrong with the module is a part of its description.
pub fn describe_module(module: &Path) -> Result<ModuleDescription, CommandError> {
    let mut descriptions = describe([OsStr::new("--module"), module.as_os_str()], Vec::new())?;
    descriptions
        .pop()
        .ok_or_else(|| CommandError::Failed("the host described nothing".to_owned()))
}

/// Describes the handlers of these names, in the same order. `file` is the configuration, in place of the default ones.
///
/// # Errors
/// When the host cannot be run, or fails. What is wrong with a handler is a part of its description.
pub fn describe_handlers(
    file: Option<&Path>,
    names: &BTreeSet<String>,
) -> Result<Vec<HandlerDescription>, CommandError> {
    describe_handlers_in(file, names, Vec::new())
}

/// As [`describe_handlers`], with these environment variables.
///
/// # Errors
/// As [`describe_handlers`].
pub fn describe_handlers_in(
    file: Option<&Path>,
    names: &BTreeSet<String>,
    environment: Vec<(&str, OsString)>,
) -> Result<Vec<HandlerDescription>, CommandError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let config = file.iter().flat_map(|file| [OsStr::new("--config"), file.as_os_str()]);
    let names = names.iter().map(OsStr::new);
    describe(config.chain([OsStr::new("--")]).chain(names), environment)
}

/// Runs `wasm-sock describe`, which prints a line of JSON for each description, and warnings to standard error.
fn describe<'a, T: DeserializeOwned>(
    arguments: impl IntoIterator<Item = &'a OsStr>,
    environment: Vec<(&str, OsString)>,
) -> Result<Vec<T>, CommandError> {
    let host = path()?;
    let mut command = Command::new(&host);
    command.arg("describe").args(arguments).envs(environment);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| cannot_run(&host, &error))?;
    if !output.status.success() {
        return Err(match output.status.code() {
            Some(code) => CommandError::Reported(code.try_into().unwrap_or(1)),
            None => CommandError::Failed(format!("{} describe: {}", host.display(), output.status)),
        });
    }
    let descriptions = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    descriptions.collect::<Result<_, _>>().map_err(|error| {
        let host = host.display();
        CommandError::Failed(format!(
            "{host} describe: {error} (is it of another version? install all programs of one version)"
        ))
    })
}

/// The command that compiles a module ahead of time.
///
/// # Errors
/// When the host is not found.
pub fn compile(module: &Path, artifact: &Path) -> Result<Command, CommandError> {
    let mut command = Command::new(path()?);
    command.arg("compile").arg(module).arg("-o").arg(artifact);
    Ok(command)
}

/// Executes the host with the arguments of this program (`execve(2)`), for verbs that are the host's own.
///
/// # Errors
/// When the host cannot be run; else this does not return.
pub fn hand_back() -> Result<(), CommandError> {
    let host = path()?;
    let error = Command::new(&host).args(env::args_os().skip(1)).exec();
    Err(cannot_run(&host, &error))
}

/// The error when the host cannot be run.
pub fn cannot_run(host: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("cannot run {}: {error}", host.display()))
}

/// The path of the host: from the environment variable that it sets; else in the directory of this program (`build/`),
/// or in `PREFIX/bin` if this program is in `PREFIX/lib/wasm-sock`.
///
/// # Errors
/// When it is in none of these places.
pub fn path() -> Result<PathBuf, CommandError> {
    if let Some(path) = env::var_os(HOST_PATH_VARIABLE) {
        return Ok(path.into());
    }
    found("the host", &candidates(&env::current_exe()?))
}

/// The path of another program that is installed with the host: beside it (`build/`), or in `PREFIX/lib/wasm-sock` if
/// the host is in `PREFIX/bin`.
///
/// # Errors
/// When it is in neither place.
pub fn sibling(name: &str) -> Result<PathBuf, CommandError> {
    let host = path()?;
    let prefix = host.ancestors().nth(2).unwrap_or(Path::new("/"));
    let candidates = [host.with_file_name(name), prefix.join("lib/wasm-sock").join(name)];
    found(name, &candidates)
}

/// The first of the two paths that is a file.
fn found(what: &str, candidates: &[PathBuf; 2]) -> Result<PathBuf, CommandError> {
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        let [beside, installed] = candidates.each_ref().map(|path| path.display());
        CommandError::Failed(format!(
            "cannot find {what}: it is neither {beside} nor {installed} (install it: `make install` does)"
        ))
    })
}

/// The two paths that the host may have, by the path of this `program`.
fn candidates(program: &Path) -> [PathBuf; 2] {
    let prefix = program.ancestors().nth(3).unwrap_or(Path::new("/"));
    [program.with_file_name("wasm-sock"), prefix.join("bin/wasm-sock")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_beside_this_program_or_where_it_is_installed() {
        let candidates = candidates(Path::new("/usr/lib/wasm-sock/wasm-sock-cli"));
        assert_eq!(
            candidates,
            ["/usr/lib/wasm-sock/wasm-sock", "/usr/bin/wasm-sock"].map(PathBuf::from)
        );
    }

    #[test]
    fn what_the_host_prints_is_understood() {
        let text = concat!(
            r#"{"handler":"a","module":"/m/a.wasm","kind":"HTTP (WASI 0.2)","http":true}"#,
            "\n",
            r#"{"handler":"b","module":"/m/b.wasm","error":"no module"}"#,
            "\n"
        );
        let descriptions = serde_json::Deserializer::from_str(text).into_iter();
        let descriptions: Vec<HandlerDescription> = descriptions.collect::<Result<_, _>>().unwrap();
        let kinds: Vec<_> = descriptions.iter().map(|d| (d.kind.is_some(), d.is_http)).collect();
        assert_eq!(kinds, [(true, true), (false, false)]);
        assert_eq!(descriptions[1].error.as_deref(), Some("no module"));
    }
}
