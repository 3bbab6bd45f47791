//! The module that is installed: read, compiled and described in the folder of the pending change.

use crate::CommandError;
use crate::host_program::{self, ModuleDescription};
use crate::installation::durable;
use crate::installation::interrupt::Interrupts;
use crate::installation::program;
use crate::project::{Profile, Project};
use crate::registry::{self, Reference};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first bytes of a `.wasm`, and of a `.cwasm` (an ELF file).
const WASM: &[u8] = b"\0asm";
const ELF: &[u8] = b"\x7fELF";

/// Where the module comes from.
#[derive(Debug)]
pub enum Source {
    File(PathBuf),
    /// `-`: its content.
    StandardInput(Vec<u8>),
    /// `oci://…`: its content.
    Registry(Box<Reference>, Vec<u8>),
}

impl Source {
    /// The source that the command line names. The project in a folder is built, a module in a registry is pulled. Also
    /// returns the name that a handler has if it is given no other.
    ///
    /// # Errors
    /// When the project cannot be built, or the module cannot be pulled.
    pub fn find(path: &Path) -> Result<(Self, Option<String>), CommandError> {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            return Ok((Self::StandardInput(bytes), None));
        }
        if let Some(address) = path.to_str().filter(|path| path.starts_with(registry::SCHEME)) {
            let reference: Reference = address.parse().map_err(CommandError::Failed)?;
            let bytes = registry::pull(&reference).map_err(CommandError::Failed)?;
            let name = reference.name().to_owned();
            return Ok((Self::Registry(Box::new(reference), bytes), Some(name)));
        }
        if path.is_dir() {
            let project = Project::find(path, None)?;
            let module = project.build(Profile::Release)?;
            return Ok((Self::File(module), Some(project.name())));
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((Self::File(std::path::absolute(path)?), Some(name)))
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::StandardInput(bytes) | Self::Registry(_, bytes) => Ok(bytes.clone()),
        }
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::StandardInput(_) => "standard input".to_owned(),
            Self::Registry(reference, _) => reference.to_string(),
        }
    }
}

/// A module, ready to be installed.
#[derive(Debug)]
pub struct Module {
    /// What changes in the folder of modules, in this order: the artifact first, so that no host takes the new source
    /// for one that has to be compiled. Empty: the module is installed already.
    pub files: Vec<(PathBuf, Option<PathBuf>)>,
    /// The kind of guest, as the documentation calls it.
    pub kind: String,
    pub is_http: bool,
}

/// Reads the module, compiles it, and asks the host what it is. `modules` is the folder in which it will be installed
/// for handler `name`, `folder` the one in which its files are until then.
///
/// # Errors
/// When it cannot be read, compiled or served.
pub fn prepare(
    source: &Source,
    name: &str,
    modules: &Path,
    folder: &Path,
    interrupts: &Interrupts,
) -> Result<Module, String> {
    let bytes = source.read().map_err(|error| format!("{}: {error}", source.name()))?;
    let at = |folder: &Path, form: &str| folder.join(format!("{name}.{form}"));
    let (wasm, cwasm) = (at(modules, "wasm"), at(modules, "cwasm"));
    let form = form(&bytes).ok_or_else(|| {
        let source = source.name();
        format!("{source}: not a WebAssembly module (it does not begin with \"\\0asm\")")
    })?;
    if let Some(module) = installed(form, &bytes, &wasm, &cwasm)? {
        return Ok(module);
    }
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let (new_wasm, new_cwasm) = (at(folder, "wasm"), at(folder, "cwasm"));
    durable::write_new(&folder.join(format!("{name}.{form}")), &bytes, 0o644).map_err(failed)?;
    if form == "wasm" {
        compile(&new_wasm, &new_cwasm, source, interrupts)?;
        // The compiler leaves that to its caller, and the file's mode to the umask.
        let artifact = File::open(&new_cwasm).map_err(failed)?;
        let readable = Permissions::from_mode(0o644);
        artifact.set_permissions(readable).map_err(failed)?;
        artifact.sync_all().map_err(failed)?;
    }
    let description = describe(&new_cwasm, &source.name())?;
    let wasm_file = match form {
        "wasm" => Some((wasm, Some(new_wasm))),
        // The source of another artifact.
        _ => wasm.exists().then_some((wasm, None)),
    };
    let files = [(cwasm, Some(new_cwasm))].into_iter().chain(wasm_file).collect();
    Ok(Module::of(files, description))
}

/// The form of a module, by its first bytes: the extension of its file.
fn form(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        bytes if bytes.starts_with(WASM) => Some("wasm"),
        bytes if bytes.starts_with(ELF) => Some("cwasm"),
        _ => None,
    }
}

impl Module {
    fn of(files: Vec<(PathBuf, Option<PathBuf>)>, description: ModuleDescription) -> Self {
        Self {
            files,
            kind: description.kind.unwrap_or_default(),
            is_http: description.is_http,
        }
    }
}

/// The module if it is installed already, compiled for this machine.
fn installed(form: &str, bytes: &[u8], wasm: &Path, cwasm: &Path) -> Result<Option<Module>, String> {
    let is_same = |path: &Path| fs::read(path).is_ok_and(|there| there == bytes);
    let is_there = match form {
        "wasm" => is_same(wasm) && cwasm.exists(),
        _ => is_same(cwasm) && !wasm.exists(),
    };
    if !is_there {
        return Ok(None);
    }
    let description = describe(cwasm, "").ok();
    Ok(description.map(|description| Module::of(Vec::new(), description)))
}

fn compile(wasm: &Path, cwasm: &Path, source: &Source, interrupts: &Interrupts) -> Result<(), String> {
    let mut command = host_program::compile(wasm, cwasm).map_err(|error| error.to_string())?;
    let what = format!("compiling {}", source.name());
    let compiled = program::run(&mut command, &what, interrupts);
    compiled.map_err(|said| {
        let lines = said.lines().filter(|line| !line.ends_with("takes more than a second"));
        let said: Vec<&str> = lines.map(|line| line.trim_start_matches("wasm-sock: ")).collect();
        said.join("\n").replace(&wasm.display().to_string(), &source.name())
    })?;
    Ok(())
}

/// What the host says of a module.
fn describe(path: &Path, source: &str) -> Result<ModuleDescription, String> {
    let description = host_program::describe_module(path).map_err(|error| error.to_string())?;
    match description.error {
        Some(error) => {
            // The user knows neither of these files.
            let error = error.replace(&path.display().to_string(), source);
            let wasm = path.with_extension("wasm").display().to_string();
            Err(error.replace(&wasm, "FILE.wasm"))
        }
        None => Ok(description),
    }
}
