//! The settings of TLS, one for each set of files. Sessions are resumed within one: not between handlers.

use super::pem;
use rustls::ClientConfig;
use rustls::RootCertStore;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use wasm_sock_config::TlsFiles;
use wasm_sock_egress_protocol::Failure;

/// The most configurations that are kept. With more, all are made again.
const MOST_KEPT: usize = 1024;

/// A configuration, and its files as they were when it was made.
type Kept = (Vec<Stamp>, Arc<ClientConfig>);

#[derive(Default)]
pub struct Configurations {
    kept: Mutex<HashMap<Key, Kept>>,
    /// The authorities of the files, which take milliseconds to read.
    roots: Mutex<HashMap<PathBuf, (Stamp, Arc<RootCertStore>)>>,
}

/// The handler, and whether it is for HTTP: with ALPN.
type Key = (String, bool);

/// Path, and when the file was changed.
type Stamp = (PathBuf, Option<SystemTime>);

impl Configurations {
    /// The configuration for connections of a handler. Reads its files if they have changed.
    ///
    /// # Errors
    /// [`Failure::Internal`] when a file cannot be used.
    pub fn of(&self, handler: &str, files: &TlsFiles, for_http: bool) -> Result<Arc<ClientConfig>, Failure> {
        let (key, stamps) = ((handler.to_owned(), for_http), stamps(files));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = kept.get(&key)
            && *of == stamps
        {
            return Ok(config.clone());
        }
        let config = Arc::new(self.make(files, for_http).map_err(Failure::Internal)?);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, (stamps, config.clone()));
        Ok(config)
    }

    fn make(&self, files: &TlsFiles, for_http: bool) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots(&roots_file(files))?);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = pem::certificates(certificate)?;
                let made = builder.with_client_auth_cert(chain, pem::key(key)?);
                made.map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?
            }
        };
        if for_http {
            config.alpn_protocols = vec![super::H2.to_vec(), super::H1.to_vec()];
        }
        Ok(config)
    }

    fn roots(&self, file: &Path) -> Result<Arc<RootCertStore>, String> {
        let stamp = stamp(file);
        let mut kept = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, roots)) = kept.get(file)
            && *of == stamp
        {
            return Ok(roots.clone());
        }
        let roots = Arc::new(pem::roots(file)?);
        kept.insert(file.to_owned(), (stamp, roots.clone()));
        Ok(roots)
    }
}

/// `tls-roots`; else `$SSL_CERT_FILE`, as OpenSSL has it; else the first of the system's files that is there.
fn roots_file(files: &TlsFiles) -> PathBuf {
    let of_system = || {
        let file = pem::SYSTEM_ROOTS.into_iter().find(|file| Path::new(file).exists());
        PathBuf::from(file.unwrap_or(pem::SYSTEM_ROOTS[0]))
    };
    let chosen = files
        .roots
        .clone()
        .or_else(|| std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    chosen.unwrap_or_else(of_system)
}

fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    let identity = files.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
    let mut stamps = vec![stamp(&roots_file(files))];
    stamps.extend(identity.map(|file| stamp(file)));
    stamps
}

fn stamp(file: &Path) -> Stamp {
    let changed = fs::metadata(file).and_then(|file| file.modified());
    (file.to_owned(), changed.ok())
}
