use proptest::prelude::*;

use super::*;
use crate::HandlerConfig;

/// What systemd is told.
fn line(text: &str) -> String {
    let listen = Listen::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(listen.to_string(), text);
    format!("{}={}", listen.directive(), listen.systemd_address())
}

fn error(text: &str) -> String {
    Listen::parse(text).expect_err(text)
}

#[test]
fn every_kind_of_address_is_systemds() {
    for (written, systemd) in [
        ("7000", "ListenStream=7000"),
        ("tcp:7000", "ListenStream=7000"),
        ("127.0.0.1:7000", "ListenStream=127.0.0.1:7000"),
        ("0.0.0.0:7000", "ListenStream=0.0.0.0:7000"),
        ("[::1]:7001", "ListenStream=[::1]:7001"),
        ("tcp:[0:0::1]:1", "ListenStream=[::1]:1"),
        ("udp:5353", "ListenDatagram=5353"),
        ("udp:127.0.0.1:53", "ListenDatagram=127.0.0.1:53"),
        ("udp:[::]:65535", "ListenDatagram=[::]:65535"),
        ("unix:/run/hello.sock", "ListenStream=/run/hello.sock"),
        ("unix:/run//./my door", "ListenStream=/run/my door"),
        ("unix:@abstract/x:y", "ListenStream=@abstract/x:y"),
        ("packets:/run/hello.seq", "ListenSequentialPacket=/run/hello.seq"),
        ("packets:@p", "ListenSequentialPacket=@p"),
        ("datagrams:/run/x", "ListenDatagram=/run/x"),
        ("vsock::7000", "ListenStream=vsock::7000"),
        ("vsock:2:7000", "ListenStream=vsock:2:7000"),
    ] {
        assert_eq!(line(written), systemd, "{written}");
    }
}

#[test]
fn what_means_the_same_has_one_canonical_form() {
    let canonical = |text| Listen::parse(text).expect(text).canonical();
    assert_eq!(canonical("tcp:7000"), "7000");
    assert_eq!(canonical("07000"), "7000");
    assert_eq!(canonical("[0::1]:1"), "[::1]:1");
    assert_eq!(canonical("udp:53"), "udp:53");
    assert_eq!(canonical("unix:/run//x"), "unix:/run/x");
    assert_eq!(canonical("vsock::1"), "vsock::1");
}

#[test]
fn a_wrong_port_is_told() {
    assert_eq!(error("0"), "cannot be \"0\": \"0\" is no port (allowed: 1 to 65535)");
    assert_eq!(
        error("udp:70000"),
        "cannot be \"udp:70000\": \"70000\" is no port (allowed: 1 to 65535)"
    );
    assert_eq!(
        error("127.0.0.1:+80"),
        "cannot be \"127.0.0.1:+80\": \"+80\" is no port (allowed: 1 to 65535)"
    );
    assert_eq!(
        error("[::1]:"),
        "cannot be \"[::1]:\": \"\" is no port (allowed: 1 to 65535)"
    );
    assert_eq!(
        error("127.0.0.1"),
        "cannot be \"127.0.0.1\": the port is missing (write \"127.0.0.1:7000\")"
    );
    assert_eq!(
        error("::1"),
        "cannot be \"::1\": the port is missing (write \"[::1]:7000\")"
    );
    assert_eq!(
        error("udp:[::1]"),
        "cannot be \"udp:[::1]\": the port is missing (write \"udp:[::1]:7000\")"
    );
    assert_eq!(
        error(":80"),
        "cannot be \":80\": a port of all addresses stands alone (write \"80\")"
    );
    assert_eq!(
        error("udp:*:80"),
        "cannot be \"udp:*:80\": a port of all addresses stands alone (write \"udp:80\")"
    );
}

#[test]
fn a_name_instead_of_an_address_is_told() {
    assert_eq!(
        error("localhost:7000"),
        "cannot be \"localhost:7000\": \"localhost\" is a host name, or no kind of socket (names are not looked up: \
         write an address such as \"127.0.0.1:7000\"; kinds: tcp, udp, unix, packets, datagrams, vsock)"
    );
    assert_eq!(
        error("http"),
        "cannot be \"http\": it is neither a port nor an address (write \"80\", \"127.0.0.1:80\")"
    );
    assert_eq!(
        error("http://example.org"),
        "cannot be \"http://example.org\": it is a URL (write the port or the address: \"80\", \"127.0.0.1:80\")"
    );
}

#[test]
fn a_mistyped_kind_is_told_with_what_was_meant() {
    let kinds = "kinds: tcp, udp, unix, packets, datagrams, vsock";
    for (typed, meant) in [
        ("UDP:53", "udp:53"),
        ("tcp6:80", "tcp:80"),
        ("packet:/x", "packets:/x"),
        ("unx:@x", "unix:@x"),
    ] {
        let kind = typed.split(':').next().expect("a kind");
        let why = format!("{kind:?} is no kind of socket (did you mean {meant:?}? {kinds})");
        assert_eq!(error(typed), format!("cannot be {typed:?}: {why}"));
    }
}

#[test]
fn a_wrong_ipv6_address_is_told() {
    assert_eq!(
        error("::1:7001"),
        "cannot be \"::1:7001\": the port is missing (write \"[::1:7001]:7000\")"
    );
    assert_eq!(
        error("fe80::1%eth0:7001"),
        "cannot be \"fe80::1%eth0:7001\": an IPv6 address stands in brackets (write \"[::1]:7001\")"
    );
    assert_eq!(
        error("[::1"),
        "cannot be \"[::1\": \"]\" is missing (write \"[::1]:7000\")"
    );
    assert_eq!(
        error("[::g]:1"),
        "cannot be \"[::g]:1\": \"::g\" is no IPv6 address (as in \"[::1]:7000\")"
    );
    assert_eq!(
        error("[fe80::1%eth0]:1"),
        "cannot be \"[fe80::1%eth0]:1\": an interface stands in \"socket\" (write socket = { interface = \"eth0\" })"
    );
}

