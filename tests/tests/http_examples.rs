//! The examples that answer HTTP do what their sources promise.

use harness::{Address, Kind, Response, World};

const SECRET: &str = "It's a Secret to Everybody";

/// A handler of an example, with these variables.
fn example(world: &World, guest: &str, settings: &str) -> Address {
    world.install(guest, guest);
    world.configure(&format!("[handler.{guest}]\n{settings}\n"));
    world.tcp(guest)
}

#[test]
fn http_hello_greets_by_name() {
    let world = World::new(Kind::P2);
    let address = example(&world, "http-hello", "");
    let _host = world.start(&[]);
    let mut http = address.http();
    http.get("/").expect(200, "Hello, stranger!\n");
    http.get("/?name=").expect(200, "Hello, stranger!\n");
    http.get("/?x=1&name=Ada+%C3%A4&name=Bob")
        .expect(200, "Hello, Ada ä!\n");
    let response = http.head("/");
    assert_eq!(response.status, 200);
    http.get("/other").expect(404, "There is only /.\n");
    let response = http.post("/", "x");
    response.expect(405, "Only GET.\n");
    assert_eq!(response.header("allow"), Some("GET, HEAD"));
}

#[test]
fn http_hello_greets_as_it_is_told_to() {
    let world = World::new(Kind::P2);
    let address = example(&world, "http-hello", "env = { GREETING = \"Welcome\" }");
    let _host = world.start(&[]);
    address.get("/?name=Ada").expect(200, "Welcome, Ada!\n");
}

/// Sends an event as GitHub does.
fn deliver(address: &Address, content_type: &str, signature: &str, body: &str) -> Response {
    let mut http = address.http();
    http.send(format!(
        "POST /hook HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nX-GitHub-Event: issues\r\n\
         X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    http.response()
}

#[test]
fn the_webhook_accepts_what_is_signed_and_nothing_else() {
    let world = World::new(Kind::P2);
    let env = format!("env = {{ WEBHOOK_SECRET = \"{SECRET}\" }}");
    let address = example(&world, "webhook", &env);
    let host = world.start(&[]);
    let body = "{\"action\":\"opened\",\"repository\":{\"full_name\":\"octocat/Hello-World\"},\
                \"sender\":{\"login\":\"octocat\"}}";
    let signature = "f8fd5dac5f07bc535429c9043620cd74e0d86e2241fc9f51a6624daf5047dc2e";
    let json = "application/json; charset=utf-8";
    let response = deliver(&address, json, signature, body);
    response.expect_status(200);
    for part in [
        "\"event\":\"issues\"",
        "\"action\":\"opened\"",
        "\"repository\":\"octocat/Hello-World\"",
        "\"sender\":\"octocat\"",
    ] {
        assert!(response.text().contains(part), "{}", response.text());
    }
    host.log.expect(": accepted {");

    let another = body.replace("opened", "closed");
    deliver(&address, json, signature, &another).expect_status(401);
    deliver(&address, json, "", body).expect_status(401);
    deliver(&address, "text/plain", signature, body).expect_status(415);
    // The example in GitHub's documentation: well signed, but no event.
    let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    deliver(&address, json, signature, "Hello, World!").expect_status(400);
    deliver(&address, json, signature, &"x".repeat(2 << 20)).expect_status(413);

    let response = address.get("/hook");
    response.expect_status(405);
    assert_eq!(response.header("allow"), Some("POST"));
    assert_eq!(host.log.count(": accepted {"), 1);
    host.expect_in_flight(0);
}

#[test]
fn the_webhook_trusts_nobody_without_a_secret() {
    let world = World::new(Kind::P2);
    let address = example(&world, "webhook", "");
    let host = world.start(&[]);
    deliver(&address, "application/json", "", "{}").expect_status(500);
    host.log.expect("WEBHOOK_SECRET is not set");
}

#[test]
fn http_python_tells_what_it_was_asked() {
    let world = World::new(Kind::P2);
    let address = example(&world, "http-python", "");
    let host = world.start(&[]);
    let mut http = address.http();
    let response = http.get("/a/b?x=1&x=2&y");
    response.expect(
        200,
        "{\"method\": \"GET\", \"path\": \"/a/b\", \"query\": {\"x\": [\"1\", \"2\"], \"y\": [\"\"]}, \
         \"headers\": 3, \"address\": \"127.0.0.1\"}\n",
    );
    assert_eq!(response.header("content-type"), Some("application/json"));
    http.ask("BREW", "/");
    let text = http.response().text();
    assert!(text.starts_with("{\"method\": \"BREW\""), "{text}");
    assert_eq!(http.head("/").status, 200);
    let long = format!("/?{}", "x".repeat(20_000));
    // More than one write takes.
    let text = http.get(&long).text();
    assert!(text.contains(&format!("\"{}\": [\"\"]", &long[2..])) && text.ends_with("}\n"));
    host.expect_in_flight(0);
}
