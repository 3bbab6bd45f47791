use super::*;
use crate::{Destination, Network, Scope};

/// Parses `text` as one TOML value and reads it.
fn read<T>(text: &str, read: impl Fn(&DeValue<'_>) -> Reading<T>) -> Reading<T> {
    let value = DeValue::parse(text).expect("the test's own TOML");
    read(value.get_ref())
}

fn name(host: &str, port: u16) -> Reading<Outbound> {
    let (host, ports) = (Destination::Name(host.into()), vec![port..=port]);
    Ok(Outbound {
        scope: Scope::Tcp,
        host,
        ports,
    })
}

fn network(address: &str, prefix: u8, port: u16) -> Reading<Outbound> {
    let address = address.parse().expect("the test's own address");
    let network = Network::new(address, prefix).expect("the test's own prefix");
    let (host, ports) = (Destination::Network(network), vec![port..=port]);
    Ok(Outbound {
        scope: Scope::Tcp,
        host,
        ports,
    })
}

#[test]
fn an_outbound_destination_is_a_name_or_an_address_with_a_port() {
    let read = |text| read(text, outbound);
    assert_eq!(read("'api.telegram.org:443'"), name("api.telegram.org", 443));
    assert_eq!(read("'localhost:1'"), name("localhost", 1));
    assert_eq!(read("'_dns.x-1.example:65535'"), name("_dns.x-1.example", 65535));
    assert_eq!(read("'1.2.3.4:443'"), network("1.2.3.4", 32, 443));
    assert_eq!(read("'[::1]:80'"), network("::1", 128, 80));
    assert_eq!(read("'[2001:db8::1]:80'"), network("2001:db8::1", 128, 80));
    assert_eq!(read("'[::ffff:1.2.3.4]:80'"), network("1.2.3.4", 32, 80));
}

#[test]
fn an_outbound_destination_may_be_a_network() {
    let read = |text: &str| read(text, outbound);
    assert_eq!(read("'10.0.0.0/8:80'"), network("10.0.0.0", 8, 80));
    assert_eq!(read("'10.1.2.3/8:80'"), network("10.0.0.0", 8, 80));
    assert_eq!(read("'[fd00::/8]:80'"), network("fd00::", 8, 80));
    assert_eq!(read("'[::ffff:10.0.0.0/104]:80'"), network("10.0.0.0", 8, 80));
    let contains = |network: &str, ip: &str| match read(&format!("'{network}:80'")) {
        Ok(Outbound {
            host: Destination::Network(network),
            ..
        }) => network.contains(ip.parse().expect("the test's own address")),
        other => panic!("{network} became {other:?}"),
    };
    for (network, ip, expected) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("10.0.0.0/8", "a00::", false),
        ("0.0.0.0/0", "8.8.8.8", true),
        ("0.0.0.0/0", "2001:4860::1", false),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("[::/0]", "2001:4860::1", true),
        ("[::/0]", "::ffff:10.0.0.1", false),
        ("[fd00::/9]", "fd7f::1", true),
        ("[fd00::/9]", "fd80::1", false),
    ] {
        assert_eq!(contains(network, ip), expected, "{ip} in {network}");
    }
}

#[test]
fn an_outbound_destination_may_have_many_ports() {
    let ports = |text| read(text, outbound).map(|outbound| outbound.ports);
    assert_eq!(ports("'a:80,443'"), Ok(vec![80..=80, 443..=443]));
    assert_eq!(ports("'a:1-65535'"), Ok(vec![1..=65535]));
    assert_eq!(ports("'[::1]:22,8000-8010'"), Ok(vec![22..=22, 8000..=8010]));
}

#[test]
fn an_outbound_destination_is_told_as_it_is_written() {
    for text in [
        "example.org:443",
        "192.0.2.1:80,8000-8010",
        "10.0.0.0/8:5432",
        "[2001:db8::1]:443",
        "[2001:db8::/32]:1-65535",
    ] {
        let outbound = read(&format!("{text:?}"), outbound).expect(text);
        assert_eq!(outbound.to_string(), text);
    }
}

#[test]
fn a_host_name_has_one_spelling() {
    let read = |text| read(text, outbound);
    assert_eq!(read("'API.Example.Org.:443'"), name("api.example.org", 443));
}

