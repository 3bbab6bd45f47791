//! Certificates and keys in files (PEM, RFC 7468).

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// Where distributions have the certificates of public authorities, in one file: Debian, Fedora, Alpine and BSD, SUSE.
pub const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The authorities of a file. Certificates in it that cannot be understood are left out, as there are some in the
/// system's files.
///
/// # Errors
/// Why there is none.
pub fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(file)?);
    match store.is_empty() {
        true => Err(format!(
            "{}: there is no certificate of an authority in it",
            file.display()
        )),
        false => Ok(store),
    }
}

/// # Errors
/// When the file cannot be read.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| unreadable(file, &error))
}

/// # Errors
/// When the file cannot be read, or has no private key.
pub fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!(
            "cannot read {file}: {error} (may wasm-sock-egress read it, and was it there when wasm-sock-egress started?)"
        ),
        error => format!("{file}: {error}"),
    }
}
