//! `install` fails, is interrupted or killed at each of its steps: it leaves no trace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::systemctl::output;
use harness::{Kind, eventually};

use super::{alone, ask, assert_no_trace, module, succeeds, traces, wasm_sock};

/// A `systemctl` that does something to its caller at one of its calls: the caller is `wasm-sock`.
struct Saboteur {
    folder: tempfile::TempDir,
}

impl Saboteur {
    /// `act` is a line of sh(1), run at call number `at`; it may use `$PPID`.
    fn new(at: usize, act: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let script = format!(
            "#!/bin/sh\ncount=$(($(cat {path}/count 2>/dev/null || echo 0) + 1))\necho $count >{path}/count\n\
             if [ $count = {at} ]; then {act}; fi\nexec /usr/bin/systemctl \"$@\"\n"
        );
        let program = folder.path().join("systemctl");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin", self.folder.path().display())
    }

    /// Was there such a call?
    fn acted(&self, at: usize) -> bool {
        let count = fs::read_to_string(self.folder.path().join("count")).unwrap_or_default();
        count.trim().parse::<usize>().unwrap_or(0) >= at
    }
}

/// Installs with each call of systemctl sabotaged, until there are no more calls. `check` sees the exit code (`None`:
/// killed) and what was said.
fn sabotage(name: &str, port: u16, act: &str, check: impl Fn(usize, Option<i32>, &str)) {
    let before = traces(name);
    let hello = module(Kind::P1, "hello");
    for at in 1.. {
        let saboteur = Saboteur::new(at, act);
        let mut command = wasm_sock(&["install", &hello, "--name", name, "--listen", &port.to_string()]);
        let done = command.env("PATH", saboteur.path()).output().unwrap();
        if !saboteur.acted(at) {
            assert!(at > 4, "only {at} calls of systemctl");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            succeeds(&["uninstall", name, "--purge"]);
            assert_no_trace(name, &before);
            return;
        }
        check(at, done.status.code(), &String::from_utf8_lossy(&done.stderr));
        assert_no_trace(name, &before);
    }
}

#[test]
fn when_systemctl_fails_nothing_is_left() {
    let _alone = alone();
    sabotage("failing", 23_200, "echo sabotage >&2; exit 1", |at, code, said| {
        assert_eq!(code, Some(1), "call {at}: {said}");
        assert!(
            said.contains("sabotage") && said.ends_with("Nothing was changed.\n"),
            "call {at}: {said}"
        );
    });
}

#[test]
fn an_interrupt_takes_everything_back() {
    let _alone = alone();
    for signal in ["INT", "TERM", "HUP"] {
        let act = format!("kill -{signal} $PPID");
        sabotage("interrupted", 23_210, &act, |at, code, said| {
            assert_eq!(code, Some(1), "call {at}: {said}");
            assert!(
                said.contains(&format!("interrupted by SIG{signal}")),
                "call {at}: {said}"
            );
        });
    }
}

#[test]
fn a_kill_at_any_call_of_systemctl_leaves_no_trace() {
    let _alone = alone();
    sabotage("killed", 23_220, "kill -KILL $PPID", |at, code, said| {
        // It is all gone already: a process that watches has taken it back.
        assert_eq!(code, None, "call {at}: {said}");
    });
}

#[test]
fn when_the_process_that_watches_is_killed_too_the_next_command_takes_everything_back() {
    let _alone = alone();
    let act = "kill -KILL $(pgrep -P $PPID -f -- --guard) $PPID";
    sabotage("killed-twice", 23_225, act, |at, code, said| {
        assert_eq!(code, None, "call {at}: {said}");
        settle();
    });
}

/// Another command, which does nothing but put things in order.
fn settle() {
    let output = wasm_sock(&["uninstall", "nothing-of-this-name"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!Path::new("/var/lib/wasm-sock/install/pending").exists());
}

#[test]
fn a_kill_at_any_moment_leaves_the_former_version_or_the_new_one() {
    let _alone = alone();
    let (name, port) = ("mortal", 23_230);
    let (first, second) = (module(Kind::P1, "hello"), module(Kind::P2, "daytime"));
    let before = traces(name);
    let arguments = |module: &str| ["install", module, "--name", name, "--listen", "23230"].map(str::to_owned);
    succeeds(&arguments(&first).each_ref().map(String::as_str));
    let mut killed = 0;
    for round in 0..24_u64 {
        let module = if round % 2 == 0 { &second } else { &first };
        let mut child = wasm_sock(&arguments(module).each_ref().map(String::as_str));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(25 * round));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        settle();
        let answer = ask(port, "").expect("it answers, after an install that was killed");
        let is_whole = answer.starts_with("Hello, ") || answer.ends_with("\r\n");
        assert!(is_whole, "round {round}: {answer:?}");
        // What the record says is what is there.
        let check = wasm_sock(&["uninstall", "nothing-of-this-name"]).output().unwrap();
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(said.contains(name), "round {round}: {said}");
    }
    assert!(killed > 5, "only {killed} of 24 were killed in time");
    let said = succeeds(&["uninstall", name, "--purge"]);
    assert_eq!(said, "mortal is uninstalled.\n");
    assert_no_trace(name, &before);
}

#[test]
fn two_at_once_wait_for_each_other() {
    let _alone = alone();
    let before = traces("twin");
    let hello = module(Kind::P1, "hello");
    let start = |name: &str, port: &str| {
        let mut command = wasm_sock(&["install", &hello, "--name", name, "--listen", port]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let twins: Vec<_> = (0..4)
        .map(|number| start(&format!("twin-{number}"), &format!("2324{number}")))
        .collect();
    let mut waited = 0;
    for twin in twins {
        let done = twin.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        waited += usize::from(said.contains("another install or uninstall is running: waiting for its end"));
    }
    assert!(waited > 0, "none of four waited");
    for number in 0..4 {
        assert!(ask(23_240 + number, "").unwrap().starts_with("Hello"));
        succeeds(&["uninstall", &format!("twin-{number}"), "--purge"]);
    }
    assert_no_trace("twin", &before);
}

#[test]
fn an_uninstall_that_is_killed_is_finished_by_the_next_command() {
    let _alone = alone();
    let name = "half-gone";
    let before = traces(name);
    for at in 1..=5 {
        succeeds(&[
            "install",
            &module(Kind::P1, "hello"),
            "--name",
            name,
            "--listen",
            "23250",
        ]);
        let saboteur = Saboteur::new(at, "kill -KILL $PPID");
        let mut command = wasm_sock(&["uninstall", name, "--purge"]);
        let done = command.env("PATH", saboteur.path()).output().unwrap();
        assert!(!done.status.success(), "call {at} was not made");
        settle();
        assert_no_trace(name, &before);
    }
    eventually("the port was free", || ask(23_250, "").is_err());
    output(Command::new("systemctl").arg("daemon-reload"));
}
