//! The programs of `programs.toml`: how each is prepared, compiled, and run by the host.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Address, End, Host, Kind, World, compiler, wasm_sock};
use serde::Deserialize;

use crate::outcome::{Outcome, code_of, collect, printable};

/// How long a program may say nothing: on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Corpus {
    program: Vec<Program>,
}

#[derive(Deserialize)]
pub struct Program {
    pub name: String,
    toolchain: String,
    package: String,
    file: String,
    #[serde(rename = "run")]
    runs: Vec<Run>,
}

/// One connection to a handler of this name.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Run {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// `None`: the client sends nothing, and does not end its half of the connection either.
    stdin: Option<String>,
    #[serde(default = "once")]
    repeat: usize,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    dirs: Vec<Directory>,
    /// Where Wasmtime cannot tell it.
    code: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Directory {
    guest: String,
    access: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    from: Option<String>,
    from_run: Option<String>,
}

fn once() -> usize {
    1
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// `build/corpus`.
fn corpus() -> PathBuf {
    wasm_sock().with_file_name("corpus")
}

pub fn programs() -> Vec<Program> {
    let text = fs::read_to_string(here().join("programs.toml")).expect("read programs.toml");
    let corpus: Corpus = toml::from_str(&text).expect("programs.toml is good");
    corpus.program
}

impl Program {
    pub fn named(name: &str) -> Self {
        let mut programs = programs().into_iter();
        let found = programs.find(|program| program.name == name);
        found.unwrap_or_else(|| panic!("programs.toml has no {name}"))
    }

    /// Every run of it has the outcome that it has in Wasmtime.
    #[track_caller]
    pub fn check(&self) {
        self.prepare();
        let artifact = self.compiled();
        let world = World::new(Kind::P1);
        fs::copy(artifact, world.module("program.cwasm")).expect("install the program");
        let addresses: Vec<Address> = self.runs.iter().map(|run| run.handler(self, &world)).collect();
        let host = world.start(&[]);
        let mut differences = Vec::new();
        for (run, address) in self.runs.iter().zip(&addresses) {
            let seen = run.outcome(&world, &host, address);
            for difference in run.expected(self).differences(&seen) {
                differences.push(format!("{}: {difference}", run.name));
            }
        }
        assert!(
            differences.is_empty(),
            "it is not what Wasmtime makes of it:\n{}",
            differences.join("\n")
        );
    }

    /// Fetches the program, and lets Wasmtime run it.
    fn prepare(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        run(Command::new(here().join("fetch")).arg(&self.name));
        let python = corpus().join("venv/bin/python");
        run(Command::new(python).arg(here().join("reference.py")).arg(&self.name));
    }

    fn wasm(&self) -> PathBuf {
        self.package().join(&self.file)
    }

    fn package(&self) -> PathBuf {
        corpus().join("packages").join(&self.package)
    }

    /// The artifact, which is kept until there is another compiler. What it took is reported.
    fn compiled(&self) -> PathBuf {
        let artifact = corpus().join("compiled").join(format!("{}.cwasm", self.name));
        let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let newest = modified(&compiler()).max(modified(&self.wasm()));
        if modified(&artifact).min(modified(&self.report())) <= newest {
            self.compile(&artifact);
        }
        artifact
    }

    /// What takes the compiler more than a second is told, whether the user runs it or the host.
    pub fn is_told_of_when_compiled(&self) {
        self.prepare();
        let world = World::new(Kind::P1);
        let module = world.module("program.wasm");
        fs::copy(self.wasm(), &module).expect("install the program");
        let command = Command::new(wasm_sock())
            .arg("compile")
            .arg(&module)
            .stderr(Stdio::piped())
            .spawn();
        let mut command = command.expect("run wasm-sock compile");
        let mut line = String::new();
        let mut stderr = BufReader::new(command.stderr.take().expect("it is piped"));
        stderr.read_line(&mut line).expect("read a line");
        command.kill().expect("end the compiler");
        command.wait().expect("wait");
        let expected = format!("wasm-sock: compiling {} (", module.display());
        assert!(line.starts_with(&expected), "{line}");
        assert!(line.ends_with("takes more than a second\n"), "{line}");

        let address = world.tcp("program");
        let host = world.start(&[]);
        let _client = address.connect();
        host.log.expect("takes more than a second; `wasm-sock compile");
    }

    fn report(&self) -> PathBuf {
        corpus().join("report").join(&self.name)
    }

    fn compile(&self, artifact: &Path) {
        for folder in ["compiled", "report"] {
            fs::create_dir_all(corpus().join(folder)).expect("make a folder");
        }
        let mut measure = Command::new(here().join("measure"));
        measure.arg(wasm_sock()).arg("compile").arg(self.wasm());
        let measured = run(measure.arg("-o").arg(artifact));
        let mut measured = measured.split_whitespace().map(|n| n.parse::<f64>());
        let mut number = || measured.next().expect("two numbers").expect("a number");
        let (seconds, memory) = (number(), number());
        let report = format!(
            "{:<12} {:<34} {:>6.1} MB of Wasm, compiled in {:>5.1} s with {:>5.0} MB of memory to {:>6.1} MB\n",
            self.name,
            self.toolchain,
            megabytes(&self.wasm()),
            seconds,
            memory / 1e6,
            megabytes(artifact),
        );
        eprint!("{report}");
        fs::write(self.report(), report).expect("write a report");
    }
}

fn megabytes(path: &Path) -> f64 {
    fs::metadata(path).expect("the file is there").len() as f64 / 1e6
}

/// Runs a program that must succeed, for what it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("it prints text")
}

