//! `wasm-sock install` and `wasm-sock uninstall`.

mod failures;
mod kills;
mod registry;
mod updates;
mod users;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::systemctl::{install, output, property};
use harness::{Kind, PATIENCE, wasm};

/// One of these tests at a time: they count what is there before and after.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    install();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `wasm-sock`, as it is installed.
fn wasm_sock(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/wasm-sock");
    command.args(arguments).env_remove("WASM_SOCK_HOST");
    command
}

/// What a command that succeeds prints.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    output(&mut wasm_sock(arguments))
}

/// What a command that fails says; its exit code is 1.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = wasm_sock(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(
        status.code(),
        Some(1),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&stdout)
    );
    assert!(said.starts_with("wasm-sock: "), "{said}");
    for line in said.lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 80, "more than 80 columns: {line}");
    }
    said
}

fn module(kind: Kind, name: &str) -> String {
    wasm(kind, name).display().to_string()
}

/// All files and folders that an installed handler may have, and the units that systemd knows of it.
fn traces(handler: &str) -> BTreeSet<String> {
    let mut find = Command::new("find");
    find.args([
        "/etc",
        "/var/lib",
        "/var/cache/wasm-sock",
        "/run",
        "-ignore_readdir_race",
        "-printf",
        "%p %s\n",
    ]);
    // What is in /proc-like folders comes and goes.
    let found = find.output().unwrap().stdout;
    let found = String::from_utf8_lossy(&found).into_owned();
    let ours = |line: &&str| {
        let is_general = ["/etc/wasm-sock/handlers.d/", "/var/lib/wasm-sock/install"];
        // Other tests come and go with their own settings.
        let is_settings = line.split(' ').next().is_some_and(|path| path.ends_with(".toml"));
        let is_left = || !is_settings && is_general.iter().any(|folder| line.starts_with(folder));
        line.contains(handler) || is_left()
    };
    // Units of the runtime's own bookkeeping and the journal's files stay in memory for a while.
    let passing = |line: &&str| line.contains("/run/systemd/units/") || line.contains("/run/log/");
    let mut traces: BTreeSet<String> = found
        .lines()
        .filter(ours)
        .filter(|l| !passing(l))
        .map(str::to_owned)
        .collect();
    let pattern = format!("wasm-sock*{handler}*");
    let units = output(Command::new("systemctl").args(["list-units", "--all", "--no-legend", "--plain", &pattern]));
    traces.extend(units.lines().map(str::to_owned));
    traces
}

