//! What lies in the cache is native code, and is trusted as every `.cwasm` is: for who may have written it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use harness::{Address, BOTH, Kind, World, eventually, second_version};

use crate::entries;

/// A user who is neither root nor the one that the host runs as.
const STRANGER: u32 = 4242;

/// What a module is installed as, and how many entries the cache has for it: of a `.wasm` what it was compiled to,
/// by its content and by the file; of a `.cwasm` a copy.
const FORMS: [(&str, usize); 2] = [("wasm", 2), ("cwasm", 1)];

/// A handler that answers `version 1`, for which the cache has an entry; and native code to put in its place
/// that answers `edition 1`.
struct Kept {
    world: World,
    address: Address,
    entries: Vec<PathBuf>,
    other: Vec<u8>,
}

impl Kept {
    fn new(kind: Kind, (form, count): (&str, usize)) -> Self {
        let world = World::new(kind);
        let other = world.compile(&second_version(kind), "other");
        let other = fs::read(other).expect("read native code");
        match form {
            "wasm" => world.install_wasm("kept", "actor"),
            _ => world.install("kept", "actor"),
        };
        // What was written this very moment is not copied.
        sleep(Duration::from_millis(600));
        world.configure("[handler.kept]\nargs = [\"version\"]\n");
        let address = world.tcp("kept");
        let host = world.start(&[]);
        address.knock().expect_whole("version 1\n");
        let folder = world.path("cache/modules");
        let mut names = Vec::new();
        eventually("the cache has its entries", || {
            names = entries(&folder);
            names.len() == count && names.iter().all(|name| name.ends_with(".cwasm"))
        });
        drop(host);
        Self {
            entries: names.iter().map(|name| folder.join(name)).collect(),
            world,
            address,
            other,
        }
    }

    /// Puts the other module's native code into the cache, spoils who may have written it, and expects `answer`.
    fn answers(&self, answer: &str, spoil: impl Fn(&Path)) -> String {
        for entry in &self.entries {
            fs::remove_file(entry).expect("remove the entry");
            fs::write(entry, &self.other).expect("write another entry");
            chmod(entry, 0o600);
            spoil(entry);
        }
        let host = self.world.start(&[]);
        self.address.knock().expect_whole(answer);
        host.log.text()
    }

    /// The folder of the entries, as the host makes it.
    fn mend_folder(&self) {
        let folder = folder_of(&self.entries[0]);
        let us = rustix::process::geteuid().as_raw();
        chmod(folder, 0o700);
        chown(folder, Some(us), None).expect("chown");
    }
}

fn folder_of(entry: &Path) -> &Path {
    entry.parent().expect("the folder of the cache")
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Each of these ways to spoil an entry keeps it from being loaded, and a warning says why.
fn is_passed_over(why: &str, spoils: &[&dyn Fn(&Path)]) {
    for kind in BOTH {
        for form in FORMS {
            let kept = Kept::new(kind, form);
            // Where only this user can have written it, it is loaded: what follows is not about its content.
            kept.answers("edition 1\n", |_| ());
            for spoil in spoils {
                let log = kept.answers("version 1\n", spoil);
                kept.mend_folder();
                // That a copy is of no use goes without saying: its original is loaded instead.
                let passed_over = log.contains("cached module ignored: ");
                assert_eq!(passed_over, form.0 == "wasm", "{log}");
                assert_eq!(log.contains(why), form.0 == "wasm", "{log}");
            }
        }
    }
}

#[test]
fn native_code_that_others_may_have_written_is_not_loaded_from_the_cache() {
    is_passed_over(
        "can be written by others",
        &[
            &|entry| chmod(entry, 0o620),
            &|entry| chmod(entry, 0o602),
            &|entry| chmod(folder_of(entry), 0o720),
            &|entry| chmod(folder_of(entry), 0o702),
        ],
    );
}

#[test]
fn native_code_of_another_user_is_not_loaded_from_the_cache() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("only root can give a file away");
    }
    let give_away = |path: &Path| chown(path, Some(STRANGER), None).expect("chown");
    is_passed_over(
        &format!("belongs to user {STRANGER}"),
        &[&|entry| give_away(entry), &|entry| {
            give_away(folder_of(entry));
        }],
    );
}
