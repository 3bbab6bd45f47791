//! Handlers with `listen` and `schedule` in the throw-away system of `tools/systemd-box`, as users configure them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::artifacts::{Kind, wasm};
use crate::systemctl::{install, output, systemctl};

/// Where the system's handlers are configured.
pub const HANDLERS: &str = "/etc/wasm-sock/handlers.d";

/// A handler of the system. It is gone when the test is over.
pub struct Handler {
    name: String,
}

impl Handler {
    /// Installs the guest `echo` under this name and configures it, with these lines; systemd has not been told.
    pub fn new(name: &str, lines: &str) -> Self {
        install();
        let module = Path::new("/var/lib/wasm-sock/modules").join(format!("{name}.cwasm"));
        if !module.exists() {
            let mut compile = Command::new("/usr/bin/wasm-sock");
            compile.arg("compile").arg(wasm(Kind::P1, "echo")).arg("-o").arg(module);
            output(&mut compile);
        }
        let handler = Self { name: name.to_owned() };
        handler.configure(lines);
        handler
    }

    /// As [`Handler::new`], and starts these of its units.
    pub fn started(name: &str, lines: &str, units: &[&str]) -> Self {
        let handler = Self::new(name, lines);
        systemctl(&["daemon-reload"]);
        systemctl(&[&["start"], units].concat());
        handler
    }

    /// The file of its configuration.
    pub fn file(&self) -> PathBuf {
        Path::new(HANDLERS).join(format!("{}.toml", self.name))
    }

    /// Writes these settings, at once: tests that run at the same time call `daemon-reload`.
    pub fn configure(&self, lines: &str) {
        let new = Path::new(HANDLERS).join(format!(".{}.new", self.name));
        fs::write(&new, format!("[handler.{:?}]\n{lines}\n", self.name)).expect("write the configuration");
        fs::rename(new, self.file()).expect("put the configuration in its place");
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let name = wasm_sock_units::escape(&self.name);
        for units in [
            format!("wasm-sock@{name}.*"),
            format!("wasm-sock@{name}:*"),
            format!("wasm-sock-{name}*"),
        ] {
            let _ = Command::new("systemctl")
                .args(["stop", &units])
                .stderr(Stdio::null())
                .status();
        }
        let _ = fs::remove_file(self.file());
    }
}
