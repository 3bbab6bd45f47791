//! The generator: hostile files, many files, addresses that two handlers want.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use harness::handlers::{HANDLERS, Handler};
use harness::systemctl::{install, output, property, systemctl};
use harness::{Address, generator};
use tempfile::TempDir;

/// A configuration, and a folder for the units that are made of it.
struct Configuration {
    folder: TempDir,
}

impl Configuration {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("wasm-sock/handlers.d")).unwrap();
        Self { folder }
    }

    fn handlers(&self) -> std::path::PathBuf {
        self.folder.path().join("wasm-sock/handlers.d")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.handlers().join(name), text).unwrap();
    }

    fn command(&self, units: &Path) -> Command {
        let mut command = Command::new(generator());
        command
            .arg(units)
            .args([units.with_extension("early"), units.with_extension("late")]);
        command
            .env("SYSTEMD_SCOPE", "user")
            .env("XDG_CONFIG_HOME", self.folder.path());
        command
    }

    /// The units that are made, and what is said.
    fn run(&self) -> (BTreeSet<String>, String) {
        let units = tempfile::tempdir().unwrap();
        let Output { status, stdout, stderr } = self.command(units.path()).output().unwrap();
        assert!(status.success() && stdout.is_empty(), "{status}");
        let names = fs::read_dir(units.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names
            .map(|name| name.into_string().unwrap())
            .filter(|name| !name.ends_with(".wants"));
        (names.collect(), String::from_utf8(stderr).unwrap())
    }
}

/// Files that are none, or none of ours.
fn hostile_files(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::create_dir(at("hostile-folder.toml")).unwrap();
    let fifo = Command::new("mkfifo").arg(at("hostile-fifo.toml")).status().unwrap();
    assert!(fifo.success());
    File::create(at("hostile-huge.toml"))
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    symlink("/nowhere", at("hostile-dangling.toml")).unwrap();
    symlink("hostile-endless.toml", at("hostile-endless.toml")).unwrap();
    symlink("/dev/zero", at("hostile-zero.toml")).unwrap();
    fs::write(
        at("hostile-latin1.toml"),
        b"[handler.hostile-latin1]\nlisten = '24101' # caf\xe9\n",
    )
    .unwrap();
    fs::copy("/bin/true", at("hostile-binary.toml")).unwrap();
    fs::write(at("hostile-other.toml"), "[handler.other]\nlisten = '24101'").unwrap();
    fs::write(at("hostile\n[Service].toml"), "[handler.x]\n").unwrap();
    fs::write(
        at("hostile-lines.toml"),
        "[handler.hostile-lines]\nlisten = \"unix:/x\\n[Service]\\nUser=root\"",
    )
    .unwrap();
}

#[test]
fn a_hostile_file_costs_its_own_handler_only_and_is_reported() {
    let configuration = Configuration::new();
    hostile_files(&configuration.handlers());
    configuration.write("good.toml", "[handler.good]\nlisten = '24100'");
    let (units, said) = configuration.run();
    assert_eq!(units, ["wasm-sock@good.socket".to_owned()].into(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    // Eleven mistakes: eight are told, and how many more there are.
    assert_eq!(lines.len(), 9, "{said}");
    for line in &lines {
        assert!(
            line.starts_with("<3>wasm-sock-generator: ") && line.len() < 1000,
            "{line:?}"
        );
    }
    let more = "<3>wasm-sock-generator: 3 more mistakes in the configuration (`wasm-sock check` shows all)";
    assert_eq!(*lines.last().unwrap(), more);
    for told in [
        "hostile-fifo.toml: cannot read it: it is a FIFO",
        "hostile\u{fffd}[Service].toml",
    ] {
        assert!(said.contains(told), "{told} is not in:\n{said}");
    }
}

#[test]
fn a_reload_of_systemd_survives_hostile_files() {
    install();
    hostile_files(Path::new(HANDLERS));
    let unit = "wasm-sock@gamonghostile.socket";
    let handler = Handler::started("gamonghostile", "listen = '127.0.0.1:24100'", &[unit]);
    Address::Tcp(([127, 0, 0, 1], 24_100).into())
        .ask("x\n")
        .expect_whole("x\n");
    assert_eq!(
        property("wasm-sock@hostile\\x2dlatin1.socket", "LoadState"),
        "not-found"
    );
    drop(handler);
    for entry in fs::read_dir(HANDLERS).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("hostile") {
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
    }
    systemctl(&["daemon-reload"]);
}

/// The box has no kernel's log of its own, so a pipe plays its part: newer generators see all file systems read-only
/// (systemd 257 of Debian 13), where a device can be written, and a file cannot.
#[test]
fn a_mistake_is_in_the_kernels_log_after_a_reload() {
    install();
    let log = Path::new("/dev/kmsg");
    assert!(!log.exists(), "the box has the machine's log");
    output(Command::new("mkfifo").arg(log));
    let mut pipe = File::options().read(true).write(true).open(log).unwrap();
    let _handler = Handler::new("gmistaken", "listen = '0'");
    systemctl(&["daemon-reload"]);
    fs::remove_file(log).unwrap();
    // Reading would wait for ever if there were nothing.
    pipe.write_all(b"end\n").unwrap();
    let mut said = [0; 65_536];
    let length = pipe.read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]);
    let mistake = said.lines().find(|line| line.contains("gmistaken.toml")).expect(&said);
    assert!(mistake.starts_with("<27>wasm-sock-generator["), "{mistake}");
    let end = "]: /etc/wasm-sock/handlers.d/gmistaken.toml:2:10: listen: cannot be \"0\": \"0\" is no port \
               (allowed: 1 to 65535)";
    assert!(mistake.ends_with(end), "{mistake}");
}

