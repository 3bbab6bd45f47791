//! `wasm-sock install oci://…`. Pushing: `tests/tests/registry.rs`; registries that lie: `cli/src/registry/tests.rs`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use harness::systemctl::output;
use harness::{Kind, Registry, wasm};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_wasm::{WasmClient, WasmConfig};

use super::{alone, ask, assert_no_trace, fails, module, succeeds, traces, wasm_sock};

#[test]
fn a_module_is_installed_from_a_registry_by_its_digest_only() {
    let _alone = alone();
    let before = traces("pulled");
    let registry = Registry::start("", "");
    let tag = registry.oci("team/pulled:1.0");
    let address = succeeds(&["push", &module(Kind::P1, "hello"), &tag]);
    let address = address.trim_end();
    // The tag: nothing happens, and the line to copy is printed. That line works.
    let said = fails(&["install", &tag, "--listen", "7331"]);
    assert!(said.contains(&format!("\n  wasm-sock install {address}\n")), "{said}");
    assert_no_trace("pulled", &before);
    let installed = succeeds(&["install", address, "--listen", "127.0.0.1:7331"]);
    assert!(installed.contains("pulled"), "{installed}");
    assert!(ask(7331, "").unwrap().contains("Hello"));
    // What is installed is what was pushed.
    let there = fs::read("/var/lib/wasm-sock/modules/pulled.wasm").unwrap();
    assert_eq!(there, fs::read(wasm(Kind::P1, "hello")).unwrap());
    succeeds(&["uninstall", "pulled", "--purge"]);
    assert_no_trace("pulled", &before);
    let said = fails(&["install", &registry.oci("team/pulled:2.0"), "--listen", "7331"]);
    assert!(said.contains("answers 404 Not Found: manifest unknown"), "{said}");
}

#[test]
fn what_was_changed_in_the_registry_changes_nothing_here() {
    let _alone = alone();
    let before = traces("changed");
    let registry = Registry::start("", "");
    let source = wasm(Kind::P1, "hello");
    let address = succeeds(&["push", source.to_str().unwrap(), &registry.oci("changed")]);
    let (config, _) = WasmConfig::from_raw_module(fs::read(&source).unwrap(), None).unwrap();
    let blob = registry.blob(&config.layer_digests[0]);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let said = fails(&["install", address.trim_end(), "--listen", "7332"]);
    assert!(said.contains("sends something else than what was asked for"), "{said}");
    assert_no_trace("changed", &before);
}

#[test]
fn what_the_library_of_wkg_has_pushed_is_installed() {
    let _alone = alone();
    let before = traces("theirs");
    let registry = Registry::start("", "");
    // It speaks plain HTTP here, and wants TLS to be there all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap();
    let client = WasmClient::new(Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    }));
    let component = fs::read(wasm(Kind::P2, "http-hello")).unwrap();
    let (config, layer) = WasmConfig::from_raw_component(component, Some("me".to_owned())).unwrap();
    let reference = format!("{}/theirs:1", registry.address).parse().unwrap();
    let push = client.push(&reference, &RegistryAuth::Anonymous, layer, config, None);
    runtime.block_on(push).unwrap();
    let digest = client.fetch_manifest_digest(&reference, &RegistryAuth::Anonymous);
    let digest = runtime.block_on(digest).unwrap();
    succeeds(&[
        "install",
        &registry.oci(&format!("theirs@{digest}")),
        "--listen",
        "127.0.0.1:7333",
    ]);
    let answer = ask(7333, "GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(answer.contains("Hello, stranger!"), "{answer}");
    succeeds(&["uninstall", "theirs", "--purge"]);
    assert_no_trace("theirs", &before);
}

/// A certificate for a name, by an authority of its own.
fn certificate(folder: &Path, name: &str) {
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 \
         -subj '/CN=an authority'\n\
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request -subj \
         '/CN={name}'\n\
         echo subjectAltName=DNS:{name} > extensions\n\
         openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem"
    );
    output(Command::new("bash").args(["-ec", &script]).current_dir(folder));
}

#[test]
fn a_registry_elsewhere_is_spoken_to_by_tls_and_its_certificate_has_to_be_right() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "registry.test");
    // A copy of the machine's file, in the box.
    let mut hosts = OpenOptions::new().append(true).open("/etc/hosts").unwrap();
    hosts.write_all(b"127.0.0.1 registry.test other.test\n").unwrap();
    let file = |name: &str| folder.path().join(name);
    let tls = format!(
        "  tls: {{certificate: {}, key: {}}}\n",
        file("cert.pem").display(),
        file("key.pem").display()
    );
    let registry = Registry::start(&tls, "");
    let port = registry.address.port();
    let source = module(Kind::P1, "hello");
    let push = |host: &str, roots: &str| {
        let address = format!("oci://{host}:{port}/secure:1");
        let mut command = wasm_sock(&["push", &source, &address]);
        let pushed = command.env("SSL_CERT_FILE", file(roots)).output().unwrap();
        (
            pushed.status.code(),
            String::from_utf8_lossy(&pushed.stderr).into_owned(),
        )
    };
    let (code, said) = push("registry.test", "ca.pem");
    assert_eq!(code, Some(0), "{said}");
    let refused = |host: &str| {
        let (code, said) = push(host, "ca.pem");
        assert_eq!(code, Some(1), "{host}: {said}");
        assert!(said.contains("certificate"), "{host}: {said}");
    };
    // A name that is not the certificate's; then an authority that is not known.
    refused("other.test");
    certificate(folder.path(), "registry.test");
    refused("registry.test");
    // A registry without TLS, under a name that is not this machine's.
    let plain = Registry::start("", "");
    let said = fails(&[
        "push",
        &source,
        &format!("oci://registry.test:{}/plain:1", plain.address.port()),
    ]);
    assert!(said.contains("registry.test") && !said.contains("pushed"), "{said}");
}
