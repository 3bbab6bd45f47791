//! Secrets: systemd's credentials reach the handler that they are for, and are nowhere else on the machine.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use harness::handlers::Handler;
use harness::systemctl::{install, output, property, sync_journal, systemctl};
use harness::{Address, Kind, eventually, wasm};

const STORE: &str = "/etc/credstore";
const MODULE: &str = "/var/lib/wasm-sock/modules/config-actor.cwasm";

fn tcp(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

/// Compiles the guest that answers with what `wasi:config` says.
fn install_asker() {
    install();
    let new = format!(
        "{MODULE}.{}",
        std::thread::current().name().unwrap_or_default().replace(':', "-")
    );
    let mut compile = Command::new("/usr/bin/wasm-sock");
    compile
        .arg("compile")
        .arg(wasm(Kind::P2, "config-actor"))
        .arg("-o")
        .arg(&new);
    output(&mut compile);
    fs::rename(new, MODULE).unwrap();
}

/// A handler that answers so, started.
fn asker(name: &str, lines: &str) -> Handler {
    install_asker();
    Handler::started(
        name,
        &format!("module = \"config-actor.cwasm\"\n{lines}"),
        &[&format!("wasm-sock@{}.socket", wasm_sock_units::escape(name))],
    )
}

/// A file in the folder of credentials. It is gone when the test is over.
struct Stored(PathBuf);

impl Stored {
    fn new(name: &str, content: &str) -> Self {
        fs::create_dir_all(STORE).unwrap();
        let path = Path::new(STORE).join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    /// An encrypted one, as an administrator makes it (systemd-creds(1)).
    fn encrypted(name: &str, content: &str) -> Self {
        let store = format!("{STORE}.encrypted");
        fs::create_dir_all(&store).unwrap();
        let path = Path::new(&store).join(name);
        let plain = Self::new(&format!(".{name}"), content);
        let mut encrypt = Command::new("systemd-creds");
        encrypt
            .args(["encrypt", "--with-key=host"])
            .arg(format!("--name={name}"));
        output(encrypt.arg(&plain.0).arg(&path));
        Self(path)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn get(address: &Address, key: &str) -> String {
    address.ask(&format!("rc.1 get {key}\n")).text()
}

#[test]
fn a_handler_gets_the_secrets_that_an_administrator_put_into_the_stores() {
    let _plain = Stored::new("sec-own.plain", "in the clear\n");
    let _encrypted = Stored::encrypted("sec-own.sealed", "only on this machine\n");
    let _others = Stored::new("sec-own.others", "not asked for");
    let _handler = asker(
        "sec-own",
        "listen = \"24210\"\nsecrets = [\"plain\", \"sealed\", \"missing\"]",
    );
    let address = tcp(24_210);
    assert_eq!(get(&address, "plain"), "value \"in the clear\"\n");
    assert_eq!(get(&address, "sealed"), "value \"only on this machine\"\n");
    assert_eq!(get(&address, "others"), "none\n");
    assert!(get(&address, "missing").starts_with("Error::Io("));
    sync_journal();
    let journal = output(Command::new("journalctl").args(["-q", "-o", "cat", "-u", "wasm-sock@sec\\x2down.service"]));
    assert!(
        journal.contains("no credential sec-own.missing (put it into /etc/credstore/sec-own.missing"),
        "{journal}"
    );
}

#[test]
fn a_name_that_systemd_would_expand_or_lose_is_found() {
    let name = "sec %n\\\\$HOME";
    let _stored = Stored::new("sec%20%25n%5C%5C%24HOME.token", "odd");
    let _handler = asker(name, "listen = \"24211\"\nsecrets = [\"token\"]");
    assert_eq!(get(&tcp(24_211), "token"), "value \"odd\"\n");
}

#[test]
fn a_drop_in_may_have_the_secret_itself() {
    let folder = Path::new("/etc/systemd/system/wasm-sock@sec\\x2dset.service.d");
    fs::create_dir_all(folder).unwrap();
    fs::write(
        folder.join("token.conf"),
        "[Service]\nSetCredential=sec-set.token:set\n",
    )
    .unwrap();
    let _handler = asker("sec-set", "listen = \"24212\"\nsecrets = [\"token\"]");
    assert_eq!(get(&tcp(24_212), "token"), "value \"set\"\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn handlers_that_share_a_process_have_their_own_secrets() {
    let _turn = super::shared();
    let _stored = ["sec-one", "sec-two"].map(|name| Stored::new(&format!("{name}.token"), &format!("of {name}")));
    let shared = "process = \"shared\"\nsecrets = [\"token\"]";
    let _one = asker("sec-one", &format!("listen = \"24213\"\n{shared}"));
    assert_eq!(get(&tcp(24_213), "token"), "value \"of sec-one\"\n");
    // While the first is served: the second needs a credential that the running host cannot have.
    let _two = asker("sec-two", &format!("listen = \"24214\"\n{shared}"));
    let _none = asker("sec-none", "listen = \"24215\"\nprocess = \"shared\"");
    assert_eq!(get(&tcp(24_214), "token"), "value \"of sec-two\"\n");
    assert_eq!(get(&tcp(24_213), "token"), "value \"of sec-one\"\n");
    assert_eq!(get(&tcp(24_215), "token"), "none\n");
    assert_eq!(get(&tcp(24_215), "sec-one.token"), "none\n");
}

#[test]
fn a_process_for_each_connection_and_a_run_without_a_client_have_them_too() {
    let _stored = Stored::new("sec-each.token", "of each");
    install_asker();
    let input = "/var/lib/wasm-sock-tests/sec-each.input";
    fs::write(input, "rc.1 get token\n").unwrap();
    let lines = format!(
        "module = \"config-actor.cwasm\"\nlisten = \"24216\"\nprocess = \"connection\"\nsecrets = [\"token\"]\n\
         schedule = \"yearly\"\nschedule-input = {input:?}"
    );
    let _handler = Handler::started("sec-each", &lines, &["wasm-sock-sec\\x2deach.socket"]);
    assert_eq!(get(&tcp(24_216), "token"), "value \"of each\"\n");
    let run = "wasm-sock-exec@sec\\x2deach.service";
    systemctl(&["start", run]);
    sync_journal();
    let journal = output(Command::new("journalctl").args(["-q", "-o", "cat", "-u", run]));
    assert!(journal.contains("value \"of each\""), "{journal}");
    // By hand, as root, without systemd.
    let mut exec = Command::new("/usr/bin/wasm-sock");
    exec.args(["exec", "sec-each", "--input", input])
        .env_remove("CREDENTIALS_DIRECTORY");
    assert_eq!(output(&mut exec), "value \"of each\"\n");
}

#[test]
fn a_secret_that_is_added_while_the_handler_runs_is_there_after_a_reload() {
    let handler = asker("sec-later", "listen = \"24217\"");
    let address = tcp(24_217);
    assert_eq!(get(&address, "token"), "none\n");
    let _stored = Stored::new("sec-later.token", "later");
    handler.configure("module = \"config-actor.cwasm\"\nlisten = \"24217\"\nsecrets = [\"token\"]");
    systemctl(&["daemon-reload"]);
    output(Command::new("/usr/bin/wasm-sock").args(["reload", "sec-later"]));
    assert_eq!(get(&address, "token"), "value \"later\"\n");
}

/// A text that is nowhere else, not even in this program.
fn unheard_of() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_secret_in_use_is_nowhere_else_on_the_machine() {
    let secret = unheard_of();
    let before = SystemTime::now();
    let _stored = Stored::new("sec-grep.token", &secret);
    // The search takes a while.
    let lines = "listen = \"24218\"\nsecrets = [\"token\"]\ntimeout = \"30min\"\nidle-connection-timeout = \"30min\"";
    let _handler = asker("sec-grep", lines);
    let _other = asker("sec-beside", "listen = \"24219\"\nsecrets = [\"token\"]");
    let mut other = tcp(24_219).connect();
    other.send("rc.1 get token\n");
    assert!(other.line().starts_with("Error::Io("));
    let mut client = tcp(24_218).connect();
    client.send("rc.1 get token\n");
    assert_eq!(client.line(), format!("value {secret:?}"));

    let unit = "wasm-sock@sec\\x2dgrep.service";
    let host: u32 = property(unit, "MainPID").parse().unwrap();
    let files = files_with(&secret, before);
    let credential = format!("/run/credentials/{unit}/sec-grep.token");
    let expected = [format!("{STORE}/sec-grep.token"), credential];
    let unexpected: Vec<_> = files.iter().filter(|file| !expected.contains(file)).collect();
    assert!(unexpected.is_empty(), "files with the secret: {unexpected:?}");
    assert!(
        files.contains(&expected[0]),
        "the search finds what is there: {files:?}"
    );
    let processes = processes_with(&secret);
    let others: Vec<_> = processes
        .iter()
        .filter(|(pid, _)| ![host, std::process::id()].contains(pid))
        .collect();
    assert!(others.is_empty(), "processes with the secret: {others:?}");
    assert!(
        processes.iter().any(|(pid, what)| *pid == host && what == "mem"),
        "{processes:?}"
    );
    assert!(
        !processes.iter().any(|(pid, what)| *pid == host && what != "mem"),
        "{processes:?}"
    );
    for said in what_is_told("sec-grep", unit) {
        assert!(!said.1.contains(&secret), "{} tells it", said.0);
    }

    // Not even the service's user may look into the host, and there is no core dump.
    let mut look = Command::new("setpriv");
    look.args([
        "--reuid=wasm-sock",
        "--clear-groups",
        "cat",
        &format!("/proc/{host}/environ"),
    ]);
    assert!(!look.stderr(Stdio::null()).status().unwrap().success());
    output(Command::new("kill").args(["-ABRT", &host.to_string()]));
    let ended = || {
        sync_journal();
        let journal = output(Command::new("journalctl").args(["-q", "-o", "cat", "-u", unit]));
        let line = journal.lines().find(|line| line.contains("status=6/ABRT"))?;
        Some(line.to_owned())
    };
    eventually("the host ended", || ended().is_some());
    let how = ended().unwrap();
    assert!(how.contains("code=killed") && !how.contains("code=dumped"), "{how}");
    let unexpected: Vec<_> = files_with(&secret, before)
        .into_iter()
        .filter(|file| !expected.contains(file))
        .collect();
    assert!(unexpected.is_empty(), "files with the secret: {unexpected:?}");
}

/// The files that were changed since `before` and have `text` in them.
fn files_with(text: &str, before: SystemTime) -> Vec<String> {
    let since = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 1;
    let mut find = Command::new("find");
    find.args(["/etc", "/var", "/run", "/tmp", "/dev/shm", "/home", "/srv", "/usr", "/"]);
    // Below / itself: all but the checkout and caches of the toolchain, which no service writes.
    find.args([
        "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/work", "-o", "-path", "/root",
    ]);
    find.args([")", "-prune", "-o", "-type", "f", "-newermt", &format!("@{since}")]);
    find.args(["-exec", "grep", "-lF", text, "{}", "+"]);
    let found = find.stderr(Stdio::null()).output().unwrap();
    let mut files: Vec<String> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The processes with `text` in their command line, their environment or their memory, and in which of them.
fn processes_with(text: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let numbers = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    for pid in numbers {
        for what in ["cmdline", "environ"] {
            let content = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            if has(&content, text) {
                found.push((pid, what.to_owned()));
            }
        }
        if memory_has(pid, text) {
            found.push((pid, "mem".to_owned()));
        }
    }
    found
}

fn has(content: &[u8], text: &str) -> bool {
    content.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Is `text` in memory that a process has written?
fn memory_has(pid: u32, text: &str) -> bool {
    const CHUNK: u64 = 1 << 20;
    let (Ok(maps), Ok(mut memory)) = (
        fs::read_to_string(format!("/proc/{pid}/maps")),
        File::open(format!("/proc/{pid}/mem")),
    ) else {
        return false;
    };
    for line in maps
        .lines()
        .filter(|line| line.contains(" rw") && !line.contains("[vv"))
    {
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split(' ').next().unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        // Address space that is reserved for a guest; what it uses is at its beginning.
        let end = end.min(start + (64 << 20));
        let mut at = start;
        while at < end {
            let mut chunk = vec![0; (end - at).min(CHUNK + text.len() as u64) as usize];
            if memory.seek(SeekFrom::Start(at)).is_ok()
                && memory.read_exact(&mut chunk).is_ok()
                && memchr_has(&chunk, text)
            {
                return true;
            }
            at += CHUNK;
        }
    }
    false
}

/// As [`has`], for mebibytes: most places are ruled out by their first byte.
fn memchr_has(content: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let places = content.len().saturating_sub(text.len());
    (0..=places).any(|at| content[at] == text[0] && content[at..].starts_with(text))
}

/// What the program for people, systemd and the logs tell of a handler.
fn what_is_told(handler: &str, unit: &str) -> Vec<(String, String)> {
    sync_journal();
    let module = MODULE.to_owned();
    let wasm_sock: [&[&str]; 10] = [
        &["check"],
        &["inspect", &module],
        &["list", "--json"],
        &["status", handler],
        &["status", handler, "--json"],
        &["logs", handler],
        &["metrics"],
        &["describe", handler],
        &["host", "--print-sandbox"],
        &["host", "--handler", handler, "--print-sandbox"],
    ];
    let journal = ["journalctl", "-q", "-o", "export"];
    let shown = ["systemctl", "show", "--all", unit];
    let written = ["systemctl", "cat", unit];
    let others: [&[&str]; 4] = [&journal, &shown, &written, &["ps", "auxewww"]];
    let commands = wasm_sock
        .iter()
        .map(|arguments| [&["/usr/bin/wasm-sock"], *arguments].concat());
    let commands = commands.chain(others.iter().map(|command| command.to_vec()));
    let said = commands.map(|words| {
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (words.join(" "), String::from_utf8_lossy(&text).into_owned())
    });
    said.collect()
}
