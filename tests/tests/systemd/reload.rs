//! `systemctl reload`, and what becomes of it: applied, refused, or handed over to the next host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;

use harness::systemctl::{Service, Socket, install, install_guest, output, systemctl};
use harness::{Address, eventually};

/// A service with a configuration of its own.
struct Reloaded {
    service: Service,
    folder: PathBuf,
}

impl Reloaded {
    /// `wasm-sock.service` under another name.
    fn shared(name: &str) -> Self {
        Self::new(name, Service::shared(name, ""))
    }

    /// The same, of a keeper whose hosts leave soon.
    fn parked(name: &str) -> Self {
        Self::new(name, Service::shared(name, "--when-idle park --idle-timeout 6s"))
    }

    fn new(name: &str, service: Service) -> Self {
        install_guest("actor.cwasm", "actor");
        let folder = format!("wasm-sock/{name}");
        let settings = format!("ConfigurationDirectory=\nConfigurationDirectory={folder}\n");
        service.drop_in("own-folder", &format!("[Service]\n{settings}"));
        let folder = Path::new("/etc").join(folder);
        fs::create_dir_all(folder.join("handlers.d")).unwrap();
        Self { service, folder }
    }

    /// As editors do it.
    fn write(&self, file: &str, text: &str) {
        let new = self.folder.join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join(file)).unwrap();
    }

    fn configure(&self, text: &str) {
        self.write("wasm-sock.toml", text);
    }

    /// `systemctl reload`. A host answers before it tells systemd that it is ready; until then, a reload is the start.
    fn reload(&self) -> Output {
        eventually("the service has started", || {
            self.service.property("ActiveState") != "activating"
        });
        let command = Command::new("systemctl").args(["reload", &self.service.unit]).output();
        command.expect("run systemctl")
    }

    #[track_caller]
    fn expect_reload(&self) {
        let Output { status, stderr, .. } = self.reload();
        let said = String::from_utf8_lossy(&stderr);
        let journal = self.service.journal().join("\n");
        assert!(status.success(), "{status}: {said}\n{journal}");
    }

    fn log_has(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || {
            self.service.journal().iter().any(|line| line.contains(text))
        });
    }
}

/// The handler tells its environment, in which there is this colour.
fn coloured(handler: &str, colour: &str) -> String {
    format!("[handler.{handler:?}]\nmodule = \"actor.cwasm\"\nargs = [\"env\"]\nenv = {{ COLOUR = {colour:?} }}\n")
}

/// The handler lists this folder.
fn listing(handler: &str, folder: &str) -> String {
    let dirs = format!("dirs = [{{ host = {folder:?}, guest = \"/d\" }}]");
    format!("[handler.{handler:?}]\nmodule = \"actor.cwasm\"\nargs = [\"files\", \"/d\"]\n{dirs}\n")
}

fn colour(address: &Address) -> String {
    let answer = address.knock().text();
    let colour = answer.lines().find_map(|line| line.strip_prefix("COLOUR="));
    colour.unwrap_or_else(|| panic!("no colour: {answer}")).to_owned()
}

#[test]
fn a_reload_is_over_when_the_host_has_applied_the_settings() {
    let it = Reloaded::shared("reload-good");
    it.configure(&coloured("reload-good", "red"));
    let socket = it.service.listen("reload-good.socket", "");
    assert_eq!(colour(&socket.address), "red");
    let process = it.service.process();
    for round in 0..20 {
        let new = format!("shade-{round}");
        it.configure(&coloured("reload-good", &new));
        it.expect_reload();
        assert_eq!(colour(&socket.address), new);
    }
    assert_eq!(it.service.process(), process, "it is another host");
    it.log_has("reload: applied: new connections get the new settings of reload-good");
}

