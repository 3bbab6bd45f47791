//! What handlers store, under the units that are shipped: whose it is, and a disk that is full.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use harness::systemctl::{MODULES, Service, install, install_guest_of, output};
use harness::{Client, Kind, eventually};

const STATE: &str = "/var/lib/wasm-sock/state";

/// Writes the configuration of a handler, which is returned. The module is named: where modules are by default, depends
/// on the folder of the state.
fn grant(handler: &str) -> String {
    let folder = "/etc/wasm-sock/keyvalue";
    fs::create_dir_all(folder).unwrap();
    let file = format!("{folder}/{handler}.toml");
    let module = format!("{MODULES}/{handler}.wasm");
    let text = format!("[handler.{handler}]\nmodule = {module:?}\nkeyvalue = {{ default = \"embedded\" }}\n");
    fs::write(&file, text).unwrap();
    file
}

fn owner(path: &Path) -> u32 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .uid()
}

fn ask(client: &mut Client, command: &str) -> String {
    client.send(format!("{command}\n"));
    client.line()
}

#[test]
fn what_is_stored_is_the_services_users_also_when_root_sets_it_and_modules_stay_roots() {
    install();
    install_guest_of(Kind::P2, "kept.wasm", "counter");
    let config = grant("kept");
    let service = Service::of_template("kept", &format!("--config {config} --idle-timeout 300ms"));
    // As the shipped unit has it, not as other tests do.
    service.drop_in("state", &format!("[Service]\nEnvironment=STATE_DIRECTORY={STATE}\n"));
    let socket = service.listen("wasm-sock@kept.socket", "");
    for count in 1..=2 {
        socket
            .address
            .http()
            .post("/visits", "")
            .expect(200, &format!("{count}\n"));
        service.wait_until_asleep();
    }
    let file = Path::new(STATE).join("kept/keyvalue.sqlite");
    let user = owner(Path::new(STATE));
    assert_ne!(user, 0, "the state belongs to the service's user");
    assert_eq!(owner(&file), user);
    assert_eq!(
        owner(Path::new("/var/lib/wasm-sock")),
        0,
        "the folder above, with the modules, stays root's"
    );
    let kv = |arguments: &[&str]| {
        output(
            Command::new("wasm-sock")
                .arg("kv")
                .args(arguments)
                .args(["--config", &config]),
        )
    };
    assert_eq!(kv(&["get", "kept", "visits"]), "2");
    kv(&["set", "kept", "visits", "40"]);
    kv(&["set", "new", "key", "value"]);
    for made in ["kept/keyvalue.sqlite", "new", "new/keyvalue.sqlite"] {
        assert_eq!(owner(&Path::new(STATE).join(made)), user, "{made}");
    }
    socket.address.http().post("/visits", "").expect(200, "41\n");
    service.assert_never_failed();
}

#[test]
fn on_a_full_disk_setting_fails_reading_goes_on_and_room_is_all_it_takes() {
    install();
    install_guest_of(Kind::P2, "full.wasm", "keyvalue-actor");
    let disk = "/var/lib/wasm-sock-full";
    fs::create_dir_all(disk).unwrap();
    output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1M,mode=777", "none", disk]));
    let config = grant("full");
    let service = Service::of_template("full", &format!("--config {config} --idle-timeout 1min"));
    service.drop_in("state", &format!("[Service]\nEnvironment=STATE_DIRECTORY={disk}\n"));
    let socket = service.listen("wasm-sock@full.socket", "");
    let mut client = socket.address.connect();
    let mut answers = (0..100).map(|key| ask(&mut client, &format!("1 set-size default k{key} 30000")));
    let refused = answers
        .find(|answer| answer != "done")
        .expect("the disk is full after 1 MB");
    assert_eq!(refused, "error: the disk is full");
    assert_eq!(ask(&mut client, "1 size default k0"), "30000");
    eventually("the log says what to do", || {
        service
            .journal()
            .iter()
            .any(|line| line.contains("the disk is full (make room"))
    });
    output(Command::new("mount").args(["-o", "remount,size=16M", disk]));
    assert_eq!(ask(&mut client, "1 set-size default more 100000"), "done");
    assert_eq!(ask(&mut client, "1 size default more"), "100000");
    service.assert_never_failed();
}
