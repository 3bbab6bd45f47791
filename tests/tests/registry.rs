//! `wasm-sock push`, with Debian's docker-registry, and with the crate that `wkg` stands on. Registries that lie:
//! `cli/src/registry/tests.rs`; `wasm-sock install oci://…`: `systemd/install/registry.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::{Kind, Registry, wasm, wasm_sock};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_wasm::{WasmClient, WasmConfig};

fn output(arguments: &[&str], environment: &[(&str, &Path)]) -> (i32, String, String) {
    let mut command = Command::new(wasm_sock());
    command.args(arguments).env_remove("SOURCE_DATE_EPOCH");
    // Nothing of the person who runs the tests.
    command
        .env("DOCKER_CONFIG", "/nonexistent")
        .env("REGISTRY_AUTH_FILE", "/nonexistent");
    command.envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("run wasm-sock");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Pushes a module; returns its address with the digest.
#[track_caller]
fn push(module: &Path, to: &str) -> String {
    let (code, printed, said) = output(&["push", module.to_str().unwrap(), to], &[]);
    assert_eq!(code, 0, "{said}");
    printed.trim_end().to_owned()
}

fn library() -> (tokio::runtime::Runtime, WasmClient) {
    // It speaks plain HTTP here, and wants TLS to be there all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    };
    (runtime, WasmClient::new(Client::new(config)))
}

#[test]
fn the_same_module_has_the_same_address_however_often_it_is_pushed() {
    let registry = Registry::start("", "");
    let module = wasm(Kind::P2, "http-hello");
    let first = push(&module, &registry.oci("team/hello:1.0"));
    assert!(first.starts_with(&registry.oci("team/hello@sha256:")), "{first}");
    assert_eq!(push(&module, &registry.oci("team/hello:1.0")), first);
    // Without a tag it has its digest only.
    assert_eq!(push(&module, &registry.oci("team/hello")), first);
    let other = Registry::start("", "");
    let elsewhere = push(&module, &other.oci("hello"));
    assert_eq!(elsewhere.split('@').nth(1), first.split('@').nth(1));
    assert_ne!(push(&wasm(Kind::P1, "hello"), &registry.oci("team/hello:1.0")), first);
}

#[test]
fn the_library_of_wkg_reads_what_was_pushed() {
    let registry = Registry::start("", "");
    let (runtime, client) = library();
    for (kind, guest, os) in [(Kind::P1, "hello", "wasip1"), (Kind::P2, "http-hello", "wasip2")] {
        let module = wasm(kind, guest);
        let address = push(&module, &registry.oci(&format!("{guest}:1")));
        let reference = address.strip_prefix("oci://").unwrap().parse().unwrap();
        let pulled = runtime
            .block_on(client.pull(&reference, &RegistryAuth::Anonymous))
            .unwrap();
        assert_eq!(pulled.layers[0].data, fs::read(&module).unwrap());
        let config = client.pull_manifest_and_config(&reference, &RegistryAuth::Anonymous);
        let (_, config, _) = runtime.block_on(config).unwrap();
        assert_eq!((config.architecture.as_str(), config.os.as_str()), ("wasm", os));
        let bytes = fs::read(&module).unwrap();
        if kind == Kind::P2 {
            let (expected, _) = WasmConfig::from_raw_component(bytes, None).unwrap();
            let sorted = |config: &WasmConfig| {
                let component = config.component.as_ref().unwrap();
                let (mut imports, mut exports) = (component.imports.clone(), component.exports.clone());
                imports.sort();
                exports.sort();
                (imports, exports, config.layer_digests.clone())
            };
            assert_eq!(sorted(&config), sorted(&expected));
        } else {
            assert!(config.component.is_none());
        }
    }
}

#[test]
fn a_password_is_that_of_docker_login_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    // Of "open sesame", by crypt(5).
    let users = folder.path().join("htpasswd");
    fs::write(
        &users,
        "ali:$2b$04$kU0ZjnB3YLgMhv0Xj8/NEOgqM991k/qXCmQJKa/dLDMkVMRrBBkk6\n",
    )
    .unwrap();
    let auth = format!("auth:\n  htpasswd: {{realm: cave, path: {}}}\n", users.display());
    let registry = Registry::start("", &auth);
    let module = wasm(Kind::P1, "hello");
    let arguments = ["push", module.to_str().unwrap(), &registry.oci("hello:1")];
    let (code, _, said) = output(&arguments, &[]);
    assert_eq!(code, 1);
    let advice = format!("(log in: docker login {0}, or podman login {0})", registry.address);
    assert!(said.contains(&advice), "{said}");
    let login = |name: &str, pair: &str| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#, registry.address);
        fs::write(folder.join("config.json"), text).unwrap();
        folder
    };
    // ali:open sesame, ali:open barley
    let wrong = login("wrong", "YWxpOm9wZW4gYmFybGV5");
    let (code, _, said) = output(&arguments, &[("DOCKER_CONFIG", &wrong)]);
    assert_eq!(code, 1);
    assert!(said.contains("answers 401") && !said.contains("barley"), "{said}");
    let right = login("right", "YWxpOm9wZW4gc2VzYW1l");
    let (code, printed, said) = output(&arguments, &[("DOCKER_CONFIG", &right)]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("@sha256:") && !said.contains("sesame"), "{said}");
    // As podman keeps it.
    let file = right.join("config.json");
    let (code, _, said) = output(&arguments, &[("REGISTRY_AUTH_FILE", &file)]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn what_is_no_module_is_not_pushed() {
    let registry = Registry::start("", "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wasm");
    for (content, words) in [
        (&b"\x7fELF"[..], "not a WebAssembly module"),
        (b"\0asm\x01\0\0\0\xff", "not a WebAssembly module"),
    ] {
        fs::write(&file, content).unwrap();
        let (code, _, said) = output(&["push", file.to_str().unwrap(), &registry.oci("a")], &[]);
        assert_eq!(code, 1);
        assert!(said.contains(words), "{said}");
    }
    let module = wasm(Kind::P1, "hello");
    let (code, _, said) = output(&["push", module.to_str().unwrap(), "ghcr.io/me/hello"], &[]);
    assert_eq!(code, 1);
    assert!(said.contains("does not begin with oci://"), "{said}");
}
