//! `tls-roots`, `tls-certificate`, `tls-key`: files for the connections that guests make by TLS.

use super::{Checker, Key, Value, value};
use crate::TlsFiles;
use std::path::PathBuf;

/// The settings as they are written.
#[derive(Default)]
pub(super) struct Settings {
    roots: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Checker<'_> {
    /// Reads `key`, which is one of the three.
    pub(super) fn tls(&mut self, key: &Key<'_>, value: &Value<'_>, settings: &mut Settings) {
        let setting = match key.get_ref().as_ref() {
            "tls-roots" => &mut settings.roots,
            "tls-certificate" => &mut settings.certificate,
            _ => &mut settings.key,
        };
        self.set(setting, key, value, |value| value::absolute_path(value).map(Some));
    }

    /// The files of the handler `own`. A certificate needs its key.
    pub(super) fn tls_files(&mut self, own: &Key<'_>, settings: Settings) -> TlsFiles {
        let Settings {
            roots,
            certificate,
            key,
        } = settings;
        let missing = match (&certificate, &key) {
            (Some(_), None) => Some(("tls-certificate", "tls-key")),
            (None, Some(_)) => Some(("tls-key", "tls-certificate")),
            _ => None,
        };
        if let Some((there, missing)) = missing {
            let message = format!("\"{missing}\" is missing: the handler has \"{there}\" (set both, or none)");
            self.error(own.span(), message);
        }
        let identity = certificate.zip(key);
        TlsFiles { roots, identity }
    }
}
