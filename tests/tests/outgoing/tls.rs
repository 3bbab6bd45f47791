//! `https`: certificates, HTTP/1.1 and HTTP/2 by ALPN, client certificates.

use super::Web;
use super::servers::{self, Server, serve};
use harness::{Authority, World};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::BufReader;
use std::sync::Arc;

/// A handler that trusts `authority`.
fn web(authority: &Authority, guest: &str, granted: &str) -> Web {
    let world = World::new(harness::Kind::P2);
    let roots = world.path("roots.pem");
    fs::write(&roots, authority.pem()).expect("a file");
    let settings = format!("allow-outbound = [\"{granted}\"]\ntls-roots = \"{}\"", roots.display());
    Web::of(world, guest, &settings)
}

fn http1(config: Arc<ServerConfig>) -> Server {
    serve(move |stream| {
        let connection = ServerConnection::new(config.clone()).expect("a configuration");
        let mut tls = BufReader::new(StreamOwned::new(connection, stream));
        while let Some(request) = servers::request(&mut tls) {
            if !servers::answer(tls.get_mut(), &servers::told(&request)) {
                return;
            }
        }
    })
}

fn http2(config: Arc<ServerConfig>) -> Server {
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    serve(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            stream.set_nonblocking(true).expect("a socket");
            let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
            let Ok(tls) = acceptor.accept(stream).await else {
                return;
            };
            let mut connection = h2::server::handshake(tls).await.expect("a preface");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let text = format!("{:?} {}", request.version(), request.uri());
                let body = respond.send_response(http::Response::new(()), false);
                let _ = body.expect("a stream").send_data(text.into(), true);
            }
        });
    })
}

#[test]
fn https_is_spoken_with_servers_of_a_private_authority() {
    let authority = Authority::new();
    for guest in ["http-fetch", "fetch-javascript", "fetch-python"] {
        let server = http1(authority.server("127.0.0.1", &["http/1.1"]));
        let web = web(&authority, guest, &server.address.to_string());
        for _ in 0..20 {
            let (status, text) = web.get(&format!("https://{}/secure", server.address));
            assert_eq!(status, 200, "{guest}: {text}\n{}", web.host.log.text());
            assert!(text.starts_with("get /secure http/1.1\n"), "{guest}: {text}");
        }
        assert_eq!(server.connections(), 1, "{guest}");
    }
}

#[test]
fn http2_is_spoken_with_servers_that_choose_it() {
    let authority = Authority::new();
    let server = http2(authority.server("127.0.0.1", &["h2"]));
    let web = web(&authority, "http-fetch", &format!("https://{}/*", server.address));
    for _ in 0..20 {
        let (status, text) = web.get(&format!("https://{}/secure", server.address));
        let expected = format!("HTTP/2.0 https://{}/secure", server.address);
        assert_eq!((status, text), (200, expected), "{}", web.host.log.text());
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_certificate_of_another_name_or_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    for config in [
        authority.server("elsewhere.example", &["http/1.1"]),
        authority.server("127.0.0.2", &["http/1.1"]),
        other.server("127.0.0.1", &["http/1.1"]),
    ] {
        let server = http1(config);
        let web = web(&authority, "http-fetch", &server.address.to_string());
        let error = web.error(&format!("https://{}/", server.address));
        assert!(error.contains("TlsCertificateError"), "{error}");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_a_tls_error() {
    let authority = Authority::new();
    let server = servers::telling();
    let web = web(&authority, "http-fetch", &server.address.to_string());
    let error = web.error(&format!("https://{}/", server.address));
    assert!(
        error.contains("Tls") || error.contains("ConnectionTerminated"),
        "{error}"
    );
}
