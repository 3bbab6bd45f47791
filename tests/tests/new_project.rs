//! `wasm-sock new`: for every language a project that builds, whose own test passes, and that is served.
//!
//! Toolchains are those that `make language-guests` has installed; what lacks is skipped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use harness::{skip, wasm_sock};
use tempfile::TempDir;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::canonicalize(root).expect("the repository")
}

/// A folder for projects.
fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("wasm-sock-new-")
        .tempdir()
        .expect("make a folder")
}

fn new(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(folder, wasm_sock().to_str().unwrap());
    command.arg("new").args(arguments).output().expect("run wasm-sock new")
}

/// A command of a user who has wasm-sock in the path.
fn command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    let build = wasm_sock().parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command.current_dir(folder).env("PATH", format!("{build}:{path}"));
    // As a user has it: not the flags of the make that runs the tests.
    command
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("CARGO_TARGET_DIR");
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn succeed(mut command: Command) {
    let output = command.output().expect("run a command");
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{printed}",
        output.status
    );
}

/// A project is made, tested by itself, run, and answers `ask`.
fn make_test_and_run(language: &str, kind: &str, prepare: impl FnOnce(&Path), ask: impl FnOnce(u16)) {
    let folder = folder();
    let made = new(folder.path(), &["knock", "--lang", language, "--kind", kind]);
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(
        made.status.success() && said.contains("cd knock"),
        "{language}: {said}{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let project = folder.path().join("knock");
    prepare(&project);
    match language {
        "rust" => {
            let mut test = command(&project, "cargo");
            test.args(["test", "--quiet", "--locked", "--target-dir"])
                .arg(root().join("target/guests"));
            // Dependencies are built once for all tests: as the Makefile has them.
            test.args(["--release", "--config", "profile.release.opt-level=0"]);
            succeed(test);
        }
        _ => {
            let mut test = command(&project, "make");
            test.arg("test");
            succeed(test);
        }
    }
    serve(&project, kind, ask);
}

/// Runs the project at a free port, which is passed on.
fn serve(project: &Path, kind: &str, ask: impl FnOnce(u16)) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listen = match kind {
        "datagram" => format!("udp:127.0.0.1:{port}"),
        _ => format!("127.0.0.1:{port}"),
    };
    let mut run = command(project, wasm_sock().to_str().unwrap());
    run.args(["run", "--listen", &listen])
        .env("CARGO_TARGET_DIR", root().join("target/guests"));
    let mut child = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run wasm-sock run");
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let is_served = lines.any(|line| line.contains("listening at"));
    if is_served {
        ask(port);
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(is_served, "{}", String::from_utf8_lossy(&output.stderr));
}

fn converse(port: u16, text: &str) -> String {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

fn greets(port: u16) {
    let answer = converse(port, "Ada\n");
    assert!(answer.starts_with("Hello, 127.0.0.1 port "), "{answer}");
}

fn answers_http(request: &str, expected: &'static str) -> impl FnOnce(u16) {
    let request = request.to_owned();
    move |port| {
        let answer = converse(port, &request);
        assert!(answer.contains(expected), "{expected:?} is not in: {answer}");
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// The tools of the examples in this project, so that it does not install its own.
fn lend(tools: &Path, to: &Path, marks: &[&str]) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    symlink(tools, to).expect("lend tools");
    // Older than the tools: make has nothing to install.
    for mark in marks {
        let mark = to
            .ancestors()
            .find_map(|folder| Some(folder.join(mark)).filter(|path| path.is_file()));
        let file = File::options()
            .write(true)
            .open(mark.expect("a list of the tools"))
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
            .unwrap();
    }
}

/// Tools from PyPI; `None` if they are not installed.
fn venv(name: &str) -> Option<PathBuf> {
    let tools = root().join("build/venv").join(name);
    if !tools.join("ready").exists() {
        skip(&format!("build/venv/{name} (make language-guests)"));
        return None;
    }
    Some(tools)
}

/// Packages from npm; `None` if they are not installed.
fn node_modules(folder: &str) -> Option<PathBuf> {
    let modules = root().join(folder).join("node_modules");
    if !modules.join(".package-lock.json").exists() {
        skip(&format!("{folder}/node_modules (make language-guests)"));
        return None;
    }
    Some(modules)
}

const PACKAGES: [&str; 2] = ["package.json", "package-lock.json"];

#[test]
fn rust() {
    make_test_and_run("rust", "stream", |_| (), greets);
    let echoes = |port| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"ping", ("127.0.0.1", port)).unwrap();
        let mut answer = [0; 16];
        let length = client.recv(&mut answer).expect("an answer");
        assert_eq!(&answer[..length], b"ping");
    };
    make_test_and_run("rust", "datagram", |_| (), echoes);
    let http = answers_http("GET /?name=Ada HTTP/1.0\r\nhost: x\r\n\r\n", "Hello, Ada!");
    make_test_and_run("rust", "http", |_| (), http);
}

#[test]
fn go() {
    let Some(tools) = venv("go") else { return };
    let lend = |project: &Path| lend(&tools, &project.join("build/tools"), &["requirements.txt"]);
    make_test_and_run("go", "stream", lend, |port| {
        let answer = converse(port, "Ada\n");
        assert!(answer.ends_with("Goodbye, Ada!\n"), "{answer}");
    });
}

#[test]
fn c() {
    if Command::new("clang").arg("--version").output().is_err() {
        return skip("clang");
    }
    make_test_and_run("c", "stream", |_| (), greets);
}

#[test]
fn cpp_and_zig() {
    let Some(tools) = venv("zig") else { return };
    for language in ["cpp", "zig"] {
        let lend = |project: &Path| lend(&tools, &project.join("build/tools"), &["requirements.txt"]);
        make_test_and_run(language, "stream", lend, greets);
    }
}

#[test]
fn assemblyscript() {
    let Some(tools) = node_modules("guests/hello-assemblyscript") else {
        return;
    };
    let lend = |project: &Path| lend(&tools, &project.join("node_modules"), &PACKAGES);
    make_test_and_run("assemblyscript", "stream", lend, greets);
}

#[test]
fn js_and_ts() {
    let Some(tools) = node_modules("build/node") else {
        return;
    };
    let get = answers_http("GET /door HTTP/1.0\r\nhost: x\r\n\r\n", "\"/door\"");
    make_test_and_run(
        "js",
        "http",
        |project| lend(&tools, &project.join("node_modules"), &PACKAGES),
        get,
    );
    let get = answers_http("GET / HTTP/1.0\r\nhost: x\r\n\r\n", "Post an order.");
    make_test_and_run(
        "ts",
        "http",
        |project| lend(&tools, &project.join("node_modules"), &PACKAGES),
        get,
    );
}

#[test]
fn python() {
    let Some(tools) = venv("http-python") else { return };
    let lend = |project: &Path| lend(&tools, &project.join("build/tools"), &["requirements.txt"]);
    let get = answers_http("GET /door HTTP/1.0\r\nhost: x\r\n\r\n", "\"/door\"");
    make_test_and_run("python", "http", lend, get);
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let folder = folder();
    fs::create_dir(folder.path().join("taken")).unwrap();
    for (arguments, code, words) in [
        (&["taken", "--lang", "rust"][..], 1, "taken: it exists already"),
        (&["Knock", "--lang", "rust"], 1, "is no name of a project"),
        (&["test", "--lang", "rust"], 1, "as in my-test"),
        (
            &["knock", "--lang", "go", "--kind", "http"],
            1,
            "--kind http goes with rust, js, ts, python",
        ),
        (
            &["knock", "--lang", "python", "--kind", "stream"],
            1,
            "--kind stream goes with rust, go, c, cpp, zig, assemblyscript",
        ),
        (&["knock", "--lang", "cobol"], 2, "possible values: rust, go, c, cpp"),
        (&["knock"], 2, "--lang"),
    ] {
        let output = new(folder.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            said.starts_with("wasm-sock: ") && said.contains(words),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing but what was there"
    );
}

#[test]
fn a_missing_tool_is_named_with_where_it_comes_from() {
    let folder = folder();
    for (language, words) in [
        ("rust", "https://rustup.rs"),
        ("c", "apt-get install clang"),
        ("js", "https://nodejs.org"),
    ] {
        let mut command = command(folder.path(), wasm_sock().to_str().unwrap());
        let kind = if language == "js" { "http" } else { "stream" };
        command.args(["new", &format!("in-{language}"), "--lang", language, "--kind", kind]);
        let output = command.env("PATH", "/nowhere").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(words), "{said}");
    }
}
