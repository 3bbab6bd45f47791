//! What is in the manifests; whether engines accept them: `tests/tests/export.rs`.

use super::subject::Subject;
use super::{kubernetes, nomad, settings, shim, spin};
use std::path::PathBuf;
use toml::Table;
use wasm_sock_config::{
    DirGrant, HandlerConfig, HostConfig, KeyValue, Listen, RedisAddress, RedisServer, StoreAddress,
};

/// A handler with these settings.
fn subject(is_http: bool, listen: &[&str], table: &str) -> Result<Subject, String> {
    let store = |name: &str, at| KeyValue {
        name: name.to_owned(),
        at,
        lifetime: None,
        prefix: None,
    };
    let server = RedisServer {
        address: RedisAddress::Unix("/run/redis".into()),
        user: None,
        password: None,
        database: 0,
    };
    let keyvalue = match table.contains("keyvalue") {
        true => vec![
            store("cache", StoreAddress::Redis(server)),
            store("default", StoreAddress::Embedded),
        ],
        false => Vec::new(),
    };
    let handler = HandlerConfig {
        keyvalue,
        listen: listen.iter().map(|address| Listen::parse(address).unwrap()).collect(),
        env: vec![("GREETING".to_owned(), "say \"hi\" ${HOME}".to_owned())],
        ..HandlerConfig::default()
    };
    let mut table: Table = table.parse().unwrap();
    let env = Table::from_iter([("GREETING".to_owned(), "say \"hi\" ${HOME} {{x}}".into())]);
    table.insert("env".to_owned(), env.into());
    let common = "[host]\nidle-timeout = \"5s\"\nmodules = \"/srv\"\n[defaults]\nmemory = \"16MiB\"\n"
        .parse()
        .unwrap();
    let host = HostConfig::default();
    Subject::new(
        "My.App",
        PathBuf::from("/m/app.wasm"),
        is_http,
        handler,
        host,
        table,
        common,
    )
}

const ALL: &str = r#"
module = "app.wasm"
process = "shared"
schedule = ["daily"]
allow-outbound = ["api.example.org:443", "udp:192.0.2.1:53", "https://a.example.org/v1/*", "https://b.example.org/*"]
secrets = ["token"]
tls-roots = "/etc/ssl/own.pem"
keyvalue = { default = "embedded", cache = "redis://10.0.0.1" }
config = { greeting = "hi {{", Motd = "x", file = { file = "/etc/motd" } }
"#;

#[test]
fn settings_of_this_machine_stay_here() {
    let subject = subject(true, &["127.0.0.1:8080", "unix:/run/a"], ALL).unwrap();
    let text = settings::text(&subject).unwrap();
    let document: Table = text.parse().unwrap();
    let handler = &document["handler"]["My.App"];
    assert_eq!(handler["listen"].as_array().unwrap().len(), 1);
    assert_eq!(handler["listen"][0].as_str(), Some("8080"));
    assert_eq!(document["handler"]["metrics"]["listen"][0].as_str(), Some("9464"));
    for (table, gone) in [
        (handler, "module"),
        (handler, "process"),
        (&document["host"], "idle-timeout"),
    ] {
        assert!(table.get(gone).is_none(), "{gone}: {text}");
    }
    for kept in ["secrets", "keyvalue", "config", "allow-outbound", "env"] {
        assert_eq!(handler.get(kept), subject.table.get(kept), "{kept}");
    }
    assert_eq!(document["defaults"]["memory"].as_str(), Some("16MiB"));
    assert_eq!(document["host"]["modules"].as_str(), Some("/var/lib/wasm-sock/modules"));
    assert_eq!(document["host"]["max-memory"].as_str(), Some("512MiB"));
}

#[test]
fn what_listens_at_no_port_cannot_be_exported() {
    for listen in [&[][..], &["unix:/run/a"]] {
        let why = subject(true, listen, "").err().unwrap();
        assert!(why.contains("listens at no port"), "{why}");
    }
}

