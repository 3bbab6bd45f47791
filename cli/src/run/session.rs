//! A run at sockets: builds, the host, its log, and signals, one after the other in one loop.

use super::amounts::time;
use super::egress::Egress;
use super::screen::Screen;
use super::sockets::Sockets;
use super::source::{Made, Source};
use super::summary::Summary;
use super::watch::{self, Subject};
use super::{Run, settings};
use crate::activate::Activation;
use crate::log_line::LogLine;
use crate::{CommandError, module_kind};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// What the loop waits for.
enum Event {
    /// A line of the host's log.
    Line(LogLine),
    /// The host has ended.
    Ended,
    /// A build begins, because of a change in this file.
    Begins(Option<PathBuf>),
    Made(Result<Made, CommandError>),
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
}

struct Session<'a> {
    run: &'a Run,
    screen: Screen,
    summary: Summary,
    events: Receiver<Event>,
    sender: Sender<Event>,
    handler: String,
    sockets: Option<Sockets>,
    config: PathBuf,
    /// `None`: the guest does not reach out.
    egress: Option<Egress>,
    credentials: PathBuf,
    /// `None`: there is no module yet, or it has ended.
    host: Option<Child>,
    command: Option<String>,
    wasm: Arc<Vec<u8>>,
    /// Signals so far.
    signals: u32,
}

