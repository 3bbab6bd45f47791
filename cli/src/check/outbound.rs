//! Guests that reach out: the socket of `wasm-sock-egress`, and the files that it reads.

use super::units::is_active;
use std::fs::File;
use wasm_sock_config::{Config, TlsFiles};
use wasm_sock_units::EGRESS;

/// Handlers whose guests cannot reach out, as nothing listens.
pub fn warning(config: &Config) -> Option<String> {
    let names = reaching_out(config);
    if names.is_empty() || is_active(EGRESS) {
        return None;
    }
    Some(format!(
        "{} cannot reach out: {EGRESS} does not listen (systemctl enable --now {EGRESS})",
        names.join(", ")
    ))
}

/// Files that are missing. Whether `wasm-sock-egress` may read them, only its user knows.
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, handler) in &config.handlers {
        let TlsFiles { roots, identity } = &handler.tls;
        let (certificate, key) = identity.clone().unzip();
        let files = [
            ("tls-roots", roots),
            ("tls-certificate", &certificate),
            ("tls-key", &key),
        ];
        for (setting, file) in files {
            if let Some(file) = file
                && let Err(error) = File::open(file)
                && error.kind() != std::io::ErrorKind::PermissionDenied
            {
                problems.push(format!("{name}: {setting}: {}: {error}", file.display()));
            }
        }
    }
    problems
}

fn reaching_out(config: &Config) -> Vec<&str> {
    let handlers = config
        .handlers
        .iter()
        .filter(|(_, handler)| handler.enabled && handler.reaches_out());
    handlers.map(|(name, _)| name.as_str()).collect()
}