#[test]
fn a_wrong_path_is_told() {
    assert_eq!(
        error("/run/x"),
        "cannot be \"/run/x\": the kind is missing (write \"unix:/run/x\", or packets:…, datagrams:…)"
    );
    assert_eq!(
        error("unix:./x"),
        "cannot be \"unix:./x\": the path is not absolute (as in \"unix:/run/x\"; abstract names begin with \"@\")"
    );
    for path in ["unix:/", "unix:/run/", "unix:/run/../x"] {
        let why = "it must be the path of a file, without \"..\" (as in \"unix:/run/hello.sock\")";
        assert_eq!(error(path), format!("cannot be {path:?}: {why}"));
    }
    for path in [
        "unix:/run/a\nListenStream=80",
        "unix:/run/a ",
        "unix:/run/a\\",
        "packets:@a\u{7f}",
    ] {
        assert!(error(path).contains("a unit file cannot have such a name"), "{path:?}");
    }
    assert_eq!(
        error("unix:@"),
        "cannot be \"unix:@\": the abstract name is empty (as in \"unix:@hello\")"
    );
}

#[test]
fn a_path_fits_the_kernels_address() {
    let path = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
    assert_eq!(line(&path(107)).len(), "ListenStream=".len() + 107);
    let long = error(&path(108));
    assert!(
        long.ends_with("the path has 108 bytes, and the kernel takes 107 (choose a shorter one)"),
        "{long}"
    );
    let name = |length: usize| format!("unix:@{}", "x".repeat(length));
    assert_eq!(line(&name(107)).len(), "ListenStream=@".len() + 107);
    assert!(error(&name(108)).ends_with("the abstract name has 108 bytes (allowed: 107)"));
}

#[test]
fn a_wrong_vsock_address_is_told() {
    assert_eq!(
        error("vsock:7000"),
        "cannot be \"vsock:7000\": the context ID is missing (write \"vsock::7000\" for any)"
    );
    let example = "(as in \"vsock::7000\", or with a context ID \"vsock:2:7000\")";
    for text in ["vsock::0", "vsock::4294967295", "vsock:2:x"] {
        assert_eq!(
            error(text),
            format!("cannot be {text:?}: the port is no number from 1 to 4294967294 {example}")
        );
    }
    assert_eq!(
        error("vsock:any:1"),
        format!("cannot be \"vsock:any:1\": the context ID is no number {example}")
    );
}

/// Whether two handlers can listen at these addresses.
fn clash(one: &str, other: &str) -> bool {
    let handler = |text| HandlerConfig {
        listen: vec![Listen::parse(text).expect(text)],
        ..HandlerConfig::default()
    };
    let (one, other) = (handler(one), handler(other));
    let found = !clashes([("a", &one), ("b", &other)].into_iter()).is_empty();
    let reverse = !clashes([("a", &other), ("b", &one)].into_iter()).is_empty();
    assert_eq!(found, reverse, "{one:?} {other:?}");
    found
}

#[test]
fn addresses_that_exclude_each_other_are_found() {
    for (one, other) in [
        ("7000", "tcp:7000"),
        ("7000", "127.0.0.1:7000"),
        ("7000", "[::1]:7000"),
        ("[::]:7000", "0.0.0.0:7000"),
        ("0.0.0.0:7000", "127.0.0.1:7000"),
        ("127.0.0.1:7000", "[::ffff:127.0.0.1]:7000"),
        ("udp:53", "udp:53"),
        ("unix:/run/x", "packets:/run//x"),
        ("unix:@x", "datagrams:@x"),
        ("vsock::1", "vsock:2:1"),
    ] {
        assert!(clash(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("7000", "7001"),
        ("7000", "udp:7000"),
        ("127.0.0.1:7000", "127.0.0.2:7000"),
        ("0.0.0.0:7000", "[::1]:7000"),
        ("udp:53", "udp:127.0.0.1:53"),
        ("unix:/run/x", "unix:@/run/x"),
        ("vsock:1:1", "vsock:2:1"),
        ("vsock::7000", "7000"),
    ] {
        assert!(!clash(one, other), "{one} {other}");
    }
}

#[test]
fn a_disabled_handler_takes_no_address() {
    let handler = |enabled| HandlerConfig {
        listen: vec![Listen::parse("7000").expect("a port")],
        enabled,
        ..HandlerConfig::default()
    };
    assert!(clashes([("a", &handler(false)), ("b", &handler(true))].into_iter()).is_empty());
}

proptest! {
    #[test]
    fn what_is_accepted_fits_a_line_of_a_unit_file_and_is_understood_again(
        text in "(tcp:|udp:|unix:|packets:|datagrams:|vsock:)?\\PC{0,20}|[0-9:.\\[\\]]{0,20}|unix:[@/].{0,10}",
    ) {
        if let Ok(listen) = Listen::parse(&text) {
            let address = listen.systemd_address();
            prop_assert!(!address.contains(char::is_control) && address.trim() == address);
            let again = Listen::parse(&listen.canonical()).expect("the canonical form");
            prop_assert_eq!((again.kind, again.address), (listen.kind, listen.address));
        }
    }
}