#[test]
fn a_parked_service_is_reloaded_awake_and_asleep() {
    let it = Reloaded::parked("reload-parked");
    it.configure(&coloured("reload-parked", "red"));
    let socket = it.service.listen("reload-parked.socket", "");
    assert_eq!(colour(&socket.address), "red");
    let keeper = it.service.process();
    it.configure(&coloured("reload-parked", "green"));
    it.expect_reload();
    it.log_has("reload: applied: new connections get the new settings of reload-parked");
    assert_eq!(colour(&socket.address), "green");
    let asleep = || it.service.property("StatusText").starts_with("asleep since ");
    eventually("the host has left", asleep);
    it.configure(&coloured("reload-parked", "blue"));
    it.expect_reload();
    assert!(asleep(), "the reload has started a host");
    // A mistake is told also while no host could.
    it.write("handlers.d/reload-parked.toml", "[handler.reload-parked]\nmemroy = 1\n");
    assert!(!it.reload().status.success(), "the reload did not fail");
    fs::remove_file(it.folder.join("handlers.d/reload-parked.toml")).unwrap();
    assert_eq!(colour(&socket.address), "blue");
    // What needs a new host: the keeper starts it, and the service stays what it was.
    it.configure(&listing("reload-parked", "/usr"));
    it.expect_reload();
    eventually("the next host lists the folder", || {
        socket.address.knock().text().contains("bin")
    });
    assert_eq!(it.service.process(), keeper, "it is another keeper");
    assert_eq!(it.service.property("NRestarts"), "0");
}

#[test]
fn a_bad_file_fails_the_reload_and_changes_nothing() {
    let it = Reloaded::shared("reload-bad");
    it.configure(&coloured("reload-bad", "red"));
    let socket = it.service.listen("reload-bad.socket", "");
    assert_eq!(colour(&socket.address), "red");
    let process = it.service.process();
    it.write(
        "handlers.d/reload-bad.toml",
        "[handler.reload-bad]\nmemroy = 1\ntimeuot = 1\n",
    );
    let Output { status, .. } = it.reload();
    assert!(!status.success(), "the reload did not fail");
    for mistake in [
        "reload-bad.toml:2:1: unknown key \"memroy\"",
        ":3:1: unknown key \"timeuot\"",
    ] {
        it.log_has(mistake);
    }
    assert_eq!(it.service.property("ReloadResult"), "exit-code");
    assert_eq!(
        (it.service.process(), it.service.property("ActiveState").as_str()),
        (process, "active")
    );
    assert_eq!(colour(&socket.address), "red");
    // The file of a handler that this service does not serve.
    fs::remove_file(it.folder.join("handlers.d/reload-bad.toml")).unwrap();
    it.write("handlers.d/other.toml", "[handler.other]\nmemroy = 1\n");
    it.configure(&coloured("reload-bad", "green"));
    it.expect_reload();
    assert_eq!(colour(&socket.address), "green");
    assert_eq!(it.service.process(), process);
}

/// Each instance reads its own handler only, whatever characters are in its name.
#[test]
fn instances_of_the_template_are_reloaded_for_their_handler() {
    install();
    for (handler, instance) in [
        ("reload_plain", "reload_plain"),
        ("reload-dash", r"reload\x2ddash"),
        ("reload-raw", "reload-raw"),
        ("reload $HOME %h", r"reload\x20\x24HOME\x20\x25h"),
    ] {
        let it = Reloaded::new("reload-template", Service::of_template(instance, ""));
        // Also when it is the CLI that has to know the name: no counters.
        let without = "[Service]\nRuntimeDirectory=\nEnvironment=RUNTIME_DIRECTORY=/nowhere\n";
        for counters in ["[Service]\n", without] {
            it.service.drop_in("counters", counters);
            it.configure(&coloured(handler, "red"));
            let name = handler.replace('%', "%%");
            let socket = it.service.listen(
                &format!("wasm-sock@{instance}.socket"),
                &format!("FileDescriptorName={name}"),
            );
            assert_eq!(colour(&socket.address), "red");
            it.write(&format!("handlers.d/{handler}.toml"), "[handler]\nx = 1\n");
            let failed = !it.reload().status.success();
            // systemd replaces `$HOME` in the command: then it is only the host that notices.
            assert!(failed || handler.contains('$'), "{handler} with {counters}");
            fs::remove_file(it.folder.join(format!("handlers.d/{handler}.toml"))).unwrap();
            it.configure(&coloured(handler, "green"));
            it.expect_reload();
            eventually("the new settings are there", || colour(&socket.address) == "green");
            systemctl(&["stop", &socket.unit, &it.service.unit]);
        }
    }
}

