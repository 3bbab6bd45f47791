//! TLS: certificates, handshakes.

mod configurations;
mod pem;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasm_sock_egress_protocol::{Alpn, Failure};

pub use configurations::Configurations;
pub use pem::SYSTEM_ROOTS;

const H2: &[u8] = b"h2";
const H1: &[u8] = b"http/1.1";

/// Does the handshake with a server that must have a certificate of this name or address.
///
/// # Errors
/// See [`Failure`].
pub async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<Alpn>), Failure> {
    let name = match host.parse::<IpAddr>() {
        Ok(ip) => ServerName::from(ip),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|error| Failure::Tls(error.to_string()))?,
    };
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| failed(&error))?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(H2) => Some(Alpn::H2),
        Some(H1) => Some(Alpn::H1),
        _ => None,
    };
    Ok((stream, protocol))
}

fn failed(error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => Failure::TlsCertificate(certificate(why)),
        Some(Error::AlertReceived(alert)) => Failure::TlsAlert(u8::from(*alert)),
        Some(Error::NoApplicationProtocol) => Failure::TlsAlert(u8::from(AlertDescription::NoApplicationProtocol)),
        Some(error) => Failure::Tls(error.to_string()),
        None => Failure::Tls(format!("the server ended the handshake: {error}")),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "its authority is unknown (`tls-roots` names a file with others)".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!("it has expired: {why}"),
        why => why.to_string(),
    }
}
