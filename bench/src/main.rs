//! Measures what wasm-sock promises. Nothing here is a test: machines are noisy, so each number
//! is a ratio to a baseline that ran in turn with it, in the same minute.

mod activate;
mod load;
mod memory;
mod statistics;

use activate::{Program, cold_start};
use statistics::Times;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A promise: the number, and its bound.
struct Promise {
    what: String,
    measured: f64,
    bound: f64,
    unit: &'static str,
    /// A promise is an upper bound; of a few, the lower one.
    at_least: bool,
}

impl Promise {
    fn at_most(what: impl Into<String>, measured: f64, bound: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            measured,
            bound,
            unit,
            at_least: false,
        }
    }

    fn at_least(what: impl Into<String>, measured: f64, bound: f64, unit: &'static str) -> Self {
        Self {
            at_least: true,
            ..Self::at_most(what, measured, bound, unit)
        }
    }

    fn holds(&self) -> bool {
        if self.at_least {
            self.measured >= self.bound
        } else {
            self.measured <= self.bound
        }
    }
}

fn main() -> Result<()> {
    activate::raise_descriptor_limit()?;
    let mut arguments = env::args().skip(1);
    let build = PathBuf::from(arguments.next().unwrap_or_else(|| "build".into())).canonicalize()?;
    let rounds: usize = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let work = tempfile::tempdir()?;
    let artifacts = compile_guests(&build, work.path())?;
    // What was written this very moment is not copied to the cache.
    thread::sleep(Duration::from_secs(1));
    let mut promises = Vec::new();
    cold(&build, &artifacts, rounds, &mut promises)?;
    many_sockets(&build, &artifacts, rounds / 4, &mut promises)?;
    memory::measure(&build, &artifacts, &mut promises)?;
    load::http(&build, &artifacts, &load::wasmtime(&build), &mut promises)?;
    load::udp(&build, &artifacts, &mut promises)?;
    let size = fs::metadata(build.join("wasm-sock"))?.len() as f64 / f64::from(1 << 20);
    promises.push(Promise::at_most("wasm-sock on disk", size, 6.0, "MiB"));
    report(&promises);
    Ok(())
}

/// The precompiled guests that are measured, in one folder.
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// `world` is `p1` (core modules) or `p2` (components).
    pub fn path(&self, world: &str, guest: &str) -> PathBuf {
        self.folder.join(format!("{guest}-{world}.cwasm"))
    }
}

fn compile_guests(build: &Path, folder: &Path) -> Result<Artifacts> {
    let artifacts = Artifacts {
        folder: folder.to_owned(),
    };
    for (world, guests) in [
        ("p1", &["hello", "echo", "idle"][..]),
        ("p2", &["hello", "echo", "http-hello"]),
        ("p3", &["http-actor"]),
    ] {
        for guest in guests {
            let status = std::process::Command::new(build.join("wasm-sock"))
                .arg("compile")
                .arg(build.join(format!("guests/{world}/{guest}.wasm")))
                .arg("-o")
                .arg(artifacts.path(world, guest))
                .status()?;
            if !status.success() {
                return Err(format!("cannot compile {guest} for {world}").into());
            }
        }
    }
    Ok(artifacts)
}

/// Just before `execve` to the first byte of the answer, with the connection already pending.
fn cold(
    build: &Path,
    artifacts: &Artifacts,
    rounds: usize,
    promises: &mut Vec<Promise>,
) -> Result<()> {
    let guest = |world, guest| host(build, &artifacts.path(world, guest));
    let script = ["/usr/bin/python3".into(), build.join("baseline.py")];
    let contenders = [
        ("static C", Program::new(&[build.join("baseline")])),
        ("hello, core module", guest("p1", "hello")),
        ("hello, component", guest("p2", "hello")),
        ("http-hello, HTTP 0.2", guest("p2", "http-hello")),
        ("Python script", Program::new(&script)),
    ];
    let words = |name: &str| match name.contains("HTTP") {
        true => load::REQUEST,
        false => b"",
    };
    for (name, program) in &contenders {
        activate::settle(program, words(name))?;
    }
    let mut times: Vec<Times> = contenders.iter().map(|_| Times::default()).collect();
    for round in 0..rounds {
        for ((name, program), times) in contenders.iter().zip(&mut times) {
            // The script takes a hundred times as long, and its time is not in doubt.
            if *name == "Python script" && round % 10 != 0 {
                continue;
            }
            times.add(cold_start(program, 1, words(name))?);
        }
    }
    println!("cold start, execve to first byte   p10 µs  median µs  × static C (p10, median)");
    for ((name, _), own) in contenders.iter().zip(&times) {
        let (p10, median) = own.ratio_to(&times[0]);
        println!(
            "  {name:32} {:8.0} {:10.0}  {p10:6.2} {median:6.2}",
            own.p10(),
            own.median()
        );
    }
    let kinds = [
        (1, "core module", 6.5),
        (2, "component", 9.0),
        (3, "HTTP component", 11.0),
    ];
    for (index, kind, bound) in kinds {
        let (_, ratio) = times[index].ratio_to(&times[0]);
        let what = format!("cold start, {kind}");
        promises.push(Promise::at_most(what, ratio, bound, "× static C"));
        let (_, ratio) = times[4].ratio_to(&times[index]);
        let what = format!("faster than the Python script, {kind}");
        promises.push(Promise::at_least(what, ratio, 15.0, "×"));
    }
    Ok(())
}

/// A thousand sockets were passed, and somebody waits at one of them.
fn many_sockets(
    build: &Path,
    artifacts: &Artifacts,
    rounds: usize,
    promises: &mut Vec<Promise>,
) -> Result<()> {
    let program = host(build, &artifacts.path("p1", "hello"));
    let (mut one, mut thousand) = (Times::default(), Times::default());
    for _ in 0..rounds {
        one.add(cold_start(&program, 1, b"")?);
        thousand.add(cold_start(&program, 1000, b"")?);
    }
    println!("inherited sockets                  p10 µs  median µs");
    for (name, times) in [("one", &one), ("1,000, one of them ready", &thousand)] {
        println!("  {name:32} {:8.0} {:10.0}", times.p10(), times.median());
    }
    let ratio = thousand.ratio_to(&one).1;
    promises.push(Promise::at_most(
        "1,000 sockets",
        ratio,
        2.0,
        "× one socket",
    ));
    Ok(())
}

/// The host with one module for all sockets. The cache is beside the module.
pub fn host(build: &Path, module: &Path) -> Program {
    let arguments = [
        build.join("wasm-sock"),
        "host".into(),
        "--module".into(),
        module.to_owned(),
    ];
    Program::new(&arguments).with_cache(&module.with_file_name("cache"))
}

fn report(promises: &[Promise]) {
    println!("\npromise                                       measured     bound");
    for promise in promises {
        let Promise {
            what,
            measured,
            bound,
            unit,
            ..
        } = promise;
        let sign = if promise.at_least { '≥' } else { '≤' };
        let verdict = if promise.holds() { "" } else { "  BROKEN" };
        println!("  {what:42} {measured:9.2} {sign} {bound:6.2} {unit}{verdict}");
    }
}
