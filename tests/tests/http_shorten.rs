//! The example `shorten`: links are made and followed, by many clients at a time, and outlive the host.

use std::fs;
use std::thread;

use harness::{Address, Host, Kind, World, curl};

const TOKEN: &str = "for makers of links";

/// A link shortener, and a page that links lead to.
fn shortener() -> (World, Address, Address) {
    let world = World::new(Kind::P2);
    world.install("shorten", "shorten");
    world.install("page", "http-hello");
    fs::create_dir(world.path("credentials")).unwrap();
    fs::write(world.path("credentials/shorten.token"), TOKEN).unwrap();
    world.configure(
        "[handler.shorten]\nkeyvalue = { default = \"embedded\" }\nsecrets = [\"token\"]\n\
         config = { base = \"https://s.example/\" }\n",
    );
    let (address, page) = (world.tcp("shorten"), world.tcp("page"));
    (world, address, page)
}

fn start(world: &World) -> Host {
    let credentials = world.path("credentials").display().to_string();
    world.launch().env("CREDENTIALS_DIRECTORY", &credentials).start()
}

/// Makes a short link as a person does; its code.
fn make(address: &Address, url: &str) -> String {
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let field = format!("url={url}");
    let answer = curl(&[
        "-f",
        "-H",
        &authorization,
        "--data-urlencode",
        &field,
        &address.url("/"),
    ]);
    let answer = String::from_utf8(answer).unwrap();
    let code = answer.trim_end().strip_prefix("https://s.example/");
    code.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[test]
fn a_link_is_followed_and_outlives_the_host() {
    let (world, address, page) = shortener();
    let host = start(&world);
    let url = page.url("/?name=Ada+%26+Bob");
    let code = make(&address, &url);
    assert_eq!(make(&address, &url), code, "the same address has the same link");
    host.kill();
    let _next = start(&world);
    let short = address.url(&format!("/{code}"));
    assert_eq!(curl(&["-L", &short]), b"Hello, Ada & Bob!\n");
    let mut http = address.http();
    let response = http.head(&format!("/{code}"));
    assert_eq!((response.status, response.header("location")), (302, Some(&*url)));
    assert_eq!(http.get("/00000000").status, 404);
    assert_eq!(http.get("/favicon.ico").status, 404);
}

#[test]
fn many_clients_of_two_processes_get_the_links_that_they_made() {
    let (world, address, page) = shortener();
    let _hosts = [start(&world), start(&world)];
    let url = |number: u32| page.url(&format!("/?name={}", number / 2));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|number| {
                let (address, url) = (&address, url(number));
                scope.spawn(move || (make(address, &url), url))
            })
            .collect();
        let mut made: Vec<(String, String)> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        made.sort();
        made.dedup();
        // Each address was asked for twice, at the same time.
        assert_eq!(made.len(), 32);
        for (code, url) in made {
            assert_eq!(address.get(&format!("/{code}")).header("location"), Some(&*url));
        }
    });
}

#[test]
fn links_are_made_by_those_who_may_and_lead_to_web_sites_only() {
    let (world, address, _page) = shortener();
    let _host = start(&world);
    let status = |authorization: &str, field: &str| {
        let sent = format!("Authorization: {authorization}");
        let status = [
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &sent,
            "--data-urlencode",
            field,
        ];
        let url = address.url("/");
        String::from_utf8(curl(&[&status[..], &[&*url]].concat())).unwrap()
    };
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(status(&bearer, "url=https://example.org/"), "201");
    assert_eq!(status("Bearer guessed", "url=https://example.org/"), "401");
    assert_eq!(status(&bearer, "url=javascript:alert(1)"), "422");
    assert_eq!(status(&bearer, "other=https://example.org/"), "422");
    let long = format!("url=https://example.org/{}", "x".repeat(10_000));
    assert_eq!(status(&bearer, &long), "413");
}
