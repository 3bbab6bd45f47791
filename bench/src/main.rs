//! Measures what SPECIFICATION.md promises. Machines are noisy, so each number is a ratio to a
//! baseline that ran in turn with it, in the same minute.

mod activate;
mod artifacts;
mod authority;
mod clients;
mod cold;
mod datagrams;
mod grants;
mod handlers;
mod http;
mod machine;
mod memory;
mod options;
mod outgoing;
mod parked;
mod peers;
mod plot;
mod process;
mod promises;
mod report;
mod scale;
mod statistics;
mod store;
mod tree;
mod turns;
mod warm;
mod watchdog;
mod way_out;

use artifacts::Artifacts;
use options::{Effort, Options};
use peers::Peers;
use process::Program;
use report::Report;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Nobody who is well takes so long to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of the repository, in which we were built.
const SPECIFICATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPECIFICATION.md");
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bench");

/// What belongs together, and can be asked for alone.
struct Chapter {
    name: &'static str,
    measure: fn(&Bench, &mut Report) -> Result<()>,
}

const CHAPTERS: [Chapter; 10] = [
    Chapter {
        name: "cold",
        measure: cold::measure,
    },
    Chapter {
        name: "parked",
        measure: parked::measure,
    },
    Chapter {
        name: "memory",
        measure: memory::measure,
    },
    Chapter {
        name: "warm",
        measure: warm::measure,
    },
    Chapter {
        name: "http",
        measure: http::measure,
    },
    Chapter {
        name: "outgoing",
        measure: outgoing::measure,
    },
    Chapter {
        name: "store",
        measure: store::measure,
    },
    Chapter {
        name: "datagrams",
        measure: datagrams::measure,
    },
    Chapter {
        name: "scale",
        measure: scale::measure,
    },
    Chapter {
        name: "size",
        measure: size,
    },
];

/// What all chapters need.
struct Bench {
    build: PathBuf,
    /// For files that nobody needs afterwards.
    scratch: PathBuf,
    artifacts: Artifacts,
    peers: Peers,
    effort: Effort,
}

impl Bench {
    /// The host with one module for all sockets. The cache is beside the module.
    fn host(&self, world: &str, guest: &str) -> Program {
        Program::new([self.build.join("wasm-sock")])
            .arguments(["host", "--module"])
            .arguments([self.artifacts.path(world, guest)])
            .variable("CACHE_DIRECTORY", self.artifacts.cache())
    }

    /// The same, which stays however long it waits for its turn.
    fn awake_host(&self, world: &str, guest: &str) -> Program {
        self.host(world, guest).arguments(["--idle-timeout", "infinity"])
    }
}

fn main() -> ExitCode {
    match options::read(std::env::args().skip(1)).and_then(|options| measure(&options)) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("bench: {error}");
            2.into()
        }
    }
}

fn measure(options: &Options) -> Result<u8> {
    let effort = options.effort;
    let wanted = scale::descriptors(effort.idle);
    let allowed = process::raise_descriptor_limit(wanted)?;
    if allowed < wanted {
        println!("only {allowed} descriptors are allowed, {wanted} were wanted");
    }
    let build = options.build.canonicalize()?;
    let scratch = tempfile::tempdir()?;
    let bench = Bench {
        artifacts: Artifacts::compile(&build, scratch.path(), effort.smoke)?,
        scratch: scratch.path().into(),
        peers: Peers::new(&build),
        effort,
        build,
    };
    let text = fs::read_to_string(SPECIFICATION)?;
    let mut report = Report::new(&text);
    for chapter in CHAPTERS {
        if options.wants(chapter.name) {
            watchdog::expect_within(chapter.name, effort.chapter_at_most);
            report.begin(chapter.name);
            (chapter.measure)(&bench, &mut report).map_err(|error| format!("{}: {error}", chapter.name))?;
        }
    }
    watchdog::leave();
    let folder = bench.build.join("bench");
    let outcome = report.finish(&folder, effort.smoke)?;
    if options.record {
        fs::write(SPECIFICATION, promises::with_measured(&text, &outcome.measured))?;
        copy_results(&folder, Path::new(COMMITTED))?;
    }
    Ok(outcome.exit_code)
}

fn size(bench: &Bench, report: &mut Report) -> Result<()> {
    let bytes = fs::metadata(bench.build.join("wasm-sock"))?.len();
    report.measure("wasm-sock on disk", bytes as f64)
}

fn copy_results(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let is_result = |kind: &std::ffi::OsStr| kind == "svg" || kind == "md";
        if let (Some(name), true) = (path.file_name(), path.extension().is_some_and(is_result)) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Runs a program that has to succeed.
fn run(program: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    if !status.success() {
        return Err(format!("{} {}: {status}", program.display(), arguments.join(" ")).into());
    }
    Ok(())
}