impl Run {
    /// Configures a handler, and passes a port for it.
    fn handler(&self, program: &Program, world: &World) -> Address {
        let mut text = format!("[handler.{}]\nmodule = \"program.cwasm\"\n", self.name);
        text.push_str(&format!("args = {}\n", toml::Value::from(self.args.clone())));
        let env = toml::Table::from_iter(self.env.iter().map(|(k, v)| (k.clone(), v.clone().into())));
        text.push_str(&format!("env = {}\n", toml::Value::from(env)));
        for (setting, value) in &self.settings {
            text.push_str(&format!("{setting} = {value:?}\n"));
        }
        let dirs = self.dirs.iter().enumerate().map(|(number, directory)| {
            let host = directory.prepare(program, &self.directory(world, number));
            let (guest, access) = (&directory.guest, &directory.access);
            format!("{{ host = {host:?}, guest = {guest:?}, access = {access:?} }}")
        });
        let dirs: Vec<String> = dirs.collect();
        world.configure(&format!("{text}dirs = [{}]\n", dirs.join(", ")));
        world.tcp(&self.name)
    }

    fn directory(&self, world: &World, number: usize) -> PathBuf {
        world.path(&format!("{}/{number}", self.name))
    }

    /// What the host makes of it.
    fn outcome(&self, world: &World, host: &Host, address: &Address) -> Outcome {
        let mut client = address.connect();
        let who = format!("{} 127.0.0.1:{}: ", self.name, client.local_port());
        let mut sender = client.second();
        let stdin = self.stdin.as_ref().map(|text| text.repeat(self.repeat));
        let sending = thread::spawn(move || {
            let Some(stdin) = stdin else {
                return false;
            };
            // A program need not read all of it.
            let written = sender.write_all(stdin.as_bytes());
            sender.finish();
            // The kernel says so once, to the first call.
            written.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        });
        let mut stdout = Vec::new();
        let start = Instant::now();
        let end = loop {
            let end = client.read_until_end(|bytes| stdout.extend_from_slice(bytes));
            if end != End::TimedOut || start.elapsed() > PATIENCE {
                break end;
            }
        };
        let was_reset = sending.join().expect("the sender does not panic");
        let end = if was_reset { End::Reset } else { end };
        let (stderr, last) = logged(host, &who);
        Outcome {
            stdout,
            end,
            code: code_of(&last),
            said: last,
            stderr,
            files: self.files(|number| self.directory(world, number)),
        }
    }

    /// What Wasmtime makes of it.
    fn expected(&self, program: &Program) -> Outcome {
        let folder = corpus().join("expected").join(&program.name).join(&self.name);
        let read = |name: &str| fs::read(folder.join(name)).expect("the reference was run");
        let code = String::from_utf8(read("code")).expect("it is text");
        let code = self.code.or_else(|| code.trim().parse().ok());
        Outcome {
            stdout: read("stdout"),
            end: if code.is_some() { End::Closed } else { End::Reset },
            code,
            said: String::new(),
            stderr: printable(&read("stderr")),
            files: self.files(|number| folder.join("dirs").join(number.to_string())),
        }
    }

    /// Everything in the directories that it may write to.
    fn files(&self, directory: impl Fn(usize) -> PathBuf) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (number, granted) in self.dirs.iter().enumerate() {
            if granted.access == "read-write" {
                collect(&directory(number), &granted.guest, &mut files);
            }
        }
        files
    }
}

/// What the log says of a connection when it has ended: the guest's own lines, and how it ended.
fn logged(host: &Host, who: &str) -> (Vec<String>, String) {
    let lines = || -> Vec<String> {
        let lines = host.log.lines().into_iter();
        let said = lines.filter_map(|line| Some(line.split_once(who)?.1.to_owned()));
        said.collect()
    };
    let is_end = |line: &String| {
        let ends = ["served (", "failed with exit code ", "ended: "];
        ends.iter().any(|end| line.starts_with(end))
    };
    harness::eventually("the end of the connection is logged", || {
        lines().last().is_some_and(is_end)
    });
    let mut stderr = lines();
    let end = stderr.pop().expect("the end is there");
    (stderr, end)
}

impl Directory {
    /// Makes the directory, or finds it in the package.
    fn prepare(&self, program: &Program, path: &Path) -> PathBuf {
        if let Some(from) = &self.from {
            return fs::canonicalize(program.package().join(from)).expect("the package has it");
        }
        fs::create_dir_all(path).expect("make a directory");
        if let Some(run) = &self.from_run {
            let source = corpus().join("expected").join(run).join("dirs/0");
            for entry in fs::read_dir(&source).expect("that was run") {
                let entry = entry.expect("read a directory");
                fs::copy(entry.path(), path.join(entry.file_name())).expect("copy a file");
            }
        }
        for (name, content) in &self.files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().expect("it has a parent")).expect("make a directory");
            fs::write(file, content).expect("write a file");
        }
        path.to_owned()
    }
}
