//! A folder from which `podman build` and `docker build` make an image: our programs, which are static, the module and
//! its settings, and nothing else.

use super::subject::{METRICS, Subject};
use super::{Content, File, command, comment, losses, settings};
use crate::{CommandError, host_program};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Who runs the host in a container: no name is needed for that.
pub const USER: u32 = 65532;

/// The programs that the host finds beside it.
const SIBLINGS: [&str; 4] = [
    "wasm-sock-cli",
    "wasm-sock-compile",
    "wasm-sock-egress",
    "wasm-sock-keeper",
];

/// All files of the folder.
///
/// # Errors
/// When a program is not where it was installed.
pub fn files(subject: &Subject) -> Result<Vec<File>, String> {
    let host = host_program::path().map_err(|error| error.to_string())?;
    let mut files = vec![
        text("Containerfile", containerfile(subject)),
        text(".dockerignore", "Containerfile\n".to_owned()),
        text("etc/wasm-sock/wasm-sock.toml", settings::text(subject)?),
        copy(
            &format!("{}/{}.wasm", settings::MODULES.trim_start_matches('/'), subject.name),
            &subject.module,
            0o644,
        ),
        copy("usr/bin/wasm-sock", &host, 0o755),
    ];
    // After its source: the younger of the two is served.
    let artifact = subject.module.with_extension("cwasm");
    if artifact.is_file() {
        let name = format!("{}/{}.cwasm", settings::MODULES.trim_start_matches('/'), subject.name);
        files.push(copy(&name, &artifact, 0o644));
    }
    for name in SIBLINGS {
        match host_program::sibling(name).ok() {
            Some(path) => files.push(copy(&format!("usr/lib/wasm-sock/{name}"), &path, 0o755)),
            None if name == "wasm-sock-egress" && !subject.handler.reaches_out() => {}
            None => return Err(format!("cannot find {name} (install it beside the host)")),
        }
    }
    Ok(files)
}

fn text(name: &str, text: String) -> File {
    File {
        name: name.to_owned(),
        content: Content::Text(text),
    }
}

fn copy(name: &str, from: &Path, mode: u32) -> File {
    File {
        name: name.to_owned(),
        content: Content::Copy(from.to_owned(), mode),
    }
}

fn containerfile(subject: &Subject) -> String {
    let name = &subject.name;
    let mut text = comment(&format!("{name}, by `wasm-sock export container`:"));
    text += &command(&format!("podman build -t {} .", subject.label));
    text += &command(&format!(
        "podman run --read-only --cap-drop=all --security-opt=no-new-privileges {} {}",
        published(subject),
        subject.label
    ));
    text += &losses("A container", &subject.lost());
    text += &settings::warnings(subject);
    for directory in &subject.handler.dirs {
        text += &comment(&format!(
            "dirs needs {0}: mount it (-v {0}:{0}).",
            directory.host.display()
        ));
    }
    text += "FROM scratch\nCOPY usr /usr\nCOPY etc /etc\nCOPY var /var\n";
    text += &comment("A module that was compiled for another processor is compiled again when the host starts.");
    text += &format!("USER {USER}:{USER}\n");
    for port in &subject.ports {
        text += &format!("EXPOSE {}/{}\n", port.number, if port.is_udp { "udp" } else { "tcp" });
    }
    text += &format!("EXPOSE {METRICS}/tcp\n");
    text += "ENTRYPOINT [\"/usr/bin/wasm-sock\"]\nCMD [\"serve\", \"--log-format\", \"json\"]\n";
    text
}

fn published(subject: &Subject) -> String {
    let publish =
        |port: &super::subject::Port| format!("-p {0}:{0}{1}", port.number, if port.is_udp { "/udp" } else { "" });
    let ports: Vec<String> = subject.ports.iter().map(publish).collect();
    ports.join(" ")
}

/// Writes files into a new folder.
///
/// # Errors
/// When there is something already, or the disk is full.
pub fn write(folder: &Path, files: &[File]) -> Result<(), CommandError> {
    let failed = |path: &Path, error: std::io::Error| CommandError::Failed(format!("{}: {error}", path.display()));
    let is_taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        return Err(CommandError::Failed(format!(
            "{}: not empty (choose a new folder)",
            folder.display()
        )));
    }
    for File { name, content } in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        // Whatever the umask: the user of the container is another one.
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(|error| failed(parent, error))?;
        let written = match content {
            Content::Text(text) => {
                let mut options = fs::OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o644).open(&path);
                file.and_then(|mut file| file.write_all(text.as_bytes()))
                    .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
            }
            Content::Copy(from, mode) => {
                fs::copy(from, &path).and_then(|_| fs::set_permissions(&path, Permissions::from_mode(*mode)))
            }
        };
        written.map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
