//! Which kind of project a folder is, the command that builds it, and where the module lies afterwards.

mod build;
mod search;

use crate::CommandError;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with the source of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its absolute path.
    pub folder: PathBuf,
    builder: Builder,
}

/// What builds a project.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Builder {
    /// `Cargo.toml`.
    Cargo,
    /// `go.mod`.
    Go,
    /// `package.json` with a `build` script.
    Npm,
    /// `build.zig`.
    Zig,
    /// A `Makefile`.
    Make,
    /// What the user said (`--build`), for `sh -c`.
    Command(String),
}

/// What a build is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build, with the names of functions and the lines of the source.
    Development,
    /// Small and fast.
    Release,
}

impl Project {
    /// The project in `folder`. `command` (`--build`) builds it, in place of what the kind of project calls for.
    ///
    /// # Errors
    /// When `folder` is none, has no project, or several.
    pub fn find(folder: &Path, command: Option<&str>) -> Result<Self, CommandError> {
        let failed = |why: &str| CommandError::Failed(format!("{}: {why}", folder.display()));
        let folder_path = fs::canonicalize(folder).map_err(|error| failed(&error.to_string()))?;
        if !folder_path.is_dir() {
            return Err(failed("not a folder (give the folder of a project, or a .wasm)"));
        }
        let builder = match command {
            Some(command) => Builder::Command(command.to_owned()),
            None => builder_of(&folder_path).map_err(|why| failed(&why))?,
        };
        Ok(Self {
            folder: folder_path,
            builder,
        })
    }

    /// The name of the project: that of its folder.
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The command that builds it, as a person would type it.
    pub fn command_line(&self, profile: Profile) -> String {
        match &self.builder {
            Builder::Command(command) => command.clone(),
            _ => build::command_line(self, profile),
        }
    }

    /// Builds it. The compiler's words go to standard error.
    ///
    /// # Errors
    /// When the build fails (the compiler has said why), a tool is missing, or it is not clear which module was built.
    pub fn build(&self, profile: Profile) -> Result<PathBuf, CommandError> {
        build::run(self, profile)
    }

    /// Builds it, when it is known where the module is.
    ///
    /// # Errors
    /// As [`Project::build`].
    pub fn build_only(&self, profile: Profile) -> Result<(), CommandError> {
        build::execute(self, profile).map(drop)
    }
}

/// The names that `make` looks for, the first of them first.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

fn builder_of(folder: &Path) -> Result<Builder, String> {
    let has = |name: &str| folder.join(name).is_file();
    let makefile = MAKEFILES.iter().find(|name| has(name));
    let mut found = Vec::new();
    for (name, builder) in [
        ("Cargo.toml", Builder::Cargo),
        ("go.mod", Builder::Go),
        ("build.zig", Builder::Zig),
    ] {
        found.extend(has(name).then_some((name, builder)));
    }
    if has_build_script(&folder.join("package.json")) {
        found.push(("package.json", Builder::Npm));
    }
    let is_for_wasm = |name: &&str| fs::read_to_string(folder.join(name)).is_ok_and(|text| text.contains("wasm"));
    match (found.as_slice(), makefile) {
        // Cargo needs no more than the target. The others need what the Makefile knows.
        (found, Some(name)) if is_for_wasm(name) && !matches!(found, [(_, Builder::Cargo)]) => Ok(Builder::Make),
        ([], Some(_)) => Ok(Builder::Make),
        ([(_, builder)], _) => Ok(builder.clone()),
        ([], None) => Err(nothing_found(&has)),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "several ways to build it: {} (say which: --build COMMAND)",
                names.join(", ")
            ))
        }
    }
}

fn nothing_found(has: &dyn Fn(&str) -> bool) -> String {
    if has("pyproject.toml") || has("app.py") {
        return "a Python project has no usual way to become a module (say how: \
                --build 'componentize-py -d wit -w WORLD componentize app -o app.wasm', or write a Makefile)"
            .to_owned();
    }
    if has("CMakeLists.txt") {
        return "CMake needs the WASI SDK's toolchain file (say how: --build 'cmake --build build')".to_owned();
    }
    if has("package.json") {
        return "package.json has no \"build\" script (add one that makes a .wasm, or say how: --build COMMAND)"
            .to_owned();
    }
    "no Cargo.toml, go.mod, build.zig, package.json or Makefile \
     (give a .wasm, say how to build it with --build COMMAND, or start with `wasm-sock new`)"
        .to_owned()
}

fn has_build_script(path: &Path) -> bool {
    let Ok(text) = fs::read(path) else { return false };
    let package: Result<serde_json::Value, _> = serde_json::from_slice(&text);
    package.is_ok_and(|package| package["scripts"]["build"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn builder(files: &[(&str, &str)]) -> Result<Builder, String> {
        let folder = folder_with(files);
        let project = Project::find(folder.path(), None);
        project
            .map(|project| project.builder)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_kind_of_a_project_is_told_by_its_files() {
        for (name, text, expected) in [
            ("Cargo.toml", "", Builder::Cargo),
            ("go.mod", "", Builder::Go),
            ("build.zig", "", Builder::Zig),
            ("package.json", r#"{"scripts": {"build": "x"}}"#, Builder::Npm),
            ("Makefile", "", Builder::Make),
        ] {
            assert_eq!(builder(&[(name, text)]), Ok(expected), "{name}");
        }
    }

    #[test]
    fn a_makefile_that_makes_a_module_is_asked_before_go_but_not_before_cargo() {
        let makefile = ("Makefile", "app.wasm: main.go\n");
        assert_eq!(builder(&[makefile, ("go.mod", "")]), Ok(Builder::Make));
        assert_eq!(builder(&[makefile, ("Cargo.toml", "")]), Ok(Builder::Cargo));
        assert_eq!(builder(&[("Makefile", "app:\n"), ("go.mod", "")]), Ok(Builder::Go));
    }

    #[test]
    fn what_cannot_be_built_says_what_to_do() {
        for (files, words) in [
            (&[][..], "no Cargo.toml, go.mod"),
            (&[("pyproject.toml", "")], "componentize-py"),
            (&[("package.json", "{}")], "no \"build\" script"),
            (
                &[("Cargo.toml", ""), ("go.mod", "")],
                "several ways to build it: Cargo.toml, go.mod",
            ),
        ] {
            let why = builder(files).unwrap_err();
            assert!(why.contains(words) && why.contains("--build"), "{why}");
        }
        let why = Project::find(Path::new("/nowhere"), None).unwrap_err().to_string();
        assert!(why.starts_with("/nowhere: "), "{why}");
    }

    #[test]
    fn an_explicit_command_wins() {
        let folder = folder_with(&[("Cargo.toml", ""), ("go.mod", "")]);
        let project = Project::find(folder.path(), Some("true")).unwrap();
        assert_eq!(project.command_line(Profile::Release), "true");
    }
}