#[test]
fn what_is_no_outbound_destination_is_refused_with_examples() {
    for text in [
        "",
        ":",
        ":80",
        "example.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:http",
        "example.org:-1",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[1.2.3.4]:80",
        "[fe80::1%2]:80",
        "1.2.3.400:80",
        "1.2.3:80",
        "*:80",
        "*.example.org:80",
        "exa mple.org:80",
        "bücher.example:80",
        "a..b:80",
        ".a:80",
        ".:80",
        "10.0.0.0/33:80",
        "10.0.0.0/-1:80",
        "10.0.0.0/:80",
        "10.0.0.0/8",
        "example.org/8:80",
        "[::/129]:80",
        "[::1]/128:80",
        "fd00::/8:80",
        "a:80,",
        "a:,80",
        "a:80-",
        "a:90-80",
        "a:0-80",
        "a:80 ,81",
        "a:*",
    ] {
        let error = read(&format!("{text:?}"), outbound).expect_err(text);
        let expected = format!(
            "cannot be {text:?} \
             (allowed: \"example.org:443\", \"192.0.2.1:80,8000-8010\", \
             \"10.0.0.0/8:5432\", \"[2001:db8::1]:443\", \"udp:192.0.2.1:53\", \
             \"https://api.example.org/v1/*\", \"GET,POST http://10.0.0.1:8080/hook\")"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn memory_lies_between_one_page_and_the_address_space() {
    assert_eq!(read("'64KiB'", memory), Ok(64 << 10));
    assert_eq!(read("'4GiB'", memory), Ok(4 << 30));
    assert_eq!(read("65_536", memory), Ok(64 << 10));
    assert_eq!(read("0x10000", memory), Ok(64 << 10));
    for (text, bytes) in [("65535", 65535_u64), ("'0'", 0), ("'4294967297'", (4 << 30) + 1)] {
        let expected = format!("cannot be {bytes} bytes (allowed: 64KiB to 4GiB)");
        assert_eq!(read(text, memory), Err(expected));
    }
}

#[test]
fn a_count_is_a_whole_number_from_1() {
    assert_eq!(read("1", count), Ok(1));
    assert_eq!(read("4294967295", count), Ok(u32::MAX));
    for text in ["0", "-1", "4294967296", "99999999999999999999999"] {
        let expected = format!("cannot be {text} (allowed: 1 to 4294967295)");
        assert_eq!(read(text, count), Err(expected));
    }
    let expected = "expected a whole number, found a string".to_owned();
    assert_eq!(read("'256'", count), Err(expected));
}

#[test]
fn a_bound_is_a_count_or_infinite() {
    assert_eq!(read("1", bound), Ok(Some(1)));
    assert_eq!(read("'infinity'", bound), Ok(None));
    let expected = "cannot be 0 (allowed: 1 to 4294967295)".to_owned();
    assert_eq!(read("0", bound), Err(expected));
    let expected = "expected a whole number or \"infinity\", found a string".to_owned();
    assert_eq!(read("'7'", bound), Err(expected));
}

#[test]
fn a_bound_of_bytes_is_a_size_or_infinite() {
    assert_eq!(read("'1KiB'", size_bound), Ok(Some(1024)));
    assert_eq!(read("'infinity'", size_bound), Ok(None));
    let expected = "cannot be 0 bytes (allowed: more, or \"infinity\")".to_owned();
    assert_eq!(read("0", size_bound), Err(expected));
    let error = read("'much'", size_bound).expect_err("no size");
    assert!(error.ends_with("; or \"infinity\""), "{error}");
}

#[test]
fn a_time_limit_may_be_infinite_but_not_zero() {
    assert_eq!(read("'infinity'", time_limit), Ok(None));
    assert_eq!(read("1", time_limit), Ok(Some(Duration::from_secs(1))));
    let expected = "no guest can run in 0s (allowed: more, or \"infinity\" for no limit)";
    assert_eq!(read("'0s'", time_limit), Err(expected.to_owned()));
    assert_eq!(read("0", time_limit), Err(expected.to_owned()));
}

#[test]
fn the_time_for_a_head_may_be_infinite_but_not_zero() {
    assert_eq!(read("'infinity'", head_timeout), Ok(None));
    assert_eq!(read("'1ms'", head_timeout), Ok(Some(Duration::from_millis(1))));
    let expected = "no client can send a request in 0s \
                    (allowed: more, or \"infinity\" for no limit)";
    assert_eq!(read("'0s'", head_timeout), Err(expected.to_owned()));
    assert_eq!(read("0", head_timeout), Err(expected.to_owned()));
}

#[test]
fn a_head_lies_between_what_hyper_takes_and_1_mib() {
    assert_eq!(read("'8KiB'", max_head), Ok(8 << 10));
    assert_eq!(read("'1MiB'", max_head), Ok(1 << 20));
    assert_eq!(read("8_192", max_head), Ok(8 << 10));
    for (text, bytes) in [
        ("8191", 8191_u64),
        ("'0'", 0),
        ("1048577", (1 << 20) + 1),
        // Its low 32 bits alone would be allowed.
        ("0x1_0000_2000", (1 << 32) + (8 << 10)),
    ] {
        let expected = format!("cannot be {bytes} bytes (allowed: 8KiB to 1MiB)");
        assert_eq!(read(text, max_head), Err(expected));
    }
}

#[test]
fn a_datagram_lies_between_1_byte_and_1_mib() {
    assert_eq!(read("1", max_datagram), Ok(1));
    assert_eq!(read("'1MiB'", max_datagram), Ok(1 << 20));
    for bytes in [0, (1 << 20) + 1] {
        let expected = format!("cannot be {bytes} bytes (allowed: 1B to 1MiB)");
        assert_eq!(read(&bytes.to_string(), max_datagram), Err(expected));
    }
}

#[test]
fn a_stack_lies_between_64_kib_and_16_mib() {
    assert_eq!(read("'64KiB'", stack), Ok(64 << 10));
    assert_eq!(read("'16MiB'", stack), Ok(16 << 20));
    for bytes in [(64 << 10) - 1, (16 << 20) + 1] {
        let expected = format!("cannot be {bytes} bytes (allowed: 64KiB to 16MiB)");
        assert_eq!(read(&bytes.to_string(), stack), Err(expected));
    }
}

#[test]
fn a_size_is_any_number_of_bytes() {
    assert_eq!(read("0", size), Ok(0));
    assert_eq!(read("'5TiB'", size), Ok(5 << 40));
    assert_eq!(read("'18446744073709551615'", size), Ok(u64::MAX));
    let expected = "\"infinity\" is not a size: write whole numbers with units (B, KiB, MiB, \
                    GiB, TiB or K, M, G, T, all powers of 1024; as in \"64MiB\")";
    assert_eq!(read("'infinity'", size), Err(expected.to_owned()));
    let expected = "expected a size such as \"64MiB\", found -1";
    assert_eq!(read("-1", size), Err(expected.to_owned()));
}

#[test]
fn forwarded_headers_are_set_trusted_or_off() {
    assert_eq!(read("'set'", forwarded_for), Ok(ForwardedFor::Set));
    assert_eq!(read("'trust'", forwarded_for), Ok(ForwardedFor::Trust));
    assert_eq!(read("'off'", forwarded_for), Ok(ForwardedFor::Off));
    for text in ["", "Set", "on", "false"] {
        let expected = format!("cannot be {text:?} (allowed: \"set\", \"trust\", \"off\")");
        assert_eq!(read(&format!("'{text}'"), forwarded_for), Err(expected));
    }
}

#[test]
fn a_duration_of_another_type_is_refused() {
    for (text, found) in [
        ("-5", "-5"),
        ("1.5", "a float"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "a table"),
        ("07:32:00", "a datetime"),
    ] {
        let expected = format!("expected a duration such as \"30s\", found {found}");
        assert_eq!(read(text, duration), Err(expected));
    }
}

#[test]
fn a_string_that_lacks_its_quotes_is_told_so() {
    let expected = "expected a string, found an integer (write it in quotes)";
    assert_eq!(read("80", string), Err(expected.to_owned()));
    let expected = "expected a string, found an array";
    assert_eq!(read("[]", string), Err(expected.to_owned()));
}

#[test]
fn a_nul_is_refused_wherever_a_string_stands() {
    let expected = "\"a\\0b\" must not contain NUL".to_owned();
    assert_eq!(read("\"a\\u0000b\"", string), Err(expected.clone()));
    assert_eq!(read("\"a\\u0000b\"", module).unwrap_err(), expected);
    assert_eq!(read("\"a\\u0000b\"", guest_path).unwrap_err(), expected);
}

#[test]
fn a_guest_path_is_absolute_or_relative_and_becomes_its_plainest_form() {
    for (path, plain) in [
        (".", "."),
        ("./", "."),
        ("/", "/"),
        ("/.", "/"),
        ("/data", "/data"),
        ("/a//b.c/", "/a/b.c"),
        ("data", "data"),
        ("./data/", "data"),
        ("data/./more", "data/more"),
        ("...", "..."),
    ] {
        let read = read(&format!("'{path}'"), guest_path);
        assert_eq!(read, Ok(plain.to_owned()), "{path}");
    }
    for path in ["", "..", "../data", "/a/../b", "data/.."] {
        let expected = format!(
            "cannot be {path:?} \
             (allowed: \".\", or a path without \"..\" such as \"/data\" or \"data\")"
        );
        assert_eq!(read(&format!("'{path}'"), guest_path), Err(expected));
    }
}

#[test]
fn a_long_value_is_cut_short_in_messages() {
    assert_eq!(quoted(&"ü".repeat(60)), format!("\"{}\"", "ü".repeat(60)));
    assert_eq!(quoted(&"ü".repeat(61)), format!("\"{}\"…", "ü".repeat(60)));
}

#[test]
fn a_reload_is_in_place_or_hands_over() {
    assert_eq!(read("'in-place'", reload), Ok(Reload::InPlace));
    assert_eq!(read("'hand-over'", reload), Ok(Reload::HandOver));
    let expected = "cannot be \"never\" (allowed: \"in-place\", \"hand-over\")".to_owned();
    assert_eq!(read("'never'", reload), Err(expected));
}
