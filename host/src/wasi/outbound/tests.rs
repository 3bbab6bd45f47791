use super::*;
use crate::config::{HandlerConfig, Network, Scope};
use crate::limits::LogLimit;

fn reach(granted: &[Outbound]) -> Arc<OutboundPolicy> {
    let config = HandlerConfig {
        allow_outbound: granted.to_vec(),
        ..HandlerConfig::default()
    };
    OutboundPolicy::new(Arc::new(GuestContext {
        handler: "handler".into(),
        config: Arc::new(config),
        log_limit: LogLimit::new(None),
        stats: Default::default(),
        history: Arc::default(),
        egress: None,
        http: None,
        values: Arc::default(),
        stores: None,
        peer: None,
        connection: None,
        request: None,
    }))
}

fn named(name: &str, port: u16) -> Outbound {
    let (host, ports) = (Destination::Name(name.into()), vec![port..=port]);
    Outbound {
        scope: Scope::Tcp,
        host,
        ports,
    }
}

fn network(address: &str, prefix: u8, port: u16) -> Outbound {
    let network = Network::new(ip(address), prefix).expect("a prefix");
    let (host, ports) = (Destination::Network(network), vec![port..=port]);
    Outbound {
        scope: Scope::Tcp,
        host,
        ports,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn reaches(reach: &OutboundPolicy, address: &str) -> bool {
    reach.may_connect(address.parse().expect("an address"))
}

#[test]
fn a_network_is_reached_at_its_ports() {
    let reach = reach(&[network("10.0.0.0", 8, 80), network("fd00::", 8, 80)]);
    for address in ["10.1.2.3:80", "[::ffff:10.1.2.3]:80", "[fd01::1]:80"] {
        assert!(reaches(&reach, address), "{address}");
    }
    for address in ["10.1.2.3:81", "11.1.2.3:80", "[fe00::1]:80", "[::a:1]:80"] {
        assert!(!reaches(&reach, address), "{address}");
    }
}

#[test]
fn a_name_leads_to_what_it_was_found_to_be_and_at_its_port_only() {
    let reach = reach(&[named("a.example", 80), named("b.example", 81)]);
    assert!(!reaches(&reach, "8.8.8.8:80"), "before it was looked up");
    let found = reach.admit("a.example", vec![ip("8.8.8.8"), ip("8.8.4.4")]);
    assert_eq!(found.expect("found"), [ip("8.8.8.8"), ip("8.8.4.4")]);
    // The next answer does not take back the one before.
    reach.admit("a.example", vec![ip("8.8.8.1")]).expect("found");
    for address in ["8.8.8.8:80", "8.8.4.4:80", "8.8.8.1:80"] {
        assert!(reaches(&reach, address), "{address}");
    }
    for address in ["8.8.8.8:81", "8.8.8.9:80"] {
        assert!(!reaches(&reach, address), "{address}");
    }
}

#[test]
fn a_name_does_not_lead_to_an_address_that_is_not_public() {
    let reach = reach(&[named("a.example", 80)]);
    let found = reach.admit("a.example", vec![ip("10.0.0.1"), ip("8.8.8.8")]);
    assert_eq!(found.expect("found"), [ip("8.8.8.8")]);
    assert!(matches!(
        reach.admit("a.example", vec![ip("::ffff:127.0.0.1")]),
        Err(LookupError::Denied)
    ));
    for address in ["10.0.0.1:80", "127.0.0.1:80", "[::ffff:127.0.0.1]:80"] {
        assert!(!reaches(&reach, address), "{address}");
    }
}

#[test]
fn a_name_may_be_an_address_that_was_granted_but_only_at_the_address_s_port() {
    let reach = reach(&[named("a.example", 80), network("10.0.0.0", 8, 5432)]);
    let found = reach.admit("a.example", vec![ip("10.0.0.1")]);
    assert_eq!(found.expect("found"), [ip("10.0.0.1")]);
    assert!(reaches(&reach, "10.0.0.1:5432"));
    assert!(!reaches(&reach, "10.0.0.1:80"));
}

#[test]
fn only_a_name_that_was_granted_is_looked_up() {
    let look_up = |reach: &OutboundPolicy, name: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(reach.look_up(name))
    };
    let some = reach(&[named("localhost", 80), network("127.0.0.1", 32, 80)]);
    for name in ["example.org", "secret.localhost", "localhost.example", "", "127.1", "*"] {
        let denied = look_up(&some, name);
        assert!(matches!(denied, Err(LookupError::Denied)), "{name}: {denied:?}");
    }
    for name in ["localhost", "LocalHost", "localhost."] {
        assert!(
            look_up(&some, name).is_ok_and(|found| found == [ip("127.0.0.1")]),
            "{name}"
        );
    }
    // What is an address is no name, and is not asked for anywhere.
    assert!(look_up(&some, "8.8.8.8").is_ok_and(|found| found == [ip("8.8.8.8")]));
}
