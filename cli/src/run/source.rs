//! The module that is served: built, compiled ahead, and put where the host finds it.

use super::Run;
use crate::project::{Profile, Project};
use crate::{CommandError, absolute, host_program};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasm_sock_config::valid_handler_name;

/// What is served, and what it is made from.
#[derive(Debug)]
pub struct Source {
    /// `None`: the module is there.
    project: Option<Project>,
    /// `None`: the project's build tells.
    file: Option<PathBuf>,
    profile: Profile,
    /// The module that was compiled last.
    last: Option<Arc<Vec<u8>>>,
}

/// A module that can be served.
#[derive(Debug)]
pub struct Made {
    /// Its content as the toolchain made it, for names and lines; empty for a `.cwasm`.
    pub wasm: Arc<Vec<u8>>,
    /// `None`: nothing was built.
    pub build: Option<Duration>,
    pub compile: Duration,
    /// The module is the one that was served before.
    pub is_same: bool,
}

impl Source {
    /// # Errors
    /// When there is no such file, or the folder has no project.
    pub fn find(run: &Run) -> Result<Self, CommandError> {
        let path = run.source.as_deref().unwrap_or(Path::new("."));
        let command = run.build.as_deref();
        let (project, file) = match path.is_dir() {
            true => (Some(Project::find(path, command)?), None),
            // A build makes it.
            false if command.is_some() => {
                let project = Project::find(&env::current_dir()?, command)?;
                (Some(project), Some(absolute(path.to_owned())?))
            }
            false => (None, Some(absolute(path.to_owned())?)),
        };
        if let (None, Some(file)) = (&project, &file)
            && !file.is_file()
        {
            let file = file.display();
            return Err(CommandError::Failed(format!(
                "{file}: no such file (give a .wasm, or the folder of a project)"
            )));
        }
        let profile = if run.release {
            Profile::Release
        } else {
            Profile::Development
        };
        let last = None;
        Ok(Self {
            project,
            file,
            profile,
            last,
        })
    }

    /// The handler's name, unless another is given: that of the file, or of the folder.
    pub fn name(&self) -> String {
        let name = match (&self.file, &self.project) {
            (Some(file), _) => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            (None, Some(project)) => project.name(),
            (None, None) => String::new(),
        };
        if valid_handler_name(&name) {
            name
        } else {
            "guest".to_owned()
        }
    }

    /// The folder whose files it is built from.
    pub fn folder(&self) -> Option<&Path> {
        self.project.as_ref().map(|project| project.folder.as_path())
    }

    /// The module, if that is known before it is built.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The command that builds it.
    pub fn command_line(&self) -> Option<String> {
        self.project.as_ref().map(|project| project.command_line(self.profile))
    }

    /// Builds and compiles it. The result replaces `artifact` in one step, so that a host that runs never sees half
    /// of it. Compilers write to standard error.
    ///
    /// # Errors
    /// When it cannot be built or compiled. `artifact` is as it was.
    pub fn make(&mut self, artifact: &Path) -> Result<Made, CommandError> {
        let began = Instant::now();
        let module = match (&self.project, &self.file) {
            (Some(project), None) => project.build(self.profile)?,
            (Some(project), Some(file)) => {
                project.build_only(self.profile)?;
                file.clone()
            }
            (None, file) => file.clone().unwrap_or_default(),
        };
        let build = self.project.as_ref().map(|_| began.elapsed());
        let began = Instant::now();
        let failed = |error: std::io::Error| CommandError::Failed(format!("{}: {error}", module.display()));
        let content = Arc::new(fs::read(&module).map_err(failed)?);
        let is_same = self.last.as_ref() == Some(&content);
        let is_compiled = module.extension() == Some(OsStr::new("cwasm"));
        if !is_same {
            match is_compiled {
                true => replace(artifact, &content)?,
                false => compile(&module, artifact)?,
            }
            self.last = Some(content.clone());
        }
        Ok(Made {
            wasm: if is_compiled { Arc::default() } else { content },
            build,
            compile: began.elapsed(),
            is_same,
        })
    }
}

fn replace(artifact: &Path, content: &[u8]) -> Result<(), CommandError> {
    let new = artifact.with_extension("new");
    fs::write(&new, content)?;
    Ok(fs::rename(&new, artifact)?)
}

/// With an address map, so that a trap has lines. The compiler renames the file that it wrote.
fn compile(module: &Path, artifact: &Path) -> Result<(), CommandError> {
    let mut command = Command::new(host_program::path()?);
    command
        .args(["compile", "--address-map", "-o"])
        .arg(artifact)
        .arg("--")
        .arg(module);
    let status = command.stdin(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(CommandError::Failed(format!(
            "{} cannot be compiled (see above)",
            module.display()
        ))),
    }
}
