//! A snapshot says what was read, or nothing.

use super::*;
use crate::module::Files;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tempfile::TempDir;

/// A configuration, its modules and a cache.
struct World {
    folder: TempDir,
    cache: Cache,
}

impl World {
    /// With so many handlers, each of which has a module.
    fn new(handlers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("modules");
        fs::create_dir(&modules).unwrap();
        let mut text = format!("[host]\nmodules = {modules:?}\n");
        for index in 0..handlers {
            fs::write(modules.join(format!("h{index}.cwasm")), "").unwrap();
            text += &format!("[handler.h{index}]\nargs = [\"{index}\"]\nmax-log = {}\n", index + 1);
        }
        let cache = Cache::at(&folder.path().join("cache"));
        let world = Self { folder, cache };
        world.write(&text);
        world
    }

    fn write(&self, text: &str) {
        fs::write(self.main_file(), text).unwrap();
    }

    fn main_file(&self) -> PathBuf {
        self.folder.path().join("wasm-sock.toml")
    }

    /// As a start some time from now has them.
    fn snapshots(&self) -> Snapshots<'_> {
        let mut snapshots =
            Snapshots::new(Some(&self.cache), Some(&self.main_file()), &environment(&|_| None)).unwrap();
        snapshots.started += Duration::from_secs(60);
        snapshots
    }

    fn load(&self) -> Config {
        Config::load(Some(&self.main_file()), &environment(&|_| None)).unwrap()
    }

    fn needs(&self, config: &Config, sockets: &[Socket]) -> Needs {
        let mut needs = Needs::default();
        for Socket { name, .. } in sockets {
            let settings = config.handler(name);
            needs.add(&settings, &Files::of(name, &settings, &config.host.modules));
        }
        needs
    }

    /// What a start with these sockets does.
    fn keep(&self, sockets: &[Socket]) -> (Config, Needs) {
        let config = self.load();
        let needs = self.needs(&config, sockets);
        self.snapshots().keep(&config, &needs, sockets);
        (config, needs)
    }
}

fn environment(variable: &dyn Fn(&str) -> Option<OsString>) -> Environment<'_> {
    Environment {
        user_manager: false,
        variable,
    }
}

fn sockets(count: usize) -> Vec<Socket> {
    let socket = |index| Socket {
        name: format!("h{index}"),
        fd: OwnedFd::from(File::open("/dev/null").unwrap()),
        ready: false,
    };
    (0..count).map(socket).collect()
}

#[test]
fn it_says_what_was_read() {
    let (world, sockets) = (World::new(MANY), sockets(MANY));
    let (config, needs) = world.keep(&sockets);
    let snapshot = world.snapshots().open().expect("a snapshot");
    assert_eq!(snapshot.needs(&sockets), Some(needs));
    assert_eq!(snapshot.config.host, config.host);
    for name in config.handlers.keys().map(String::as_str).chain(["other"]) {
        let expected = crate::config::HandlerConfig {
            place: None,
            ..config.handler(name).into_owned()
        };
        assert_eq!(*snapshot.config.handler(name), expected);
    }
}

#[test]
fn a_configuration_that_changed_in_any_way_is_read_again() {
    type Change = fn(&World);
    let changes: [Change; 4] = [
        |world| world.write("[handler.h1]\n"),
        |world| fs::remove_file(world.main_file()).unwrap(),
        |world| fs::create_dir(world.folder.path().join("handlers.d")).unwrap(),
        |world| {
            let (old, new) = (world.main_file(), world.folder.path().join("new"));
            fs::copy(&old, &new).unwrap();
            fs::rename(new, old).unwrap();
        },
    ];
    for change in changes {
        let world = World::new(MANY);
        world.keep(&[]);
        assert!(world.snapshots().open().is_some());
        change(&world);
        assert!(world.snapshots().open().is_none());
    }
}

#[test]
fn a_file_that_may_still_change_unseen_is_not_kept() {
    let world = World::new(MANY);
    let config = world.load();
    let mut snapshots = world.snapshots();
    snapshots.started = SystemTime::now();
    snapshots.keep(&config, &Needs::default(), &[]);
    assert!(world.snapshots().open().is_none());
}

#[test]
fn a_damaged_one_is_none() {
    let world = World::new(MANY);
    world.keep(&[]);
    let path = world.snapshots().path();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert!(world.snapshots().open().is_none(), "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(world.snapshots().open().is_none(), "{at} bytes");
    }
}

#[test]
fn what_another_program_wrote_is_none() {
    let world = World::new(MANY);
    world.keep(&[]);
    let mut snapshot = world.snapshots().open().unwrap();
    snapshot.program = FileStamp::at(&world.main_file()).unwrap().unwrap();
    world.snapshots().store(&snapshot);
    assert!(world.snapshots().open().is_none());
}

#[test]
fn needs_are_those_of_the_same_sockets_and_modules() {
    let (world, sockets) = (World::new(MANY), sockets(MANY));
    world.keep(&sockets);
    let snapshot = world.snapshots().open().unwrap();
    assert!(snapshot.needs(&sockets).is_some());
    assert!(snapshot.needs(&sockets[1..]).is_none());
    fs::write(world.folder.path().join("modules/h1.wasm"), "").unwrap();
    assert!(snapshot.needs(&sockets).is_none());
}

#[test]
fn needs_that_a_link_led_to_are_found_out_each_time() {
    let (world, sockets) = (World::new(MANY), sockets(MANY));
    let module = world.folder.path().join("modules/h1.cwasm");
    fs::rename(&module, world.folder.path().join("elsewhere.cwasm")).unwrap();
    symlink("../elsewhere.cwasm", module).unwrap();
    world.keep(&sockets);
    let snapshot = world.snapshots().open().expect("a snapshot");
    assert!(snapshot.needs(&sockets).is_none());
}

#[test]
fn a_small_configuration_is_not_kept() {
    let world = World::new(MANY - 1);
    world.keep(&sockets(MANY - 1));
    assert!(world.snapshots().open().is_none());
}