#[test]
fn kubernetes_gets_secrets_state_and_low_ports() {
    let mut subject = subject(false, &["70", "udp:70", "unix:/run/a"], ALL).unwrap();
    subject.handler.schedule.calendar = vec!["daily".to_owned()];
    let text = kubernetes::manifest(&subject, "ghcr.io/me/app:1").unwrap();
    for part in [
        "name: my-app\n",
        "containerPort: 70, protocol: UDP",
        "ip_unprivileged_port_start, value: \"70\"",
        "secretName: my-app-secrets",
        "kubectl create secret generic my-app-secrets --from-file=token",
        "CREDENTIALS_DIRECTORY",
        "STATE_DIRECTORY",
        "claimName: my-app-state",
        "type: Recreate",
        "limits: {memory: 576Mi}",
        "# - listen: unix:/run/a",
        "# - schedule: daily; ",
        "tls-roots names /etc/ssl/own.pem",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn shims_and_spin_serve_http_only() {
    let bytes = subject(false, &["70"], "").unwrap();
    assert!(
        shim::manifest(&bytes, "i", "wasmtime")
            .unwrap_err()
            .contains("HTTP components only")
    );
    assert!(spin::manifest(&bytes).unwrap_err().contains("HTTP components only"));
    let several = subject(true, &["80", "81"], "").unwrap();
    assert!(
        shim::manifest(&several, "i", "wasmtime")
            .unwrap_err()
            .contains("one port")
    );
}

#[test]
fn a_shim_says_which_limits_are_gone() {
    let subject = subject(true, &["8080"], ALL).unwrap();
    let text = shim::manifest(&subject, "ghcr.io/me/app:1", "wasmtime").unwrap();
    for part in [
        "runtimeClassName: \"wasmtime\"",
        "# - the limits of one request",
        "# - allow-outbound",
        "# - secrets",
        "0.0.0.0:8080",
        "\"say \\\"hi\\\" ${HOME}\"",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn nomad_replaces_nothing_in_the_settings() {
    let subject = subject(true, &["8080"], ALL).unwrap();
    let text = nomad::job(&subject, "ghcr.io/me/app:1").unwrap();
    for part in [
        "$${HOME}",
        "{{ \"{{\" }}",
        "nomad var put nomad/jobs/my-app token=@token",
        "index . \\\"token\\\"",
        "port \"tcp_8080\" { to = 8080 }",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.replace("$${", "").contains("${"), "{text}");
}

#[test]
fn spin_gets_what_it_has_and_names_the_rest() {
    let mut subject = subject(true, &["8080"], ALL).unwrap();
    subject.handler.dirs = vec![DirGrant {
        host: "/srv/a".into(),
        guest: "/data".to_owned(),
        access: wasm_sock_config::Access::ReadWrite,
    }];
    let text = spin::manifest(&subject).unwrap();
    let document: Table = text.parse().unwrap();
    let component = &document["component"]["my-app"];
    let hosts: Vec<&str> = component["allowed_outbound_hosts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|host| host.as_str())
        .collect();
    assert_eq!(hosts, ["*://api.example.org:443", "https://b.example.org"]);
    assert_eq!(component["variables"]["token"].as_str(), Some("{{ token }}"));
    assert_eq!(component["files"][0]["destination"].as_str(), Some("/data"));
    assert_eq!(document["variables"]["token"]["secret"].as_bool(), Some(true));
    for loss in [
        "config.greeting",
        "udp:192.0.2.1:53",
        "https://a.example.org/v1/*",
        "config.Motd",
        "/srv/a can be read",
        "keyvalue.cache",
        "timeout",
    ] {
        let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert!(comments.join(" ").contains(loss), "{loss}: {text}");
    }
    assert!(
        text.lines()
            .filter(|line| line.starts_with('#'))
            .all(|line| line.chars().count() <= 80),
        "{text}"
    );
}
