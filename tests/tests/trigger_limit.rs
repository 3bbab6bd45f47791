//! Sockets that systemd gives up (`TriggerLimitBurst=`): `wasm-sock check` warns of them, and ours are none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{Kind, World, run_in};

/// What `wasm-sock check` says where `systemctl show` tells of a socket with these properties.
fn checked(world: &World, properties: &str) -> String {
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in *Triggers*) printf 'Id=hello.socket\\nFileDescriptorName=hello\\n\
         Triggers=wasm-sock.service\\nListen=7000 (Stream)\\n{properties}' ;; esac\n"
    );
    let (folder, config, state) = (world.path("run"), world.path("config"), world.path("state"));
    let program = folder.join("systemctl");
    fs::write(&program, systemctl).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let environment = [
        ("CONFIGURATION_DIRECTORY", config.as_path()),
        ("STATE_DIRECTORY", state.as_path()),
        ("PATH", folder.as_path()),
    ];
    let output = run_in(Path::new("/"), &["check"], &environment);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("hello.socket"), "{said}");
    said
}

#[test]
fn check_warns_of_a_socket_that_systemd_gives_up_when_its_service_fails_too_often() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    for (interval, burst) in [("2s", "200"), ("2s", "20"), ("1min 30s", "1")] {
        let limit = format!("TriggerLimitIntervalUSec={interval}\\nTriggerLimitBurst={burst}\\n");
        let said = checked(&world, &limit);
        let warning = said.lines().find(|line| line.starts_with("warning: "));
        let warning = warning.unwrap_or_else(|| panic!("{limit}: {said}"));
        for word in ["hello.socket", "TriggerLimitIntervalSec=0"] {
            assert!(warning.contains(word), "{word:?} is not in: {warning}");
        }
    }
    for (interval, burst) in [("0", "200"), ("2s", "0"), ("0", "0")] {
        let limit = format!("TriggerLimitIntervalUSec={interval}\\nTriggerLimitBurst={burst}\\n");
        let said = checked(&world, &limit);
        assert!(!said.contains("warning: "), "{limit}: {said}");
    }
}

#[test]
fn no_socket_of_ours_is_given_up_by_systemd() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let guide = read(&root.join("docs/services.md"));
    let mut sockets: Vec<(String, String)> = guide
        .split("<<'EOT'\n")
        .skip(1)
        .map(|rest| rest.split_once("\nEOT\n").expect("the end").0)
        .filter(|unit| unit.contains("[Socket]"))
        .map(|unit| ("docs/services.md".to_owned(), unit.to_owned()))
        .collect();
    assert!(!sockets.is_empty(), "docs/services.md has no socket");
    for entry in fs::read_dir(root.join("units/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "socket") {
            sockets.push((path.display().to_string(), read(&path)));
        }
    }
    for (place, unit) in sockets {
        let is_unlimited = unit.lines().any(|line| line == "TriggerLimitIntervalSec=0");
        assert!(is_unlimited, "{place}: {unit}");
    }
}
