//! What `install` prints: what is there now and how to use it, what would be done, or what is wrong.

use super::handler_file;
use super::knock::{Answer, reachable};
use super::module::Source;
use super::plan::Plan;
use super::prove::Proof;
use crate::CommandError;
use crate::installation::scope::Scope;
use std::fmt::Write as _;
use std::path::Path;
use wasm_sock_config::{Listen, ListenAddress, ListenKind};

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Characters of a guest's answer that are shown.
const EXCERPT: usize = 40;

/// The error with all problems.
pub fn failed(name: &str, problems: impl IntoIterator<Item = String>) -> CommandError {
    let problems: Vec<String> = problems.into_iter().collect();
    let title = match problems.as_slice() {
        [_] => format!("cannot install {name}:"),
        problems => format!("cannot install {name}: {} problems:", problems.len()),
    };
    let lines = problems.iter().map(|problem| format!("\n{}", wrapped(problem)));
    CommandError::Failed(format!("{title}{}\nNothing was changed.", lines.collect::<String>()))
}

/// A problem as a paragraph, its lines wrapped between words. Lines of an excerpt of a file (`3 | memory = 1`) are not.
fn wrapped(text: &str) -> String {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let own = line.len() - line.trim_start().len();
        let indent = if number == 0 { 2 } else { 4 } + own;
        match line.contains(" | ") || line.trim_start().starts_with("| ") {
            true => lines.push(format!("    {line}")),
            false => wrap(line.trim_start(), indent, &mut lines),
        }
    }
    lines.join("\n")
}

/// Breaks a line between words; what follows is indented two columns more.
fn wrap(text: &str, indent: usize, lines: &mut Vec<String>) {
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(line);
            line = " ".repeat(indent + 2);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
}

/// What is there now, and how to use it.
pub fn installed(plan: &Plan, name: &str, proof: &Proof, scope: &Scope) -> String {
    let done = match (plan.is_update, plan.change.files.is_empty()) {
        (false, _) => "installed",
        (true, false) => "updated",
        (true, true) => "as it was",
    };
    let mut text = format!("{name} is {done}: {}\n\n", kind(plan));
    let mut row = |label: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {label:<10} {value}");
    };
    for (index, listen) in plan.config.listen.iter().enumerate() {
        row(if index == 0 { "listens at" } else { "" }, &listen.to_string());
    }
    for (index, calendar) in plan.config.schedule.calendar.iter().enumerate() {
        row(if index == 0 { "runs" } else { "" }, calendar);
    }
    row("answer", &answer(proof));
    if let Some(listen) = plan.config.listen.first() {
        row("try it", &how_to_try(listen, plan.is_http));
    }
    let user = if scope.systemd.user { "--user " } else { "" };
    let services: Vec<String> = plan
        .services
        .iter()
        .map(|service| format!("-u {}", quoted(service)))
        .collect();
    row("log", &format!("journalctl {user}{}", services.join(" ")));
    row(
        "settings",
        &handler_file::path(&scope.places, name).display().to_string(),
    );
    let end = if name.starts_with('-') { "-- " } else { "" };
    row("remove it", &format!("wasm-sock uninstall {user}{end}{}", quoted(name)));
    text.push_str(&lingering(scope));
    text
}

fn kind(plan: &Plan) -> String {
    let what = if plan.is_http { "" } else { ", reads and writes bytes" };
    format!("{}{what}", plan.kind)
}

fn answer(proof: &Proof) -> String {
    let excerpt = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().next().unwrap_or_default();
        let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let shown: String = line.chars().take(EXCERPT).map(printable).collect();
        let more = if line.chars().count() > EXCERPT { "…" } else { "" };
        format!("\"{shown}{more}\"")
    };
    match proof {
        Proof::Skipped(skip) => skip.reason().to_owned(),
        Proof::Answered(Answer::Http { status, time }) => {
            format!("{status} to GET / in {} ms", time.as_millis())
        }
        Proof::Answered(Answer::Bytes { bytes, time }) if bytes.is_empty() => {
            format!("it closed an empty connection in {} ms", time.as_millis())
        }
        Proof::Answered(Answer::Bytes { bytes, time }) => {
            format!("{} in {} ms", excerpt(bytes), time.as_millis())
        }
        Proof::Answered(Answer::Open { bytes }) if bytes.is_empty() => "none yet: it waits for more input".to_owned(),
        Proof::Answered(Answer::Open { bytes }) => format!("{} …", excerpt(bytes)),
    }
}

