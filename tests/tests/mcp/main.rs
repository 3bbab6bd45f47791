//! The example `mcp`: the official client of the Model Context Protocol, from PyPI, calls its tools.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use harness::{Address, Kind, World, eventually};
use serde_json::{Value, json};

const TOKEN: &str = "a token that is not guessed";

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp")
}

/// A Python with the client, which is installed into build/venv/mcp once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let requirements = here().join("requirements.txt");
        let folder = here().join("../../../build/venv/mcp");
        let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
        let wanted = fs::read_to_string(&requirements).unwrap();
        if fs::read_to_string(&ready).is_ok_and(|installed| installed == wanted) {
            return python;
        }
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--require-hashes", "--requirement"])
            .arg(&requirements));
        fs::write(ready, wanted).unwrap();
        python
    })
}

/// A tool server that lets clients with the token in.
fn server() -> (World, Address) {
    let world = World::new(Kind::P2);
    fs::create_dir(world.path("credentials")).unwrap();
    fs::write(world.path("credentials/tools.token"), TOKEN).unwrap();
    world.install("tools", "mcp");
    world.configure("[handler.tools]\nsecrets = [\"token\"]\nconfig = { origins = \"https://chat.example\" }\n");
    let address = world.tcp("tools");
    (world, address)
}

struct Client {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(url: &str, mode: &str, token: &str) -> Self {
        let mut command = Command::new(python());
        command.arg(here().join("client.py")).args([url, mode, token]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn the_official_client_calls_tools_of_a_server_that_sleeps_between_the_calls() {
    for (mode, revision) in [
        ("auto", "2026-07-28"),
        ("2026-07-28", "2026-07-28"),
        ("legacy", "2025-11-25"),
    ] {
        let (world, address) = server();
        let credentials = world.path("credentials").display().to_string();
        let launch = world.launch().env("CREDENTIALS_DIRECTORY", &credentials);
        let supervisor = launch.args(&["--idle-timeout", "1s"]).supervise();
        let mut client = Client::start(&address.url("/mcp"), mode, TOKEN);
        assert_eq!(client.line(), "called", "{mode}");
        eventually("the server sleeps", || supervisor.is_asleep());
        client.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let found: Value = serde_json::from_str(&client.line()).unwrap();
        assert!(client.process.wait().unwrap().success());
        assert_eq!(found["revision"], revision);
        // A client that was told the revision does not ask the server for more.
        let name = if mode == revision { Value::Null } else { json!("mcp") };
        assert_eq!(found["server"], name, "{mode}");
        assert_eq!(found["tools"], json!(["count_letters", "roll_dice"]));
        assert_eq!(found["counted"], json!([3, 4]));
        assert_eq!(found["wrong"][0], true);
        assert!(
            found["wrong"][1].as_str().unwrap().starts_with("1 to 100 dice"),
            "{found}"
        );
        assert_eq!(found["unknown"], -32602);
    }
}

#[test]
fn a_client_without_the_token_and_a_page_of_another_site_are_refused() {
    let (world, address) = server();
    let credentials = world.path("credentials").display().to_string();
    // The client may have to be installed first, for longer than a host waits.
    let _supervisor = world.launch().env("CREDENTIALS_DIRECTORY", &credentials).supervise();
    let ask = |headers: &str| {
        let body = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}";
        let mut http = address.http();
        http.send(format!(
            "POST /mcp HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        http.response().status
    };
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&token), 200);
    assert_eq!(ask(&format!("{token}Origin: https://chat.example\r\n")), 200);
    assert_eq!(ask(&format!("{token}Origin: https://other.example\r\n")), 403);
    assert_eq!(ask("Authorization: Bearer guessed\r\n"), 401);
    assert_eq!(ask(""), 401);
    let mut client = Client::start(&address.url("/mcp"), "auto", "guessed");
    assert_ne!(client.line(), "called");
    assert!(!client.process.wait().unwrap().success());
}

#[test]
fn without_its_secret_the_server_lets_no_client_in() {
    let (world, address) = server();
    let host = world.launch().without("CREDENTIALS_DIRECTORY").start();
    let mut http = address.http();
    assert_eq!(http.post("/mcp", "{}").status, 500);
    host.log.expect("the service has no credential tools.token");
}
