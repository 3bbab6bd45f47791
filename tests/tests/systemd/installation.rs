//! The units as they are shipped, and `make install`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::systemctl::{checkout, install, make, output};

fn files(folder: &Path) -> BTreeSet<String> {
    let all = output(
        Command::new("find")
            .arg(folder)
            .args(["-type", "f", "-printf", "%P\\n"]),
    );
    all.lines().map(str::to_owned).collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    install();
    for (manager, folder) in [("--system", "system"), ("--user", "user")] {
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no", manager])
            .env("XDG_RUNTIME_DIR", "/run");
        for entry in fs::read_dir(checkout().join("units").join(folder)).unwrap() {
            let unit = entry.unwrap().file_name().into_string().unwrap();
            verify.arg(format!("/usr/lib/systemd/{folder}/{unit}"));
        }
        for example in fs::read_dir(checkout().join("units/examples")).unwrap() {
            let path = example.unwrap().path();
            // Drop-ins, and what podman makes units of, are none.
            let is_unit = path.extension().is_some_and(|end| end != "conf" && end != "container");
            verify.args(is_unit.then_some(path));
        }
        let result = verify.output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success() && said.is_empty(), "{manager}: {said}");
    }
}

#[test]
fn uninstall_takes_away_what_install_put_there_and_nothing_else() {
    install(); // not at the same time as the one below: both read build/
    let root = tempfile::tempdir().unwrap();
    let destination = format!("DESTDIR={}", root.path().display());
    fs::create_dir_all(root.path().join("opt/bin")).unwrap();
    fs::write(root.path().join("opt/bin/another"), "").unwrap();
    let before = files(root.path());
    make(&["-s", "install", "PREFIX=/opt", &destination]);
    let unit = root.path().join("opt/lib/systemd/system/wasm-sock@.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/opt/bin/wasm-sock host\n"), "{unit}");
    let installed = files(root.path());
    for file in [
        "bin/wasm-sock",
        "lib/wasm-sock/wasm-sock-cli",
        "share/man/man1/wasm-sock-run.1",
        "share/man/man5/wasm-sock.toml.5",
        "share/man/man7/wasm-sock.7",
        "share/wasm-sock/wasm-sock.schema.json",
        "share/wasm-sock/handler.schema.json",
        "share/bash-completion/completions/wasm-sock",
        "share/zsh/site-functions/_wasm-sock",
        "share/fish/vendor_completions.d/wasm-sock.fish",
    ] {
        assert!(installed.contains(&format!("opt/{file}")), "{file}: {installed:?}");
    }
    make(&["-s", "uninstall", "PREFIX=/opt", &destination]);
    assert_eq!(files(root.path()), before);
}

#[test]
fn an_ordinary_user_sees_the_demonstration_and_nothing_of_it_is_left() {
    install();
    let _ports = crate::ports();
    output(Command::new("useradd").args(["-m", "ada"]));
    let user = output(Command::new("id").args(["-u", "ada"]));
    let user = user.trim();
    output(Command::new("systemctl").args(["start", &format!("user@{user}.service")]));
    // A checkout that the user can read, wherever the real one is.
    let copy = Path::new("/home/ada/wasm-sock");
    fs::create_dir_all(copy).unwrap();
    let mut copying = Command::new("cp");
    copying.args(["-r", "build", "tools", "units"]).arg(copy);
    output(copying.current_dir(checkout()));
    let as_ada = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/home/ada")
            .env("XDG_RUNTIME_DIR", format!("/run/user/{user}"));
        output(&mut command)
    };
    let shown = as_ada(&["/home/ada/wasm-sock/tools/demo"]);
    let awake = shown.matches("awakened me, just for you.").count();
    assert_eq!(awake, 2, "{shown}");
    assert_eq!(shown.matches("active\nactive\ninactive\n").count(), 2, "{shown}");
    let left = as_ada(&["systemctl", "--user", "list-units", "--all", "--no-legend", "demo-*"]);
    assert_eq!(left, "");
}
