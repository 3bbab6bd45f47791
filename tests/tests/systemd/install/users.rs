//! `--user`: services of an ordinary user.

use std::path::Path;
use std::process::{Command, Output};

use harness::Kind;
use harness::systemctl::{output, systemctl};

use super::{alone, ask, module};

/// A user with a service manager, who is removed at the end.
struct User {
    name: &'static str,
    id: String,
}

impl User {
    fn new(name: &'static str) -> Self {
        output(Command::new("useradd").args(["-m", name]));
        let id = output(Command::new("id").args(["-u", name])).trim().to_owned();
        Self { name, id }
    }

    fn start_manager(&self) {
        systemctl(&["start", &format!("user@{}.service", self.id)]);
    }

    fn command(&self, arguments: &[&str], has_session: bool) -> Output {
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={}", self.id),
            &format!("--regid={}", self.id),
            "--init-groups",
        ]);
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", format!("/home/{}", self.name)).current_dir("/");
        if has_session {
            command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", self.id));
        }
        command.output().unwrap()
    }

    fn files(&self) -> String {
        let home = format!("/home/{}", self.name);
        let runtime = format!("/run/user/{}/systemd/generator", self.id);
        let found = Command::new("find").args([&home, &runtime]).output().unwrap();
        let mut lines: Vec<String> = String::from_utf8_lossy(&found.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        // The user's manager keeps its own there.
        lines.retain(|line| !line.contains("/.cache"));
        lines.sort();
        lines.join("\n")
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("systemctl")
            .args(["stop", &format!("user@{}.service", self.id)])
            .output();
        let _ = Command::new("userdel").args(["-rf", self.name]).output();
    }
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn a_user_installs_a_service_updates_it_and_nothing_of_it_is_left() {
    let _alone = alone();
    let user = User::new("grace");
    user.start_manager();
    // A folder of the checkout may be closed to others.
    let hello = "/home/grace/hello.wasm";
    std::fs::copy(module(Kind::P2, "hello"), hello).unwrap();
    std::fs::copy(module(Kind::P2, "daytime"), "/home/grace/daytime.wasm").unwrap();
    output(Command::new("chmod").args(["a+r", hello, "/home/grace/daytime.wasm"]));
    let before = user.files();
    let install = ["wasm-sock", "install", "--user", "--name=greeter", "--listen=23400"];
    let text = said(&user.command(&[&install[..], &[hello]].concat(), true), 0);
    for line in [
        "greeter is installed: ",
        "journalctl --user -u wasm-sock@greeter.service",
        "/home/grace/.config/wasm-sock/handlers.d/greeter.toml",
        "wasm-sock uninstall --user greeter",
        "always: sudo loginctl enable-linger grace",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert!(ask(23_400, "").unwrap().contains("knock on greeter"));
    let text = said(
        &user.command(&[&install[..], &["/home/grace/daytime.wasm"]].concat(), true),
        0,
    );
    assert!(text.starts_with("greeter is updated"), "{text}");
    assert!(ask(23_400, "").unwrap().ends_with("\r\n"));
    let low = said(
        &user.command(&[&install[..3], &["--name=low", "--listen=80", hello]].concat(), true),
        1,
    );
    assert!(low.contains("are the system's"), "{low}");
    said(&user.command(&["wasm-sock", "uninstall", "--user", "greeter"], true), 0);
    assert_eq!(user.files(), before);
    assert!(ask(23_400, "").is_err());
}

#[test]
fn a_user_without_a_session_or_rights_is_told_what_to_do() {
    let _alone = alone();
    let user = User::new("hedy");
    let hello = module(Kind::P2, "hello");
    let text = said(
        &user.command(&["wasm-sock", "install", "--user", &hello, "--listen=23410"], false),
        1,
    );
    for line in [
        "$XDG_RUNTIME_DIR is not set",
        "sudo loginctl enable-linger",
        "machinectl shell --uid=",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let text = said(
        &user.command(&["wasm-sock", "install", &hello, "--listen=23410"], false),
        1,
    );
    assert!(text.contains("only root can install services for the system"), "{text}");
    assert!(!Path::new("/home/hedy/.config/wasm-sock").exists());
}
