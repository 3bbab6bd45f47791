//! Each step fails, or the process is killed there: afterwards everything is as before.

use super::*;
use crate::installation::interrupt::Interrupts;
use crate::installation::record::Installed;
use crate::installation::removal;
use crate::installation::scope::Places;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

/// A manager that knows which units are active, and whose calls may fail.
#[derive(Default)]
struct Pretended {
    active: RefCell<BTreeSet<String>>,
    calls: Cell<usize>,
    /// The number of the call that fails, once.
    fails_at: Option<usize>,
}

impl Pretended {
    fn with(active: &[&str], fails_at: Option<usize>) -> Self {
        let active = active.iter().map(|unit| (*unit).to_owned()).collect();
        Self {
            active: RefCell::new(active),
            fails_at,
            ..Self::default()
        }
    }

    fn call(&self) -> Result<(), String> {
        self.calls.set(self.calls.get() + 1);
        match self.fails_at == Some(self.calls.get()) {
            true => Err(format!("call {} fails", self.calls.get())),
            false => Ok(()),
        }
    }
}

impl Manager for Pretended {
    fn daemon_reload(&self) -> Result<(), String> {
        self.call()
    }

    fn start(&self, units: &[String]) -> Result<(), String> {
        // Half of them are started when it fails.
        self.active.borrow_mut().extend(units.iter().take(1).cloned());
        self.call()?;
        self.active.borrow_mut().extend(units.iter().cloned());
        Ok(())
    }

    fn stop(&self, units: &[String]) -> Result<(), String> {
        self.call()?;
        self.active.borrow_mut().retain(|unit| !units.contains(unit));
        Ok(())
    }

    fn reload(&self, _: &str) -> Result<(), String> {
        self.call()
    }

    fn active(&self, units: &[String]) -> Result<BTreeSet<String>, String> {
        self.call()?;
        let active = self.active.borrow();
        Ok(units.iter().filter(|unit| active.contains(*unit)).cloned().collect())
    }

    fn clean(&self, _: &[String]) {}

    fn reset_failed(&self, _: &[String]) {}
}

/// A machine: folders, and units.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc", "state/modules"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        Self { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn open(&self, manager: &Pretended) -> Store {
        let places = Places {
            configuration: self.at("etc"),
            state: self.at("state"),
            cache: self.at("cache"),
            runtime: self.at("run"),
        };
        Store::open(&places, manager, &Interrupts::default(), &|_| ()).unwrap()
    }

    /// All folders and files, with their content.
    fn content(&self) -> BTreeMap<PathBuf, String> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                    found.insert(path, String::new());
                } else {
                    let content = fs::read_to_string(&path).unwrap();
                    found.insert(path, content);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.root.path(), &mut found);
        found
    }

    /// A change that installs version `version`, with its new files in the pending folder.
    fn change(&self, store: &Store, version: &str) -> Change {
        let pending = store.prepare().unwrap();
        let mut files = Vec::new();
        let mut installed = Vec::new();
        for path in ["state/modules/a.cwasm", "state/modules/a.wasm", "etc/handlers.d/a.toml"] {
            let path = self.at(path);
            let new = pending.join(path.file_name().unwrap());
            fs::write(&new, format!("{version} {}", path.display())).unwrap();
            installed.push(Installed::from(&new, &path).unwrap());
            files.push((path, Some(new)));
        }
        let units = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let is_first = version == "first";
        Change {
            record: Record {
                handler: "a".to_owned(),
                settings: self.at("etc/handlers.d/a.toml"),
                files: installed,
                folders: vec![self.at("etc/handlers.d")],
                units: units(&["a.socket", "a-2.socket"]),
                services: units(&["a.service"]),
                ..Record::default()
            },
            files,
            folders: vec![self.at("etc/handlers.d")],
            stop: if is_first { Vec::new() } else { units(&["a-2.socket"]) },
            restart: if is_first { Vec::new() } else { units(&["a.service"]) },
            start: units(if is_first {
                &["a.socket", "a-2.socket"]
            } else {
                &["a-3.socket", "a-4.socket"]
            }),
            reload: if is_first { Vec::new() } else { units(&["a.service"]) },
            were_active: if is_first {
                Vec::new()
            } else {
                units(&["a.socket", "a-2.socket"])
            },
        }
    }
}

/// Calls `disturb` with ever greater numbers of steps, until it returns false.
fn at_each_step(disturb: impl Fn(usize) -> bool) {
    for step in 1.. {
        if !disturb(step) {
            assert!(step > 5, "there are only {step} steps");
            return;
        }
    }
}

/// Installs version `first` if `is_update`; then the units that are active, and all files.
fn before(machine: &Machine, is_update: bool) -> (Vec<&'static str>, BTreeMap<PathBuf, String>) {
    if !is_update {
        return (Vec::new(), machine.content());
    }
    let manager = Pretended::default();
    let store = machine.open(&manager);
    machine
        .change(&store, "first")
        .apply(&store, &manager, &|_| Ok(()), || Ok(()))
        .unwrap();
    drop(store);
    (vec!["a.socket", "a-2.socket"], machine.content())
}

