//! The precompiled guests that are measured.

use crate::{Result, run};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

/// Those that the measurements cannot do without.
const GUESTS: [(&str, &[&str]); 3] = [
    ("p1", &["hello", "echo", "idle"]),
    ("p2", &["hello", "echo", "http-hello", "http-fetch", "keyvalue-actor"]),
    ("p3", &["http-actor"]),
];

/// Those of 13 and 18 MB, which not everybody has built.
const BIG: [&str; 2] = ["http-js", "http-python"];

pub struct Artifacts {
    guests: PathBuf,
    /// Where they are kept from run to run.
    kept: PathBuf,
    /// Where they are measured: as far from the root as the folder that is meant for them, for each folder
    /// above a module is looked at.
    folder: PathBuf,
}

impl Artifacts {
    /// Compiles what is not there yet or is older than what it was made of. Big guests take half a
    /// minute each; a quick run does without those that are not compiled yet.
    pub fn compile(build: &Path, scratch: &Path, quick: bool) -> Result<Self> {
        let artifacts = Self {
            guests: build.join("guests"),
            kept: build.join("bench/guests"),
            folder: scratch.join("modules"),
        };
        fs::create_dir_all(&artifacts.kept)?;
        fs::create_dir_all(&artifacts.folder)?;
        for (world, guests) in GUESTS {
            for guest in guests {
                artifacts.make(build, world, guest)?;
            }
        }
        for guest in BIG {
            let known = artifacts.kept("p2", guest).exists();
            if artifacts.module("p2", guest).exists() && (known || !quick) {
                artifacts.make(build, "p2", guest)?;
            }
        }
        // What was written this very moment is not copied to the cache.
        thread::sleep(Duration::from_secs(1));
        Ok(artifacts)
    }

    fn make(&self, build: &Path, world: &str, guest: &str) -> Result<()> {
        let (module, kept) = (self.module(world, guest), self.kept(world, guest));
        let program = build.join("wasm-sock");
        let time = |path: &Path| fs::metadata(path)?.modified();
        let made = time(&kept).ok();
        for source in [&module, &program, &build.join("wasm-sock-compile")] {
            let changed = time(source).map_err(|error| format!("{}: {error}", source.display()))?;
            if made.is_none_or(|made| made < changed) {
                let [from, to] = [&module, &kept].map(|path| path.display().to_string());
                run(&program, &["compile", &from, "-o", &to])?;
                break;
            }
        }
        fs::copy(&kept, self.path(world, guest))?;
        Ok(())
    }

    fn kept(&self, world: &str, guest: &str) -> PathBuf {
        self.kept.join(format!("{guest}-{world}.cwasm"))
    }

    /// `world` is `p1` (core modules), `p2` (components) or `p3` (those of WASI 0.3).
    pub fn path(&self, world: &str, guest: &str) -> PathBuf {
        self.folder.join(format!("{guest}-{world}.cwasm"))
    }

    /// What it was compiled from.
    pub fn module(&self, world: &str, guest: &str) -> PathBuf {
        self.guests.join(format!("{world}/{guest}.wasm"))
    }

    pub fn has(&self, world: &str, guest: &str) -> bool {
        self.path(world, guest).exists()
    }

    /// `$CACHE_DIRECTORY`, which the unit of a service makes (`systemd.exec(5)`).
    pub fn cache(&self) -> PathBuf {
        self.folder.with_file_name("cache")
    }
}
