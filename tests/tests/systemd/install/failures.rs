//! What `install` finds wrong before it changes anything, and what fails later.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use harness::Kind;
use harness::systemctl::{output, systemctl};

use super::{alone, assert_no_trace, fails, module, succeeds, traces};

#[test]
fn all_problems_are_reported_at_once_and_nothing_is_changed() {
    let _alone = alone();
    let before = traces("wrong");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let closed = closed.path().display().to_string();
    let said = fails(&[
        "install",
        &module(Kind::P2, "http-hello"),
        "--name=wrong",
        &format!("--listen={taken}"),
        "--listen=udp:23100",
        "--listen=192.0.2.7:23100",
        "--dir=/nowhere:/a",
        &format!("--dir={closed}:/b:rw"),
        "--set=memory=1",
        "--set=memroy=1",
        "--schedule=often",
    ]);
    let process = std::process::id().to_string();
    for text in [
        "cannot install wrong: 8 problems:\n",
        "memory: cannot be 1 bytes",
        "did you mean \"memory\"?",
        "the module answers HTTP, which needs a stream",
        "folder /nowhere: there is none (mkdir it)",
        "user wasm-sock cannot read it",
        "this machine has no such address",
        &format!("(process {process})"),
        "calendar",
        "Nothing was changed.\n",
    ] {
        let joined = said.replace("\n    ", " ");
        assert!(
            joined.replace("\n      ", " ").contains(text),
            "{text:?} is not in {said}"
        );
    }
    assert_no_trace("wrong", &before);
}

#[test]
fn an_address_that_a_unit_or_a_handler_has_is_named_with_it() {
    let _alone = alone();
    let hello = module(Kind::P1, "hello");
    succeeds(&["install", &hello, "--name", "holder", "--listen", "23110"]);
    let said = fails(&["install", &hello, "--name", "second", "--listen", "127.0.0.1:23110"]);
    assert!(said.contains("handler \"holder\" has this address"), "{said}");
    succeeds(&["uninstall", "holder"]);

    fs::write(
        "/run/systemd/system/taker.socket",
        "[Socket]\nListenStream=23111\nListenStream=/run/taker\nService=wasm-sock.service\n",
    )
    .unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", "taker.socket"]);
    for address in ["23111", "unix:/run/taker"] {
        let said = fails(&["install", &hello, "--name", "second", "--listen", address]);
        assert!(said.contains("taker.socket has this address"), "{said}");
    }
    systemctl(&["stop", "taker.socket"]);
    fs::remove_file("/run/systemd/system/taker.socket").unwrap();
}

#[test]
fn what_people_wrote_is_not_overwritten_unless_they_say_so() {
    let _alone = alone();
    let hello = module(Kind::P1, "hello");
    let settings = "/etc/wasm-sock/handlers.d/mine.toml";
    fs::write(settings, "[handler.mine]\nmemory = \"2MiB\" # enough\n").unwrap();
    fs::write("/var/lib/wasm-sock/modules/mine.wasm", "mine").unwrap();
    let arguments = ["install", &hello, "--name", "mine", "--listen", "23120"];
    let said = fails(&arguments);
    for file in [settings, "/var/lib/wasm-sock/modules/mine.wasm"] {
        assert!(said.contains(&format!("{file}: `install` did not write it")), "{said}");
    }
    assert_eq!(
        fs::read_to_string("/var/lib/wasm-sock/modules/mine.wasm").unwrap(),
        "mine"
    );
    succeeds(&[&arguments[..], &["--yes"]].concat());
    let text = fs::read_to_string(settings).unwrap();
    assert_eq!(
        text,
        "[handler.mine]\nmemory = \"2MiB\" # enough\nlisten = [\"23120\"]\n"
    );
    let said = succeeds(&["uninstall", "mine"]);
    assert!(said.contains("mine.toml.old"), "{said}");
    fs::remove_file(format!("{settings}.old")).unwrap();

    let unit = "/etc/systemd/system/wasm-sock@mine.socket";
    fs::write(unit, "[Socket]\nListenStream=23121\n").unwrap();
    systemctl(&["daemon-reload"]);
    let said = fails(&[&arguments[..], &["--yes"]].concat());
    assert!(said.contains(&format!("{unit}: a unit that people wrote")), "{said}");
    fs::remove_file(unit).unwrap();
    systemctl(&["daemon-reload"]);
}

#[test]
fn a_guest_that_fails_at_the_knock_is_not_installed_and_its_log_is_shown() {
    let _alone = alone();
    let before = traces("trapper");
    let actor = module(Kind::P1, "actor");
    let arguments = ["install", &actor, "--name", "trapper", "--arg", "trap-early"];
    for address in ["--listen=23130", "--listen=unix:/run/trapper"] {
        let said = fails(&[&arguments[..], &[address]].concat());
        for text in [
            "its guest failed",
            "its log says:\n",
            "wasm trap",
            "--no-knock installs it all the same",
        ] {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
        assert_no_trace("trapper", &before);
    }
    succeeds(&[&arguments[..], &["--listen=23130", "--no-knock"]].concat());
    succeeds(&["uninstall", "trapper"]);
}

#[test]
fn what_is_no_module_or_has_no_name_is_refused() {
    let _alone = alone();
    let said = fails(&["install", "/etc/hostname", "--listen", "23140"]);
    assert!(said.contains("/etc/hostname: not a WebAssembly module"), "{said}");
    let said = fails(&["install", "/no/such.wasm", "--listen", "23140"]);
    assert!(said.contains("/no/such.wasm: No such file or directory"), "{said}");
    let said = fails(&["install", "-", "--listen", "23140"]);
    assert!(
        said.contains("standard input has no name (give one: --name hello)"),
        "{said}"
    );
    let said = fails(&[
        "install",
        &module(Kind::P1, "hello"),
        "--name",
        "a/b",
        "--listen",
        "23140",
    ]);
    assert!(said.contains("\"a/b\" cannot name a handler"), "{said}");
    let said = fails(&["install", &module(Kind::P1, "hello"), "--name", "nowhere"]);
    assert!(
        said.contains("it has no address (give it one: --listen 7000; or a --schedule)"),
        "{said}"
    );
}

#[test]
fn without_its_generator_nothing_is_installed() {
    let _alone = alone();
    let generator = "/usr/lib/systemd/system-generators/wasm-sock-generator";
    let aside = "/usr/lib/wasm-sock-generator-aside";
    fs::rename(generator, aside).unwrap();
    let said = fails(&[
        "install",
        &module(Kind::P1, "hello"),
        "--name",
        "lost",
        "--listen",
        "23150",
    ]);
    output(Command::new("mv").args([aside, generator]));
    assert!(said.contains("the generator of units is not installed"), "{said}");
}
