//! A private authority, and servers with its certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A private authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // With the subject of what it issues, OpenSSL would take that for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate, for `tls-roots`.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` and its key, as the files that a server reads.
    pub fn files(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// The settings of a server with a certificate for `name`, which chooses one of these protocols (ALPN); without any,
    /// it knows no ALPN.
    pub fn server(&self, name: &str, alpn: &[&str]) -> Arc<ServerConfig> {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder().with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key);
        let mut config = config.expect("a pair");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
