//! The example `static`: files of a granted directory, as clients of others fetch them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use harness::{Address, Host, Kind, World, curl};

/// A site, served.
fn site() -> (World, Address, Host) {
    let world = World::new(Kind::P2);
    let root = world.path("site");
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::create_dir(root.join(".git")).unwrap();
    fs::write(root.join("index.html"), "<a href=docs/>Docs</a>").unwrap();
    fs::write(root.join("docs/index.html"), "<p>Docs").unwrap();
    fs::write(root.join(".git/config"), "hidden").unwrap();
    fs::write(world.path("outside"), "not granted").unwrap();
    fs::write(root.join("large.bin"), large()).unwrap();
    symlink(world.path("outside"), root.join("absolute")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("docs/index.html", root.join("inside.html")).unwrap();
    symlink("/", root.join("machine")).unwrap();
    world.install("site", "static");
    world.configure(&format!(
        "[handler.site]\ndirs = [{{ host = {root:?}, guest = \"/data\" }}]\n"
    ));
    let address = world.tcp("site");
    let host = world.start(&[]);
    (world, address, host)
}

/// More than the buffers on the way hold.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number % 251) as u8).collect()
}

#[test]
fn files_are_sent_whole_and_resumed() {
    let (world, address, host) = site();
    let whole = world.path("whole");
    let url = address.url("/large.bin");
    curl(&["-sS", "-o", whole.to_str().unwrap(), &url]);
    assert!(fs::read(&whole).unwrap() == large());
    // An interrupted download goes on where it was.
    fs::File::options()
        .write(true)
        .open(&whole)
        .unwrap()
        .set_len(1_234_567)
        .unwrap();
    let head = curl(&["-sS", "-C", "-", "-D", "-", "-o", whole.to_str().unwrap(), &url]);
    assert!(fs::read(&whole).unwrap() == large());
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert!(head.contains("content-range: bytes 1234567-2999999/3000000"), "{head}");
    assert_eq!(curl(&["-sS", "-r", "-3", &url]), large()[2_999_997..]);
    host.expect_in_flight(0);
}

#[test]
fn a_client_with_a_cache_is_sent_only_what_has_changed() {
    let (world, address, _host) = site();
    let file = |name: &str| world.path(name).display().to_string();
    let (etag, page) = (file("etag"), file("page"));
    let fetch = || {
        let head = curl(&[
            "-sS",
            "-D",
            "-",
            "--etag-compare",
            &etag,
            "--etag-save",
            &etag,
            "-o",
            &page,
            &address.url("/"),
        ]);
        String::from_utf8(head).unwrap()
    };
    assert!(fetch().starts_with("HTTP/1.1 200"));
    assert!(fetch().starts_with("HTTP/1.1 304"));
    fs::write(world.path("site/index.html"), "changed").unwrap();
    assert!(fetch().starts_with("HTTP/1.1 200"));
    assert_eq!(fs::read_to_string(&page).unwrap(), "changed");
    let head = curl(&["-sS", "-I", "-z", &page, &address.url("/docs/")]);
    assert!(head.starts_with(b"HTTP/1.1 304"), "{}", String::from_utf8_lossy(&head));
}

#[test]
fn a_link_leads_to_no_file_outside_of_the_directory_and_dot_files_are_not_there() {
    let (_world, address, _host) = site();
    let mut http = address.http();
    http.get("/inside.html").expect(200, "<p>Docs");
    for target in [
        "/absolute",
        "/relative",
        "/machine/etc/hostname",
        "/.git/config",
        "/../outside",
        "/docs/../../outside",
        "/%2e%2e/outside",
        "/docs/%2e%2e/index.html",
        "/..%2foutside",
        "/nothing",
    ] {
        assert_eq!(http.get(target).status, 404, "{target}");
    }
    let moved = http.get("/docs");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/docs/")));
    http.get("/docs/").expect(200, "<p>Docs");
    let response = http.head("/docs/");
    assert_eq!((response.status, response.header("content-length")), (200, Some("7")));
    assert_eq!(http.post("/", "x").status, 405);
}

#[test]
fn wget_mirrors_the_site() {
    let (world, address, _host) = site();
    let copy = world.path("copy");
    let mut wget = Command::new("wget");
    wget.args(["-q", "-r", "-nH", "-P"]).arg(&copy).arg(address.url("/"));
    assert!(wget.status().unwrap().success());
    assert_eq!(fs::read_to_string(copy.join("docs/index.html")).unwrap(), "<p>Docs");
}