/// Nothing of a handler is there but what was there before.
#[track_caller]
fn assert_no_trace(handler: &str, before: &BTreeSet<String>) {
    let start = Instant::now();
    loop {
        let now = traces(handler);
        if now == *before {
            return;
        }
        // systemd forgets a unit that was stopped a moment later.
        if start.elapsed() > PATIENCE {
            let (new, gone) = (now.difference(before), before.difference(&now));
            panic!(
                "not as before: new {:#?}, gone {:#?}",
                new.collect::<Vec<_>>(),
                gone.collect::<Vec<_>>()
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a server at a port says to a client that says `text` and no more.
fn ask(port: u16, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_module_becomes_a_sleeping_service_and_goes_without_a_trace() {
    let _alone = alone();
    let kinds = [
        ("sleeper-p1", Kind::P1, "hello", "23000"),
        ("sleeper-p2", Kind::P2, "hello", "23001"),
        ("sleeper-p3", Kind::P3, "http-actor", "23002"),
        ("sleeper http", Kind::P2, "http-hello", "127.0.0.1:23003"),
    ];
    for (name, kind, guest, address) in kinds {
        let before = traces(name);
        let said = succeeds(&["install", &module(kind, guest), "--name", name, "--listen", address]);
        assert!(said.starts_with(&format!("{name} is installed: ")), "{said}");
        assert!(!said.contains("not tried"), "{said}");
        for command in ["try it", "remove it"] {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(command));
            let line = line.unwrap_or_else(|| panic!("no {command:?} in {said}"));
            output(Command::new("sh").args(["-c", &format!("{line} </dev/null")]));
        }
        // The counters stay, unless they are purged.
        let _ = fs::remove_file(Path::new("/run/wasm-sock/stats").join(name));
        assert_no_trace(name, &before);
    }
}

#[test]
fn what_is_printed_is_what_people_need() {
    let _alone = alone();
    let daytime = module(Kind::P2, "daytime");
    let said = succeeds(&[
        "install",
        &daytime,
        "--name",
        "printed",
        "--listen",
        "23010",
        "--listen",
        "unix:/run/printed",
    ]);
    let answer = said
        .lines()
        .find(|line| line.trim_start().starts_with("answer"))
        .expect("an answer")
        .to_owned();
    let expected = "\
printed is installed: command (WASI 0.2), reads and writes bytes

  listens at 23010
             unix:/run/printed
ANSWER
  try it     nc -N 127.0.0.1 23010
  log        journalctl -u wasm-sock@printed.service
  settings   /etc/wasm-sock/handlers.d/printed.toml
  remove it  wasm-sock uninstall printed
";
    assert_eq!(said, expected.replace("ANSWER", &answer));
    assert!(answer.ends_with(" ms"), "{answer}");
    let settings = fs::read_to_string("/etc/wasm-sock/handlers.d/printed.toml").unwrap();
    assert!(
        settings.ends_with("\n[handler.printed]\nlisten = [\"23010\", \"unix:/run/printed\"]\n"),
        "{settings}"
    );
    assert_eq!(property("wasm-sock@printed.socket", "ActiveState"), "active");
    assert_eq!(succeeds(&["uninstall", "printed"]), "printed is uninstalled.\n");
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let _alone = alone();
    let before = traces("dry");
    let hello = module(Kind::P1, "hello");
    let said = succeeds(&[
        "install",
        &hello,
        "--name",
        "dry",
        "--listen",
        "23020",
        "--env",
        "A=B",
        "--dry-run",
    ]);
    for text in [
        "dry would be installed: core module (WASI 0.1)",
        "write /var/lib/wasm-sock/modules/dry.cwasm",
        "write /etc/wasm-sock/handlers.d/dry.toml\n  #:schema /usr/share/wasm-sock/handler.schema.json\n  # Made by",
        "\n  [handler.dry]\n  listen = [\"23020\"]\n  env = { A = \"B\" }\n",
        "\n  wasm-sock@dry.socket\n",
        "    ListenStream=23020\n",
        "  systemctl start wasm-sock@dry.socket\n",
        "connect to 23020 once",
        "Nothing was changed (--dry-run).\n",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
    assert_eq!(traces("dry"), before);
    assert!(TcpStream::connect(("127.0.0.1", 23_020)).is_err());
}

#[test]
fn sockets_without_a_stream_and_schedules_are_installed_without_a_knock() {
    let _alone = alone();
    let echo = module(Kind::P2, "echo");
    let before = traces("quiet");
    let said = succeeds(&[
        "install",
        &echo,
        "--name",
        "quiet",
        "--listen",
        "udp:127.0.0.1:23030",
        "--schedule",
        "yearly",
    ]);
    assert!(said.contains("not tried: it has no stream to connect to"), "{said}");
    assert_eq!(property("wasm-sock@quiet.timer", "ActiveState"), "active");
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello", "127.0.0.1:23030").unwrap();
    let mut answer = [0; 100];
    let count = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..count], b"hello");
    succeeds(&["uninstall", "quiet", "--purge"]);
    assert_no_trace("quiet", &before);
}

#[test]
fn an_uninstall_lets_connections_finish_and_keeps_what_people_changed() {
    let _alone = alone();
    let name = "leaver";
    succeeds(&[
        "install",
        &module(Kind::P2, "echo"),
        "--name",
        name,
        "--listen",
        "23040",
    ]);
    let settings = PathBuf::from("/etc/wasm-sock/handlers.d/leaver.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}# people's\n")).unwrap();
    let mut client = TcpStream::connect("127.0.0.1:23040").unwrap();
    client.write_all(b"one\n").unwrap();
    let mut buffer = [0; 4];
    client.read_exact(&mut buffer).unwrap();
    let uninstall = std::thread::spawn(|| succeeds(&["uninstall", "leaver"]));
    harness::eventually("the service was stopping", || {
        property("wasm-sock@leaver.service", "ActiveState") == "deactivating"
    });
    client.write_all(b"two\n").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"two\n");
    drop(client);
    let said = uninstall.join().unwrap();
    assert!(
        said.contains("stays: /etc/wasm-sock/handlers.d/leaver.toml.old"),
        "{said}"
    );
    let kept = Path::new("/etc/wasm-sock/handlers.d/leaver.toml.old");
    assert!(fs::read_to_string(kept).unwrap().ends_with("# people's\n"));
    fs::remove_file(kept).unwrap();
}

#[test]
fn an_uninstall_of_what_is_not_there_names_what_is() {
    let _alone = alone();
    succeeds(&[
        "install",
        &module(Kind::P1, "hello"),
        "--name",
        "known",
        "--listen",
        "23050",
    ]);
    let said = fails(&["uninstall", "knwon"]);
    assert_eq!(
        said,
        "wasm-sock: cannot uninstall knwon: it is not installed (did you mean \"known\"?)\n"
    );
    succeeds(&["uninstall", "known"]);
    fs::write("/etc/wasm-sock/handlers.d/by-hand.toml", "[handler.by-hand]\n").unwrap();
    let said = fails(&["uninstall", "by-hand"]);
    assert!(said.contains("people made it, not `install`"), "{said}");
    fs::remove_file("/etc/wasm-sock/handlers.d/by-hand.toml").unwrap();
}

#[test]
fn a_project_is_built_and_standard_input_is_read() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("assembled");
    fs::create_dir(&project).unwrap();
    fs::write(
        project.join("Makefile"),
        "assembled.wasm: source\n\tcp source assembled.wasm\n",
    )
    .unwrap();
    fs::copy(wasm(Kind::P1, "hello"), project.join("source")).unwrap();
    let said = succeeds(&["install", &project.display().to_string(), "--listen", "23060"]);
    assert!(said.contains("assembled is installed: "), "{said}");
    assert!(ask(23_060, "").unwrap().contains("knock on assembled"));

    let input = fs::File::open(wasm(Kind::P2, "daytime")).unwrap();
    let mut update = wasm_sock(&["install", "-", "--name", "assembled"]);
    let said = output(update.stdin(input));
    assert!(said.starts_with("assembled is updated: "), "{said}");
    assert!(ask(23_060, "").unwrap().ends_with("\r\n"));
    succeeds(&["uninstall", "assembled", "--purge"]);
}