#[test]
fn of_two_handlers_of_one_address_the_first_by_name_has_it_and_both_are_named() {
    let configuration = Configuration::new();
    configuration.write("b.toml", "[handler.b]\nlisten = ['24102', '24103']");
    configuration.write("a.toml", "[handler.a]\nlisten = '127.0.0.1:24102'");
    configuration.write("off.toml", "[handler.off]\nlisten = '24103'\nenabled = false");
    let (units, said) = configuration.run();
    let expected = ["wasm-sock@a.socket", "wasm-sock@b:24103.socket"].map(str::to_owned);
    assert_eq!(units, expected.into());
    let folder = configuration.handlers();
    let folder = folder.display();
    assert_eq!(
        said,
        format!(
            "<3>wasm-sock-generator: handler \"b\" ({folder}/b.toml:1:10) does not get \"24102\": handler \"a\" \
             ({folder}/a.toml:1:10) has \"127.0.0.1:24102\" (remove one)\n"
        )
    );
}

#[test]
fn a_mistake_that_concerns_all_handlers_costs_none_its_socket() {
    let configuration = Configuration::new();
    fs::write(
        configuration.folder.path().join("wasm-sock/wasm-sock.toml"),
        "[host]\nidle-timeout = 30s\n",
    )
    .unwrap();
    configuration.write("a.toml", "[handler.a]\nlisten = '24104'");
    let (units, said) = configuration.run();
    assert_eq!(units, ["wasm-sock@a.socket".to_owned()].into());
    assert!(said.contains("wasm-sock.toml:2:16: not valid TOML"), "{said}");
}

#[test]
fn without_any_configuration_nothing_is_made_or_said() {
    let configuration = Configuration::new();
    fs::remove_dir_all(configuration.folder.path().join("wasm-sock")).unwrap();
    assert_eq!(configuration.run(), (BTreeSet::new(), String::new()));
}

#[test]
fn wrong_arguments_are_told_and_nothing_is_written() {
    for arguments in [&[][..], &["relative"], &["/a", "/b"]] {
        let wrong = Command::new(generator()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(2), "{said}");
        assert!(said.contains("usage: wasm-sock-generator NORMAL-DIR"), "{said}");
    }
}

#[test]
fn a_thousand_handlers_have_their_units() {
    let configuration = Configuration::new();
    for number in 0..1000 {
        let lines = "memory = '16MiB'\ndirs = [{ host = '/srv', guest = '/data' }]\nsocket = { mode = '0660' }";
        configuration.write(
            &format!("h{number}.toml"),
            format!("[handler.h{number}]\nlisten = '{}'\n{lines}\n", 30_000 + number),
        );
    }
    // As systemd's: a tmpfs.
    let units = TempDir::new_in("/run").unwrap();
    let status = configuration.command(units.path()).status().unwrap();
    assert!(status.success(), "{status}");
    // A unit for each, and the links to them.
    assert_eq!(fs::read_dir(units.path()).unwrap().count(), 1001);
}