/// A command that connects to it.
fn how_to_try(listen: &Listen, is_http: bool) -> String {
    let address = reachable(listen);
    let pair = address
        .map(|address| format!("{} {}", address.ip(), address.port()))
        .unwrap_or_default();
    match (&listen.address, listen.kind) {
        (ListenAddress::Path(path), ListenKind::Unix) if is_http => {
            format!("curl --unix-socket {} http://localhost/", quoted(path))
        }
        (ListenAddress::Path(path), ListenKind::Unix) => format!("nc -NU {}", quoted(path)),
        (ListenAddress::Path(path), ListenKind::Datagrams) => format!("nc -uU {}", quoted(path)),
        (ListenAddress::Path(path), _) => format!("socat - UNIX-CONNECT:{},type=5", quoted(path)),
        (ListenAddress::Abstract(name), ListenKind::Unix) if is_http => {
            format!("curl --abstract-unix-socket {} http://localhost/", quoted(name))
        }
        (ListenAddress::Abstract(name), _) => format!("socat - ABSTRACT-CONNECT:{}", quoted(name)),
        (ListenAddress::Vsock(cid, port), _) => format!("socat - VSOCK-CONNECT:{}:{port}", cid.unwrap_or(1)),
        (_, ListenKind::Udp) => format!("nc -u {pair}"),
        _ if is_http => address
            .map(|address| format!("curl http://{address}/"))
            .unwrap_or_default(),
        _ => format!("nc -N {pair}"),
    }
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:=+,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// What a user without lingering has to know (`loginctl(1)`).
fn lingering(scope: &Scope) -> String {
    if !scope.systemd.user {
        return String::new();
    }
    let user = std::process::Command::new("id").arg("-un").output();
    let user = user
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return String::new();
    }
    format!(
        "\nYour services stop when you log out, and start when you log in. To have them\n\
         always: sudo loginctl enable-linger {}\n",
        quoted(&user)
    )
}

/// What would be done.
pub fn planned(plan: &Plan, name: &str, source: &Source, scope: &Scope) -> String {
    let mut text = format!("{name} would be installed: {}\n", kind(plan));
    text.push_str(&planned_files(plan, source));
    if !plan.units.is_empty() {
        text.push_str("\nsystemd's generator makes of it\n");
    }
    for unit in &plan.units {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n  {}\n{}", unit.name, indented(&indented(&unit.text)));
    }
    let systemctl = if scope.systemd.user {
        "systemctl --user"
    } else {
        "systemctl"
    };
    let _ = writeln!(text, "\nrun\n  {systemctl} daemon-reload");
    for (verb, units) in [
        ("stop", &plan.change.stop),
        ("stop", &plan.change.restart),
        ("start", &plan.change.start),
        ("reload", &plan.change.reload),
    ] {
        for unit in units {
            let _ = writeln!(text, "  {systemctl} {verb} {}", quoted(unit));
        }
    }
    match &plan.door {
        Ok(listen) => drop(writeln!(text, "\nconnect to {listen} once")),
        Err(skip) => drop(writeln!(text, "\n{}", skip.reason())),
    }
    text.push_str("\nNothing was changed (--dry-run).\n");
    text
}

/// The files that would be written, the handler's settings with their content.
fn planned_files(plan: &Plan, source: &Source) -> String {
    let mut text = String::new();
    let change = &plan.change;
    for (path, new) in &change.files {
        let path_shown = path.display();
        let is_settings = *path == change.record.settings;
        // Writing to a string does not fail.
        let _ = match (new, is_settings) {
            (None, _) => writeln!(text, "\nremove {path_shown}"),
            (Some(_), false) => writeln!(text, "\nwrite {path_shown}\n  from {}", source.name()),
            (Some(_), true) => {
                let content = plan.new_settings.as_deref().unwrap_or_default();
                writeln!(text, "\nwrite {path_shown}\n{}", indented(content))
            }
        };
    }
    text
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| {
        if line.is_empty() {
            String::new()
        } else {
            format!("  {line}")
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_fit_the_screen_and_excerpts_stay_whole() {
        let problems = [
            "listen 7000: nginx (process 12) has this address (end it, or choose another address)",
            "/etc/wasm-sock/handlers.d/hello.toml:6:10: memory: cannot be 1 bytes\n  6 | memory = 1\n    |          ^",
        ];
        let text = failed("hello", problems.map(str::to_owned)).to_string();
        let expected = "\
cannot install hello: 2 problems:
  listen 7000: nginx (process 12) has this address (end it, or choose another
    address)
  /etc/wasm-sock/handlers.d/hello.toml:6:10: memory: cannot be 1 bytes
      6 | memory = 1
        |          ^
Nothing was changed.";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_command_that_tries_it_suits_the_socket() {
        let of = |address: &str, is_http| how_to_try(&Listen::parse(address).unwrap(), is_http);
        for (address, is_http, command) in [
            ("7000", false, "nc -N 127.0.0.1 7000"),
            ("[::]:7000", false, "nc -N ::1 7000"),
            ("7000", true, "curl http://127.0.0.1:7000/"),
            ("[::1]:7000", true, "curl http://[::1]:7000/"),
            ("udp:192.0.2.1:53", false, "nc -u 192.0.2.1 53"),
            ("unix:/run/a b", false, "nc -NU '/run/a b'"),
            ("unix:/run/a", true, "curl --unix-socket /run/a http://localhost/"),
            ("packets:/run/a", false, "socat - UNIX-CONNECT:/run/a,type=5"),
            ("unix:@a", false, "socat - ABSTRACT-CONNECT:a"),
            ("vsock::7000", false, "socat - VSOCK-CONNECT:1:7000"),
        ] {
            assert_eq!(of(address, is_http), command);
        }
    }

    #[test]
    fn words_for_a_shell_are_quoted() {
        assert_eq!(quoted("wasm-sock@hello.service"), "wasm-sock@hello.service");
        assert_eq!(quoted(r"wasm-sock@a\x2db.service"), r"'wasm-sock@a\x2db.service'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
