//! A private authority, and the certificate of a server on the loopback.

use crate::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// Files in PEM.
pub struct Authority {
    /// Its own certificate, which clients trust.
    pub root: PathBuf,
    /// The server's, for 127.0.0.1.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes the files in `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        // A certificate whose issuer has its own name is taken for one that is its own issuer.
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of a benchmark");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            root: write("root.pem", authority.pem())?,
            certificate: write("server.pem", certificate.pem())?,
            key: write("server.key", key.serialize_pem())?,
        })
    }
}
