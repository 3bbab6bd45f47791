use crate::client::{Egress, denied};
use crate::servers;
use wasm_sock_egress_protocol::{Ask, Transport};

#[test]
fn what_was_not_granted_is_denied_with_what_would_allow_it() {
    let server = servers::echo("127.0.0.1:0");
    let port = server.port();
    let egress = Egress::new(&format!(
        "allow-outbound = ['127.0.0.2:{port}', 'udp:127.0.0.1:{port}']"
    ));
    let host = egress.host();
    let why = denied(host.reach("127.0.0.1", port, Transport::Tcp));
    assert_eq!(why, format!("allow-outbound = [\"127.0.0.1:{port}\"] would allow it"));
    denied(host.reach("localhost", port, Transport::Tcp));
    denied(host.reach("127.0.0.2", port, Transport::Udp));
    denied(host.reach("127.0.0.2", port - 1, Transport::Tcp));
    // Another handler has grants of its own: none.
    denied(host.ask(
        "b",
        Ask::Connect {
            host: "127.0.0.2".into(),
            port,
            transport: Transport::Tcp,
        },
    ));
    // No spelling of the address helps.
    for other in [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
    ] {
        denied(host.reach(other, port, Transport::Tcp));
    }
}

/// A name of the machine itself stands for one whose owner points it at an internal address (DNS rebinding).
#[test]
fn a_granted_name_does_not_lead_to_this_machine_nor_to_private_networks() {
    let port = servers::echo("127.0.0.1:0").port();
    let egress = Egress::new(&format!(
        "allow-outbound = ['localhost:{port}', 'https://localhost:{port}/']"
    ));
    let host = egress.host();
    for transport in [Transport::Tcp, Transport::Http, Transport::Https, Transport::Tls] {
        let why = denied(host.reach("localhost", port, transport));
        assert!(
            why.contains("localhost is 127.0.0.1, which is not on the public internet"),
            "{why}"
        );
        assert!(
            why.contains(&format!("allow-outbound = [\"127.0.0.1:{port}\"]")),
            "{why}"
        );
    }
    denied(host.ask(
        "a",
        Ask::Resolve {
            name: "localhost".into(),
        },
    ));
    denied(host.reach("127.0.0.1", port, Transport::Tcp));
}

#[test]
fn a_url_is_for_requests_of_its_scheme_only() {
    let port = servers::echo("127.0.0.1:0").port();
    let egress = Egress::new(&format!("allow-outbound = ['GET http://127.0.0.1:{port}/v1/*']"));
    let host = egress.host();
    assert_eq!(host.connection("127.0.0.1", port, Transport::Http).exchange("x"), "X");
    for transport in [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Udp] {
        denied(host.reach("127.0.0.1", port, transport));
    }
}

#[test]
fn new_settings_count_at_once() {
    let port = servers::echo("127.0.0.1:0").port();
    let egress = Egress::new("");
    let host = egress.host();
    denied(host.reach("127.0.0.1", port, Transport::Tcp));
    egress.settings(&format!("allow-outbound = ['127.0.0.1:{port}']"));
    assert_eq!(host.connection("127.0.0.1", port, Transport::Tcp).exchange("x"), "X");
    egress.settings("");
    denied(host.reach("127.0.0.1", port, Transport::Tcp));
}

#[test]
fn a_mistake_in_the_settings_allows_nothing_and_is_logged() {
    let port = servers::echo("127.0.0.1:0").port();
    let egress = Egress::new(&format!("allow-outbound = ['127.0.0.1:{port}']\ntls-key = '/key'"));
    let host = egress.host();
    assert!(host.reach("127.0.0.1", port, Transport::Tcp).is_err());
    let log = egress.log();
    assert!(
        log.contains("a cannot reach out: ") && log.contains("\"tls-certificate\" is missing"),
        "{log}"
    );
}
