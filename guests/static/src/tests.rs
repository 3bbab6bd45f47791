use super::*;

use tempfile::TempDir;

/// A directory with a page, a subdirectory, and things that are not to be seen.
fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("index.html", "<p>Hello");
    write("digits.txt", "0123456789");
    write("docs/index.html", "<p>Docs");
    write("empty", "");
    write("no-index/a.txt", "a");
    write(".git/config", "hidden");
    folder
}

fn asked(site: &TempDir, method: &str, url: &str, headers: &[(&str, &str)]) -> Response<Content> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(site.path(), &request.body(()).unwrap()).unwrap()
}

#[track_caller]
fn expect(response: Response<Content>, status: u16, body: &str) {
    let (head, content) = response.into_parts();
    let text = String::from_utf8(content.read().unwrap()).unwrap();
    assert_eq!((head.status.as_u16(), &*text), (status, body));
}

fn header<'a>(response: &'a Response<Content>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_file_is_sent_with_its_type_and_length() {
    let site = site();
    let response = asked(&site, "GET", "/digits.txt", &[]);
    assert_eq!(
        header(&response, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(header(&response, "content-length"), "10");
    expect(response, 200, "0123456789");
    let response = asked(&site, "HEAD", "/digits.txt", &[]);
    assert_eq!(header(&response, "content-length"), "10");
    expect(response, 200, "");
    expect(asked(&site, "GET", "/empty", &[]), 200, "");
}

#[test]
fn a_directory_is_its_index() {
    let site = site();
    expect(asked(&site, "GET", "/", &[]), 200, "<p>Hello");
    expect(asked(&site, "GET", "/docs/", &[]), 200, "<p>Docs");
    let response = asked(&site, "GET", "/docs?x=1", &[]);
    assert_eq!(
        (response.status().as_u16(), header(&response, "location")),
        (301, "/docs/?x=1")
    );
    for url in [
        "/no-index/",
        "/digits.txt/",
        "/nothing",
        "/.git/config",
        "/docs/../digits.txt",
    ] {
        assert_eq!(asked(&site, "GET", url, &[]).status(), 404, "{url}");
    }
}

#[test]
fn a_client_gets_the_part_that_it_lacks() {
    let site = site();
    let whole = asked(&site, "GET", "/digits.txt", &[]);
    let etag = header(&whole, "etag");
    for (range, status, content, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        (
            "bytes=10-",
            416,
            "bytes */10",
            "The file ends before that.\n",
        ),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
    ] {
        let response = asked(
            &site,
            "GET",
            "/digits.txt",
            &[("range", range), ("if-range", etag)],
        );
        assert_eq!(header(&response, "content-range"), content);
        expect(response, status, body);
    }
    let response = asked(
        &site,
        "GET",
        "/digits.txt",
        &[("range", "bytes=2-4"), ("if-range", "\"old\"")],
    );
    expect(response, 200, "0123456789");
}

#[test]
fn a_client_that_has_the_file_is_not_sent_it_again() {
    let site = site();
    let whole = asked(&site, "GET", "/digits.txt", &[]);
    for (name, value) in [
        ("if-none-match", "etag"),
        ("if-modified-since", "last-modified"),
    ] {
        let response = asked(
            &site,
            "GET",
            "/digits.txt",
            &[(name, header(&whole, value))],
        );
        assert_eq!(header(&response, "etag"), header(&whole, "etag"));
        expect(response, 304, "");
    }
    assert_eq!(
        asked(&site, "GET", "/digits.txt", &[("if-match", "\"old\"")]).status(),
        412
    );
}

#[test]
fn other_methods_are_refused() {
    let response = asked(&site(), "POST", "/digits.txt", &[]);
    assert_eq!(
        (response.status().as_u16(), header(&response, "allow")),
        (405, "GET, HEAD")
    );
}

#[test]
fn a_file_that_becomes_shorter_is_an_error_and_not_an_end() {
    let site = site();
    let response = asked(&site, "GET", "/digits.txt", &[]);
    fs::write(site.path().join("digits.txt"), "0").unwrap();
    assert!(response.into_body().read().is_err());
}