fn assert_same(
    machine: &Machine,
    manager: &Pretended,
    (units, files): &(Vec<&str>, BTreeMap<PathBuf, String>),
    at: &str,
) {
    assert_eq!(machine.content(), *files, "{at}");
    let active = manager.active.borrow();
    // A service that was stopped is started by its sockets.
    let sockets: Vec<&str> = active
        .iter()
        .map(String::as_str)
        .filter(|unit| unit.ends_with(".socket"))
        .collect();
    assert_eq!(sockets.iter().collect::<BTreeSet<_>>(), units.iter().collect(), "{at}");
}

#[test]
fn a_failure_at_any_step_leaves_everything_as_before() {
    for is_update in [false, true] {
        at_each_step(|step| {
            let machine = Machine::new();
            let before = before(&machine, is_update);
            let manager = Pretended::with(&before.0, None);
            let store = machine.open(&manager);
            let (steps, name) = (Cell::new(0), RefCell::new(String::new()));
            let fail = |what: &str| {
                steps.set(steps.get() + 1);
                what.clone_into(&mut name.borrow_mut());
                if steps.get() == step {
                    Err("no".to_owned())
                } else {
                    Ok(())
                }
            };
            let result = machine.change(&store, if is_update { "second" } else { "first" });
            let result = result.apply(&store, &manager, &fail, || Ok(()));
            drop(store);
            if result.is_ok() {
                return false;
            }
            assert_same(&machine, &manager, &before, &format!("failed at {:?}", name.borrow()));
            true
        });
    }
}

#[test]
fn when_systemd_fails_at_any_call_everything_is_as_before() {
    for is_update in [false, true] {
        at_each_step(|call| {
            let machine = Machine::new();
            let before = before(&machine, is_update);
            let manager = Pretended::with(&before.0, Some(call));
            let store = machine.open(&manager);
            let change = machine.change(&store, if is_update { "second" } else { "first" });
            // Also the last calls, those that take it back, are to fail.
            let result = change.apply(&store, &manager, &|_| Ok(()), || {
                Err::<(), _>("it does not work".to_owned())
            });
            drop(store);
            let error = result.unwrap_err();
            let taken_back = !error.contains("taking it back failed");
            if !taken_back {
                // The next command does it.
                drop(machine.open(&manager));
            }
            assert_same(&machine, &manager, &before, &format!("call {call} failed: {error}"));
            manager.calls.get() >= call
        });
    }
}

#[test]
fn after_a_kill_at_any_step_the_next_command_leaves_everything_as_before() {
    // `apply` takes nothing back when the thread is unwound: as when the process is killed.
    panic::set_hook(Box::new(|_| ()));
    for is_update in [false, true] {
        at_each_step(|step| {
            let machine = Machine::new();
            let before = before(&machine, is_update);
            let manager = Pretended::with(&before.0, None);
            let steps = Cell::new(0);
            let kill = |_: &str| {
                steps.set(steps.get() + 1);
                assert_ne!(steps.get(), step, "killed");
                Ok(())
            };
            let store = machine.open(&manager);
            let change = machine.change(&store, if is_update { "second" } else { "first" });
            let apply = || change.apply(&store, &manager, &kill, || Ok(()));
            let killed = panic::catch_unwind(AssertUnwindSafe(apply)).is_err();
            drop(store);
            if killed {
                drop(machine.open(&manager));
                assert_same(&machine, &manager, &before, &format!("killed at step {step}"));
            }
            killed
        });
    }
    let _ = panic::take_hook();
}

#[test]
fn what_was_committed_is_not_taken_back_and_an_uninstall_leaves_nothing() {
    let machine = Machine::new();
    let nothing = machine.content();
    let (_, installed) = before(&machine, true);
    let manager = Pretended::with(&["a.socket", "a-2.socket", "a.service"], None);
    let store = machine.open(&manager);
    // Killed after the rename that commits, before the folder was cleared.
    fs::create_dir(store.pending()).unwrap();
    fs::write(store.pending().join("undo.json"), "{\"broken").unwrap();
    drop(store);
    let store = machine.open(&manager);
    drop(store);
    assert_eq!(machine.content(), installed);

    let store = machine.open(&manager);
    assert_eq!(store.installed(), ["a"]);
    store.begin_removal("a", false).unwrap();
    drop(store);
    // Killed there: the next command finishes it.
    drop(machine.open(&manager));
    assert_eq!(machine.content(), nothing);
    assert!(manager.active.borrow().is_empty());
}

#[test]
fn an_uninstall_keeps_what_people_wrote() {
    for is_purge in [false, true] {
        let machine = Machine::new();
        before(&machine, true);
        let settings = machine.at("etc/handlers.d/a.toml");
        fs::write(&settings, "people's").unwrap();
        fs::write(machine.at("state/modules/a.wasm"), "people's").unwrap();
        fs::create_dir_all(machine.at("state/state/a")).unwrap();
        let manager = Pretended::default();
        let store = machine.open(&manager);
        store.begin_removal("a", is_purge).unwrap();
        let stays = removal::finish(&store, "a", is_purge, &manager).unwrap().join("\n");
        assert!(
            stays.contains("a.wasm: it is not the one that was installed"),
            "{stays}"
        );
        assert!(machine.at("state/modules/a.wasm").exists());
        assert_eq!(machine.at("etc/handlers.d/a.toml.old").exists(), !is_purge, "{stays}");
        assert_eq!(machine.at("state/state/a").exists(), !is_purge, "{stays}");
        assert!(!settings.exists());
        assert!(!machine.at("state/modules/a.cwasm").exists());
    }
}
