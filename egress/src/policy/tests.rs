use super::*;
use wasm_sock_config::{Config, Environment};

/// The settings of a handler with this `allow-outbound`.
fn granted(entries: &[&str]) -> HandlerConfig {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wasm-sock.toml");
    std::fs::write(&file, format!("[handler.a]\nallow-outbound = {entries:?}\n")).expect("a file");
    let environment = Environment {
        user_manager: false,
        variable: &|_| None,
    };
    let config = Config::load(Some(&file), &environment).expect("valid settings");
    config.handler("a").into_owned()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn reaches(granted: &HandlerConfig, host: &str, port: u16, found: &[&str]) -> bool {
    let found = found.iter().map(|name| (*name).to_owned());
    check(granted, &Target::new(host), port, Transport::Tcp, found).is_ok()
}

#[test]
fn a_network_is_reached_at_its_ports_however_the_address_is_written() {
    let granted = granted(&["10.0.0.0/8:80", "[fd00::/8]:80"]);
    for host in [
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "[::ffff:a01:203]",
        "fd01::1",
        "[fd01::1]",
    ] {
        assert!(reaches(&granted, host, 80, &[]), "{host}");
        assert!(!reaches(&granted, host, 81, &[]), "{host}");
    }
    for host in [
        "11.1.2.3",
        "fe00::1",
        "::a:1",
        "::10.1.2.3",
        "64:ff9b::10.1.2.3",
        "167838211",
        "0xa.1.2.3",
        "10.1.2",
    ] {
        assert!(!reaches(&granted, host, 80, &[]), "{host}");
    }
}

#[test]
fn an_address_is_reached_when_it_was_found_by_a_name_at_the_name_s_port_only() {
    let granted = granted(&["a.example:80", "udp:b.example:80"]);
    assert!(!reaches(&granted, "8.8.8.8", 80, &[]), "before it was looked up");
    assert!(reaches(&granted, "8.8.8.8", 80, &["a.example"]));
    assert!(!reaches(&granted, "8.8.8.8", 81, &["a.example"]));
    assert!(!reaches(&granted, "8.8.8.8", 80, &["b.example"]), "by TCP");
    assert!(
        !reaches(&granted, "8.8.8.8", 80, &["c.example"]),
        "which is not granted any more"
    );
    assert!(
        !reaches(&granted, "10.0.0.1", 80, &["a.example"]),
        "which is not public"
    );
}

#[test]
fn a_name_does_not_lead_to_an_address_that_is_not_public() {
    let granted = granted(&["a.example:80"]);
    let admit = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| ip(address)).collect();
        admit(&granted, "a.example", addresses, 80, Transport::Tcp)
    };
    assert_eq!(admit(&["10.0.0.1", "8.8.8.8"]), Ok(vec![ip("8.8.8.8")]));
    for address in [
        "10.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fd00::1",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "ff02::1",
    ] {
        let Err(Failure::Denied(why)) = admit(&[address]) else {
            panic!("{address} was admitted");
        };
        assert!(
            why.contains("not on the public internet") && why.contains("allow-outbound = [\""),
            "{why}"
        );
    }
    assert_eq!(admit(&[]), Err(Failure::NotFound));
}

#[test]
fn a_name_may_be_an_address_that_was_granted_but_only_at_the_address_s_port() {
    let granted = granted(&["a.example:80,5432", "10.0.0.0/8:5432"]);
    let admit = |port| admit(&granted, "a.example", vec![ip("10.0.0.1")], port, Transport::Tcp);
    assert_eq!(admit(5432), Ok(vec![ip("10.0.0.1")]));
    assert!(matches!(admit(80), Err(Failure::Denied(_))));
    assert_eq!(
        admit_looked_up(&granted, "a.example", vec![ip("10.0.0.1")]),
        Ok(vec![ip("10.0.0.1")])
    );
    assert!(
        admit_looked_up(&granted, "a.example", vec![ip("11.0.0.1"), ip("127.0.0.1")])
            .is_ok_and(|found| found == [ip("11.0.0.1")])
    );
}

#[test]
fn a_refusal_tells_what_would_allow_it() {
    let granted = granted(&[]);
    for (host, transport, entry) in [
        ("a.example", Transport::Tcp, "a.example:80"),
        ("10.0.0.1", Transport::Udp, "udp:10.0.0.1:80"),
        ("::1", Transport::Http { tls: true }, "[::1]:80"),
    ] {
        let refused = check(&granted, &Target::new(host), 80, transport, []);
        let expected = format!("allow-outbound = [{entry:?}] would allow it");
        assert_eq!(refused, Err(Failure::Denied(expected)));
    }
}