/// Serves a module at sockets until a signal comes.
///
/// # Errors
/// When it cannot be built or served, or an address is in use.
pub fn run(run: &Run) -> Result<(), CommandError> {
    let source = Source::find(run)?;
    let handler = run.name.clone().unwrap_or_else(|| source.name());
    let folder = super::temporary_folder()?;
    let artifact = folder.path().join("module.cwasm");
    let config = settings::write(run, &handler, &artifact, folder.path())?;
    let credentials = settings::credentials(run, &handler, folder.path())?;
    let (sender, events) = mpsc::channel();
    let mut session = Session {
        run,
        screen: Screen::new(false),
        summary: Summary::new(),
        events,
        sender: sender.clone(),
        handler,
        sockets: Some(Sockets::bind(run)?),
        egress: Egress::start(&config, folder.path())?,
        config,
        credentials,
        host: None,
        command: source.command_line(),
        wasm: Arc::default(),
        signals: 0,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let from_signals = sender.clone();
    thread::spawn(move || signals.forever().all(|_| from_signals.send(Event::Signal).is_ok()));
    start_builder(run, source, artifact, sender)?;
    let result = session.serve();
    session.end_host();
    result?;
    session.screen.say(&session.summary.text());
    Ok(())
}

/// Starts the thread that builds: once, and with `--watch` after each change.
fn start_builder(run: &Run, source: Source, artifact: PathBuf, to: Sender<Event>) -> Result<(), CommandError> {
    let is_building = Arc::new(AtomicBool::new(false));
    let (sender, changes) = mpsc::channel();
    // Kept, so that the thread of a run without --watch waits on.
    let first = sender.clone();
    let _ = first.send(None);
    if run.watch {
        let subject = match (source.folder(), source.file()) {
            (Some(folder), _) => Subject::Folder(folder.to_owned()),
            (None, file) => Subject::File(file.unwrap_or(Path::new("")).to_owned()),
        };
        let tell = move |path: &Path| sender.send(Some(path.to_owned())).is_ok();
        watch::start(subject, is_building.clone(), tell)?;
    }
    thread::spawn(move || {
        let _kept = first;
        build_after_changes(source, &artifact, &changes, &is_building, &to);
    });
    Ok(())
}

fn build_after_changes(
    mut source: Source,
    artifact: &Path,
    changes: &Receiver<Option<PathBuf>>,
    is_building: &AtomicBool,
    to: &Sender<Event>,
) {
    while let Ok(mut change) = changes.recv() {
        // Several changes during a build are one.
        while let Ok(later) = changes.try_recv() {
            change = later;
        }
        is_building.store(true, Relaxed);
        let began = to.send(Event::Begins(change));
        let made = source.make(artifact);
        is_building.store(false, Relaxed);
        if began.is_err() || to.send(Event::Made(made)).is_err() {
            return;
        }
    }
}

impl Session<'_> {
    /// Handles events until the host has ended.
    fn serve(&mut self) -> Result<(), CommandError> {
        loop {
            // The session has a sender itself.
            let Ok(event) = self.events.recv() else { return Ok(()) };
            match event {
                Event::Line(line) => {
                    self.summary.add(&line);
                    self.screen.show(&line, &self.wasm);
                }
                Event::Begins(change) => self.begins(change.as_deref()),
                Event::Made(Ok(made)) => self.made(made)?,
                Event::Made(Err(error)) if !self.run.watch => return Err(error),
                Event::Made(Err(error)) => self.failed(&error),
                Event::Signal if self.host.is_none() => return Ok(()),
                Event::Signal => self.signal(),
                Event::Ended if self.signals > 0 => return Ok(()),
                Event::Ended => return Err(CommandError::Failed("the host has ended (see above)".to_owned())),
            }
        }
    }

    fn begins(&self, change: Option<&Path>) {
        match (change, &self.command) {
            (None, Some(command)) => self.screen.say(command),
            (Some(change), command) => {
                let name = change.file_name().unwrap_or_default().to_string_lossy();
                let command = command.as_deref().unwrap_or("compile");
                self.screen.say(&format!("{name} changed: {command}"));
            }
            (None, None) => {}
        }
    }

    fn made(&mut self, made: Made) -> Result<(), CommandError> {
        let compiled = format!("compiled in {}", time(made.compile));
        let times = match made.build {
            Some(build) => format!("built in {}, {compiled}", time(build)),
            None => compiled,
        };
        if !made.is_same {
            self.wasm = made.wasm;
        }
        if self.host.is_some() {
            let effect = match made.is_same {
                true => "the module is the same",
                false => "new connections get the new guest",
            };
            self.screen.say(&format!("{times}: {effect}"));
            return Ok(());
        }
        self.screen.say(&times);
        self.start_host()
    }

    fn failed(&self, error: &CommandError) {
        self.screen.complain(&error.to_string());
        self.screen.say(match self.host.is_some() {
            true => "the former guest serves on",
            false => "clients wait until it is built",
        });
    }

    fn start_host(&mut self) -> Result<(), CommandError> {
        let Some(sockets) = &mut self.sockets else {
            return Ok(());
        };
        let descriptors = std::mem::take(&mut sockets.descriptors);
        let config = self.config.to_string_lossy();
        let arguments = ["--config", &config, "--log-format", "json"];
        let mut host = Activation::new(&self.handler, descriptors, arguments)?;
        // Its own process group: Ctrl-C is for this program, which then tells the host.
        host.command().stderr(Stdio::piped()).process_group(0);
        host.command().env_remove("JOURNAL_STREAM");
        Egress::tell(self.egress.as_ref(), &mut host);
        host.command().env("CREDENTIALS_DIRECTORY", &self.credentials);
        // What guests store is gone with this folder: it is not that of a service of the same name.
        host.command()
            .env("STATE_DIRECTORY", self.config.parent().unwrap_or(Path::new("/")));
        let mut child = host.start()?;
        let stderr = child.stderr.take();
        let to = self.sender.clone();
        thread::spawn(move || forward(stderr, &to));
        self.host = Some(child);
        let addresses = sockets.addresses.join(", ");
        let first = sockets_hint(&sockets.addresses);
        self.screen.say(&format!("listening at {addresses}; Ctrl-C ends it"));
        if let Some(hint) = self.hint(first.as_ref()) {
            self.screen.say(&hint);
        }
        Ok(())
    }

    /// A command to try it with, if it is at a port.
    fn hint(&self, address: Option<&(String, u16)>) -> Option<String> {
        let (host, port) = address?;
        match module_kind::is_http_component(&self.wasm)? {
            true => Some(format!("try: curl http://{host}:{port}/")),
            false => Some(format!("try: echo hello | nc -N {host} {port}")),
        }
    }

    /// The first signal drains, a second one ends at once.
    fn signal(&mut self) {
        self.signals += 1;
        let signal = if self.signals == 1 { Signal::TERM } else { Signal::KILL };
        if let Some(host) = &self.host {
            // It may have ended.
            let _ = kill_process(Pid::from_child(host), signal);
        }
    }

    /// Ends the host, if it runs still.
    fn end_host(&mut self) {
        if let Some(mut host) = self.host.take() {
            // It may have ended.
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

/// The first address that `nc` and `curl` understand.
fn sockets_hint(addresses: &[String]) -> Option<(String, u16)> {
    addresses.iter().find_map(|address| {
        if let Ok(port) = address.parse() {
            return Some(("127.0.0.1".to_owned(), port));
        }
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        let ip: std::net::IpAddr = host.parse().ok()?;
        let shown = if ip.is_ipv6() {
            format!("[{ip}]")
        } else {
            ip.to_string()
        };
        Some((shown, port.parse().ok()?))
    })
}

/// Reads the host's log until it ends.
fn forward(stderr: Option<ChildStderr>, to: &Sender<Event>) {
    let lines = stderr.map(|stderr| BufReader::new(stderr).split(b'\n'));
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        let line = LogLine::parse(&String::from_utf8_lossy(&line));
        if to.send(Event::Line(line)).is_err() {
            return;
        }
    }
    // The session may have ended.
    let _ = to.send(Event::Ended);
}
