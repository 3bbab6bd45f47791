use super::*;

fn granted(texts: &[&str]) -> Vec<Outbound> {
    let parse = |text: &&str| Outbound::parse(text).unwrap_or_else(|| panic!("{text}"));
    texts.iter().map(parse).collect()
}

fn request<'a>(method: &'a str, url: &'a str) -> OutboundRequest<'a> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path_and_query) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let tls = scheme == "https";
    let port = if tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().expect("a port")),
        _ => (authority, port),
    };
    OutboundRequest {
        method,
        tls,
        host,
        port,
        path_and_query,
    }
}

#[track_caller]
fn allows(grants: &[&str], method: &str, url: &str) -> bool {
    allows_request(&granted(grants), &request(method, url))
}

#[test]
fn a_url_is_told_as_it_is_written() {
    for text in [
        "https://api.example.org",
        "https://api.example.org/",
        "https://api.example.org/v1/*",
        "https://api.example.org/*",
        "GET,POST http://10.0.0.1:8080/hook",
        "http://[2001:db8::1]:8080/a",
        "udp:192.0.2.1:53",
        "udp:[2001:db8::/32]:53,1000-2000",
        "udp:53",
    ] {
        assert_eq!(granted(&[text])[0].to_string(), text);
    }
    assert_eq!(
        granted(&["https://A.example.:443/b"])[0].to_string(),
        "https://a.example/b"
    );
}

#[test]
fn what_is_no_url_is_refused() {
    for text in [
        "ftp://example.org/",
        "https://",
        "https:///path",
        "https://user:secret@example.org/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:/",
        "https://[::1/",
        "https://example.org/v1/*/admin",
        "https://example.org/v1?key=*",
        "https://example.org/v1/../admin",
        "https://example.org/%2e%2e/",
        "https://example.org/a b",
        "get https://example.org/",
        "GET, https://example.org/",
        "GET https://example.org/ POST",
        "https://*.example.org/",
    ] {
        assert_eq!(Outbound::parse(text), None, "{text}");
    }
}

#[test]
fn a_url_allows_its_scheme_host_port_path_and_methods_only() {
    let grants = ["GET,HEAD https://api.example.org/v1/*"];
    for url in [
        "https://api.example.org/v1/",
        "https://API.example.org./v1/a?b=c",
        "https://api.example.org/v1/a/.b",
    ] {
        assert!(allows(&grants, "GET", url), "{url}");
    }
    assert!(!allows(&grants, "POST", "https://api.example.org/v1/a"));
    assert!(!allows(&grants, "get", "https://api.example.org/v1/a"));
    for url in [
        "http://api.example.org/v1/a",
        "http://api.example.org:443/v1/a",
        "https://api.example.org:8443/v1/a",
        "https://api.example.org/v1",
        "https://api.example.org/v2/a",
        "https://api.example.org/?/v1/",
        "https://example.org/v1/a",
        "https://api.example.org.evil.example/v1/a",
    ] {
        assert!(!allows(&grants, "GET", url), "{url}");
    }
}

#[test]
fn no_path_climbs_out_of_its_prefix() {
    let grants = ["https://a.example/v1/*"];
    for path in [
        "..",
        "../admin",
        "./x",
        "a/../../admin",
        "%2e%2e/admin",
        "%2E./admin",
        ".%2e%2fadmin",
        "%252e%252e/admin",
        "..%5cadmin",
        "..\\admin",
        "..;/admin",
        "..;a=b/admin",
        "%2e%2e%3b/admin",
        "a/%25252e%25252e/admin",
    ] {
        assert!(
            !allows(&grants, "GET", &format!("https://a.example/v1/{path}")),
            "{path}"
        );
    }
    for path in ["...", "..a", "a..", ".a", "%zz", "%", "%2", "a;..b", "?../.."] {
        assert!(
            allows(&grants, "GET", &format!("https://a.example/v1/{path}")),
            "{path}"
        );
    }
    // Where any path is allowed, so is such a one.
    for all in ["https://a.example", "https://a.example/*", "a.example:443"] {
        assert!(allows(&[all], "GET", "https://a.example/v1/../admin"), "{all}");
    }
}

#[test]
fn a_url_without_a_star_is_one_path() {
    assert!(allows(
        &["https://a.example/hook"],
        "POST",
        "https://a.example/hook?x=1"
    ));
    assert!(!allows(&["https://a.example/hook"], "POST", "https://a.example/hook/"));
    assert!(allows(&["https://a.example/"], "GET", "https://a.example"));
    assert!(!allows(&["https://a.example/"], "GET", "https://a.example/a"));
    assert!(allows(&["https://a.example"], "GET", "https://a.example/a"));
}

#[test]
fn a_host_and_port_allow_http_with_any_method_and_path() {
    let grants = ["api.telegram.org:443", "10.0.0.0/8:80", "udp:b.example:443"];
    for url in [
        "https://api.telegram.org/x",
        "http://10.1.2.3/",
        "http://[::ffff:10.1.2.3]/",
    ] {
        assert!(allows(&grants, "DELETE", url), "{url}");
    }
    for url in [
        "https://api.telegram.org:444/x",
        "http://11.1.2.3/",
        "https://b.example/",
        "http://2130706433/",
    ] {
        assert!(!allows(&grants, "GET", url), "{url}");
    }
}

#[test]
fn what_a_grant_is_for_decides_which_connections_it_allows() {
    let [tcp, udp, url] = ["a.example:443", "udp:a.example:443", "https://a.example/x"].map(|text| granted(&[text]));
    let allowed = |granted: &[Outbound]| {
        let all = [
            Transport::Tcp,
            Transport::Udp,
            Transport::Http { tls: false },
            Transport::Http { tls: true },
        ];
        all.map(|transport| granted[0].allows("a.example", 443, transport))
    };
    assert_eq!(allowed(&tcp), [true, false, true, true]);
    assert_eq!(allowed(&udp), [false, true, false, false]);
    assert_eq!(allowed(&url), [false, false, false, true]);
}

#[test]
fn only_the_names_of_sockets_are_looked_up() {
    let granted = granted(&["A.example:1", "udp:b.example:2", "https://c.example/", "10.0.0.1:80"]);
    for name in ["a.example", "a.example.", "B.EXAMPLE"] {
        assert!(allows_to_look_up(&granted, name), "{name}");
    }
    for name in ["c.example", "x.a.example", "10.0.0.1", "", "."] {
        assert!(!allows_to_look_up(&granted, name), "{name}");
    }
}

#[test]
fn a_refused_request_is_told_without_its_query() {
    let told = request("GET", "https://a.example:8443/b?token=secret").to_string();
    assert_eq!(told, "GET https://a.example:8443/b");
    assert!(allows(&[&told], "GET", "https://a.example:8443/b?token=secret"));
}
