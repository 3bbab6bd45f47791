//! The baseline for calls: a native program that calls a server as often as it is asked to (`GET /seq?N+URL`), with
//! hyper's client and its pool, and rustls, written as one would. It trusts the authorities in the file `$TLS_ROOTS`.

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::os::fd::FromRawFd;
use tokio::net::TcpListener;

type Calls = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // SAFETY: the process that starts this one passes a socket that listens as descriptor 3 (`sd_listen_fds(3)`).
    let listener = unsafe { std::net::TcpListener::from_raw_fd(3) };
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(std::env::var_os("TLS_ROOTS").ok_or("no $TLS_ROOTS")?)? {
        roots.add(root?)?;
    }
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1();
    let client: Calls = Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp));
    loop {
        let (connection, _) = listener.accept().await?;
        let client = client.clone();
        let service = service_fn(move |request| answer(request, client.clone()));
        let server = hyper::server::conn::http1::Builder::new();
        // A client that breaks off is its own affair.
        tokio::spawn(async move { server.serve_connection(TokioIo::new(connection), service).await });
    }
}

async fn answer(request: Request<Incoming>, client: Calls) -> Result<Response<Full<Bytes>>> {
    let query = request.uri().query().unwrap_or_default();
    let (count, url) = query.split_once('+').ok_or("no number and URL")?;
    let (count, url): (usize, Uri) = (count.parse()?, url.parse()?);
    for _ in 0..count {
        let response = client.get(url.clone()).await?;
        response.into_body().collect().await?;
    }
    Ok(Response::new(format!("{count} right\n").into()))
}
