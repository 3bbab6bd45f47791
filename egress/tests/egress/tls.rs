use crate::client::{Egress, Host, denied};
use crate::servers::serve;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasm_sock_egress_protocol::{Alpn, Answer, Failure, Transport};

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("roots.pem");
        fs::write(&file, self.0.pem()).expect("a file");
        file
    }

    /// A certificate for this name or address, and its key.
    fn certify(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, KeyPair, CertificateDer<'static>) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key, certificate.der().clone())
    }

    /// A server that answers in upper case.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams), alpn: &[&[u8]]) -> SocketAddr {
        let (_, key, certificate) = self.certify(name, change);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate], key).expect("a pair");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        start(config)
    }
}

fn start(config: ServerConfig) -> SocketAddr {
    let config = Arc::new(config);
    serve("127.0.0.1:0", move |mut stream| {
        let mut connection = ServerConnection::new(config.clone()).expect("a configuration");
        let mut tls = Stream::new(&mut connection, &mut stream);
        let mut text = String::new();
        if tls.read_to_string(&mut text).is_ok() {
            let _ = tls.write_all(text.to_uppercase().as_bytes());
            connection.send_close_notify();
            let _ = connection.write_tls(&mut stream);
        }
    })
}

fn egress(authority: &Authority, settings: &str) -> (Egress, Host) {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = authority.write(folder.path());
    let egress = Egress::new(&format!(
        "allow-outbound = ['localhost:1-65535', '127.0.0.1:1-65535']\ntls-roots = {roots:?}\n{settings}"
    ));
    // It is read at the first use, and lies where the sandbox was told of.
    std::mem::forget(folder);
    let host = egress.host();
    (egress, host)
}

#[test]
fn plain_bytes_are_relayed_both_ways_to_the_end() {
    let authority = Authority::new();
    let (_egress, host) = egress(&authority, "");
    for (name, alpn, transport, protocol) in [
        (
            "localhost",
            &[b"h2".as_slice(), b"http/1.1"][..],
            Transport::Https,
            Some(Alpn::H2),
        ),
        (
            "localhost",
            &[b"http/1.1".as_slice()][..],
            Transport::Https,
            Some(Alpn::H1),
        ),
        ("127.0.0.1", &[][..], Transport::Https, None),
        ("localhost", &[][..], Transport::Tls, None),
    ] {
        let server = authority.server(name, |_| (), alpn);
        let connection = host.connection(name, server.port(), transport);
        assert!(
            matches!(connection.answer, Answer::Connected { peer, protocol: chosen, .. } if chosen == protocol && peer == Some(server))
        );
        let long = "abc".repeat(100_000);
        assert_eq!(connection.exchange(&long), long.to_uppercase());
    }
}

#[test]
fn a_certificate_of_another_name_or_authority_or_time_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_egress, host) = egress(&authority, "");
    let expired = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2100, 1, 1);
    for (what, server) in [
        ("another name", authority.server("example.org", |_| (), &[])),
        ("another address", authority.server("127.0.0.1", |_| (), &[])),
        ("another authority", other.server("localhost", |_| (), &[])),
        ("expired", authority.server("localhost", expired, &[])),
        ("not valid yet", authority.server("localhost", future, &[])),
    ] {
        let answered = host.reach("localhost", server.port(), Transport::Https).map(drop);
        assert!(
            matches!(answered, Err(Failure::TlsCertificate(_))),
            "{what}: {answered:?}"
        );
    }
}

#[test]
fn the_system_s_authorities_are_not_trusted_where_roots_are_set_and_the_other_way_round() {
    let authority = Authority::new();
    let server = authority.server("localhost", |_| (), &[]);
    let egress = Egress::new("allow-outbound = ['localhost:1-65535', '127.0.0.1:1-65535']");
    let answered = egress
        .host()
        .reach("localhost", server.port(), Transport::Tls)
        .map(drop);
    let Err(Failure::TlsCertificate(why)) = answered else {
        panic!("{answered:?}")
    };
    assert!(why.contains("tls-roots"), "{why}");
}

#[test]
fn a_server_may_ask_for_the_client_s_certificate() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("client.pem"), folder.path().join("client.key"));
    let (pem, pair, _) = authority.certify("bot", |_| ());
    fs::write(&certificate, pem).expect("a file");
    fs::write(&key, pair.serialize_pem()).expect("a file");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("a certificate");
    let verifier = rustls::server::WebPkiClientVerifier::builder(roots.into())
        .build()
        .expect("a verifier");
    let (_, own, own_certificate) = authority.certify("localhost", |_| ());
    let own = PrivateKeyDer::try_from(own.serialize_der()).expect("a key");
    let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
    let server = start(builder.with_single_cert(vec![own_certificate], own).expect("a pair"));
    let (_egress, host) = egress(
        &authority,
        &format!("tls-certificate = {certificate:?}\ntls-key = {key:?}"),
    );
    assert_eq!(
        host.connection("localhost", server.port(), Transport::Tls)
            .exchange("x"),
        "X"
    );
}

#[test]
fn what_speaks_no_tls_or_nothing_is_an_error_and_no_hang() {
    let authority = Authority::new();
    let (_egress, host) = egress(&authority, "");
    let plain = serve("127.0.0.1:0", |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let closing = serve("127.0.0.1:0", drop);
    for server in [plain, closing] {
        let answered = host.reach("localhost", server.port(), Transport::Https).map(drop);
        assert!(matches!(answered, Err(Failure::Tls(_))), "{answered:?}");
    }
    let silent = serve("127.0.0.1:0", |mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let ask = wasm_sock_egress_protocol::Ask::Connect {
        host: "localhost".into(),
        port: silent.port(),
        transport: Transport::Https,
    };
    host.send(9, "a", ask, std::time::Duration::from_millis(300));
    assert_eq!(host.receive().expect("a reply").1.map(drop), Err(Failure::TimedOut));
    denied(host.reach("localhost.example", 443, Transport::Https));
}
