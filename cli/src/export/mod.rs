//! `wasm-sock export`: what runs a handler where there is no systemd.
//!
//! Each format says in its comments what it cannot express: a limit that is silently gone is worse than one that is
//! known to be missing.

mod container;
mod kubernetes;
mod nomad;
mod settings;
mod shim;
mod spin;
mod subject;
#[cfg(test)]
mod tests;

use crate::{CommandError, absolute, print};
use clap::ValueEnum;
use std::path::PathBuf;
use subject::Subject;

/// The arguments of `wasm-sock export`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = "\
container: a folder for `podman build` or `docker build`, with wasm-sock, the
module and the settings. kubernetes, nomad: manifests for that image; with
--runtime-class, for a Wasm shim of containerd and the module itself as the
image (`wasm-sock push`). spin: a spin.toml, for HTTP components. Comments say
what is lost on the way.

Examples:
  wasm-sock export container hello -o hello-image
  wasm-sock export kubernetes hello --image ghcr.io/me/hello:1 > hello.yaml
  wasm-sock export spin hello -o hello-spin")]
pub struct Export {
    /// container, kubernetes, nomad or spin
    #[arg(value_enum, hide_possible_values = true)]
    format: Format,
    /// The handler
    name: String,
    /// The image that runs it
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Run the module by a shim of containerd: wasmtime
    #[arg(long, value_name = "NAME")]
    runtime_class: Option<String>,
    /// Write files into this new folder [default: print]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Read this file, and handlers.d/*.toml beside it [default: /etc/wasm-sock/wasm-sock.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Container,
    Kubernetes,
    Nomad,
    Spin,
}

/// A file that is written.
struct File {
    name: String,
    content: Content,
}

enum Content {
    Text(String),
    /// A copy of this file, with this mode.
    Copy(PathBuf, u32),
}

/// Writes what runs the handler elsewhere.
///
/// # Errors
/// When there is no such handler, or the format cannot run it.
pub fn run(export: &Export) -> Result<(), CommandError> {
    let config = export.config.clone().map(absolute).transpose()?;
    let subject = Subject::find(&export.name, config.as_deref())?;
    let files = files(export, &subject).map_err(CommandError::Failed)?;
    match &export.output {
        Some(folder) => {
            container::write(folder, &files)?;
            eprintln!("wasm-sock: wrote {}", folder.display());
            Ok(())
        }
        None => match &files[..] {
            [
                File {
                    content: Content::Text(text),
                    ..
                },
            ] => print(text),
            _ => Err(CommandError::Failed(format!(
                "{}: this format has several files (say where to: -o FOLDER)",
                export.name
            ))),
        },
    }
}

fn files(export: &Export, subject: &Subject) -> Result<Vec<File>, String> {
    let image = || {
        let needed = "which image? (--image ghcr.io/me/NAME:1; `wasm-sock export container` makes it)";
        export
            .image
            .clone()
            .ok_or_else(|| format!("{}: {needed}", subject.name))
    };
    let text = |name: &str, text: String| {
        vec![File {
            name: name.to_owned(),
            content: Content::Text(text),
        }]
    };
    if export.runtime_class.is_some() && export.format != Format::Kubernetes {
        return Err("--runtime-class is Kubernetes' (wasm-sock export kubernetes)".to_owned());
    }
    match (export.format, &export.runtime_class) {
        (Format::Container, _) => container::files(subject),
        (Format::Kubernetes, Some(class)) => {
            let manifest = shim::manifest(subject, &image()?, class)?;
            Ok(text("kubernetes.yaml", manifest))
        }
        (Format::Kubernetes, None) => Ok(text("kubernetes.yaml", kubernetes::manifest(subject, &image()?)?)),
        (Format::Nomad, _) => Ok(text("nomad.hcl", nomad::job(subject, &image()?)?)),
        (Format::Spin, _) => {
            let manifest = text("spin.toml", spin::manifest(subject)?);
            // Alone it goes to standard output; in a folder, the module is beside it.
            let module = export.output.as_ref().map(|_| File {
                name: format!("{}.wasm", spin::identifier(&subject.label)),
                content: Content::Copy(subject.module.clone(), 0o644),
            });
            Ok(manifest.into_iter().chain(module).collect())
        }
    }
}

/// Comment lines of at most 80 columns; an item of a list is indented.
fn comment(text: &str) -> String {
    let indent = if text.starts_with("- ") { "#  " } else { "#" };
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() > 1 && line.len() + 1 + word.len() > 80 {
            lines += &format!("{line}\n");
            indent.clone_into(&mut line);
        }
        line.push(' ');
        line += word;
    }
    lines + &line + "\n"
}

/// A command to copy, as a comment: one line, however long.
fn command(line: &str) -> String {
    format!("#   {line}\n")
}

/// What is lost, as a comment.
fn losses(engine: &str, lost: &[String]) -> String {
    if lost.is_empty() {
        return String::new();
    }
    let mut text = comment(&format!("{engine} cannot express, or does not do:"));
    for loss in lost {
        text += &comment(&format!("- {loss}"));
    }
    text
}

/// A string as JSON, YAML and HCL write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