/// A client that asks again and again, until it is told to stop.
fn hammer(socket: &Socket, done: &AtomicBool, answered: &AtomicU32) {
    while !done.load(Relaxed) {
        let answer = socket.address.knock();
        let text = answer.text();
        assert!(text.contains("entry: in-") || text.contains("COLOUR="), "{answer:?}");
        answer.expect_whole(&text);
        answered.fetch_add(1, Relaxed);
    }
}

#[test]
fn narrowing_and_widening_under_load_succeed_and_lose_no_client() {
    let it = Reloaded::shared("reload-load");
    let name = "reload-load";
    let hold = "[handler.reload-hold]\nmodule = \"actor.cwasm\"\nargs = [\"pingpong\"]\ntimeout = \"10min\"\n";
    let configure = |settings: String| it.configure(&format!("[host]\ndrain-timeout = \"1h\"\n{hold}{settings}"));
    for folder in ["a", "b"] {
        let folder = format!("/srv/reload/{folder}");
        fs::create_dir_all(&folder).unwrap();
        fs::write(format!("{folder}/in-{}", folder.len()), "").unwrap();
    }
    configure(coloured(name, "red"));
    let socket = it.service.listen("reload-load.socket", "");
    let held = it.service.listen("reload-hold.socket", "");
    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| hammer(&socket, &done, &answered));
        }
        let steps = scope.spawn(|| {
            for round in 0..4 {
                let mut open = held.address.connect();
                let mut echoes = |word: &str| {
                    open.send(format!("{word}\n"));
                    assert_eq!(open.line(), word);
                };
                echoes("before");
                let process = it.service.process();
                // Narrower, or the same: in place.
                configure(coloured(name, "green"));
                it.expect_reload();
                assert_eq!(it.service.process(), process, "round {round}");
                echoes("in place");
                configure(listing(name, &format!("/srv/reload/{}", ["a", "b"][round % 2])));
                it.expect_reload();
                echoes("handed over");
                open.finish();
                open.answer().expect_whole("");
                eventually("the next host is there", || {
                    it.service.process().is_some_and(|next| Some(next) != process)
                });
                let more = answered.load(Relaxed) + 50;
                eventually("clients go on", || answered.load(Relaxed) > more);
            }
        });
        let steps = steps.join();
        done.store(true, Relaxed);
        steps.unwrap();
    });
    it.service.assert_never_failed();
    assert_eq!(it.service.property("ReloadResult"), "success");
    it.log_has("reload: reload-load needs to read and list /srv/reload/b, which the running host cannot get");
    socket.assert_open();
}

#[test]
fn an_idle_host_that_hands_over_has_reloaded_all_the_same() {
    let it = Reloaded::shared("reload-idle");
    it.configure(&coloured("reload-idle", "red"));
    let socket = it.service.listen("reload-idle.socket", "");
    for folder in ["/srv/reload-1", "/srv/reload-2", "/srv/reload-3"] {
        fs::create_dir_all(folder).unwrap();
        socket.address.knock();
        it.configure(&listing("reload-idle", folder));
        it.expect_reload();
        it.service.wait_until_asleep();
    }
    it.service.assert_never_failed();
    socket.assert_open();
}

#[test]
fn people_reload_the_hosts_of_a_handler_by_its_name() {
    let it = Reloaded::new("reload-people", Service::of_template("reload_people", ""));
    let reload = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/wasm-sock");
        command.arg("reload").args(arguments);
        command.arg("--config").arg(it.folder.join("wasm-sock.toml"));
        command
    };
    it.configure(&coloured("reload_people", "red"));
    let said = output(&mut reload(&["reload_people"]));
    assert!(said.contains("reload_people: no host is running"), "{said}");
    let socket = it
        .service
        .listen("wasm-sock@reload_people.socket", "FileDescriptorName=reload_people");
    assert_eq!(colour(&socket.address), "red");
    it.configure(&coloured("reload_people", "green"));
    let said = output(&mut reload(&["reload_people"]));
    assert_eq!(said, "reload_people: reloaded (wasm-sock@reload_people.service)\n");
    assert_eq!(colour(&socket.address), "green");
    it.configure("[handler.reload_people]\nmemroy = 1\n");
    let failed = reload(&["reload_people"]).output().expect("run it");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(78), "{said}");
    assert!(said.contains("wasm-sock.toml:2:1: unknown key \"memroy\""), "{said}");
    assert_eq!(colour(&socket.address), "green");
}
