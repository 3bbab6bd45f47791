//! Starting a host as systemd does: `sd_listen_fds(3)`, from the other side.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::artifacts;
use crate::egress;
use crate::world::Passed;
use crate::{Host, Supervisor};

/// In the value of a variable: the host's own process.
pub const SELF: &str = "<pid>";

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// What is to be started, and with what.
#[derive(Clone)]
pub struct Launch {
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    sockets: Vec<Passed>,
    /// What is standard input and output instead of nothing, and the last of those descriptors.
    standard: Option<(Arc<OwnedFd>, RawFd)>,
    descriptors: u64,
}

impl Launch {
    pub(crate) fn new(folder: &Path, sockets: Vec<Passed>) -> Self {
        let names: Vec<&str> = sockets.iter().map(|socket| socket.name.as_str()).collect();
        let path = |name: &str| folder.join(name).display().to_string();
        let environment = [
            ("LISTEN_FDS", sockets.len().to_string()),
            ("LISTEN_PID", SELF.to_owned()),
            ("LISTEN_FDNAMES", names.join(":")),
            ("CONFIGURATION_DIRECTORY", path("config")),
            ("STATE_DIRECTORY", path("state")),
            ("CACHE_DIRECTORY", path("cache")),
            ("WASM_SOCK_EGRESS", path(egress::SOCKET)),
        ];
        Self {
            folder: folder.to_owned(),
            program: artifacts::wasm_sock(),
            arguments: vec!["host".to_owned()],
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            sockets,
            standard: None,
            descriptors: 1024,
        }
    }

    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Passes nothing but `socket`, as standard input and output: so do `tcpserver` and its like.
    pub fn ucspi(mut self, socket: OwnedFd) -> Self {
        self.sockets.clear();
        self.standard = Some((Arc::new(socket), 1));
        self.without("LISTEN_FDS")
            .without("LISTEN_PID")
            .without("LISTEN_FDNAMES")
    }

    /// Passes nothing but `socket`, as standard input, output and error: so does inetd.
    pub fn inetd(self, socket: OwnedFd) -> Self {
        let mut launch = self.ucspi(socket);
        if let Some((_, last)) = &mut launch.standard {
            *last = 2;
        }
        launch
    }

    /// Another file to run, such as a copy with no compiler beside it.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = path.to_owned();
        self
    }

    /// How many descriptors the host may have (`LimitNOFILE=`).
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.descriptors = limit;
        self
    }

    /// Starts one host.
    pub fn start(&self) -> Host {
        let notify = self.notify_path();
        Host::new(&notify, || self.spawn(&notify))
    }

    /// Starts a host whenever a client waits and none runs, as systemd does.
    pub fn supervise(self) -> Supervisor {
        Supervisor::start(self)
    }

    pub(crate) fn sockets(&self) -> &[Passed] {
        &self.sockets
    }

    fn notify_path(&self) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        self.folder.join(format!("run/notify-{number}"))
    }

    fn spawn(&self, notify: &Path) -> Child {
        let mut environment = self.environment.clone();
        environment.insert("NOTIFY_SOCKET".into(), notify.display().to_string());
        let mut image = Image::new(&self.program, &self.arguments, &environment);
        let descriptors: Vec<Option<RawFd>> = self
            .sockets
            .iter()
            .map(|socket| socket.fd.as_ref().map(|fd| fd.as_raw_fd()))
            .collect();
        let standard = self.standard.as_ref();
        let standard = standard.map(|(socket, last)| (socket.as_raw_fd(), *last));
        let limit = libc::rlimit {
            rlim_cur: self.descriptors,
            rlim_max: self.descriptors,
        };
        let mut command = Command::new(&self.program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: between fork and exec only system calls are made, no memory is taken and no lock.
        unsafe {
            command.pre_exec(move || {
                for (target, source) in (FIRST..).zip(&descriptors) {
                    match source {
                        Some(source) => libc::dup2(*source, target),
                        None => libc::close(target),
                    };
                }
                if let Some((socket, last)) = standard {
                    for target in 0..=last {
                        libc::dup2(socket, target);
                    }
                }
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
                Err(image.execute())
            });
        }
        let spawned = command.spawn();
        spawned.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()))
    }
}

/// What execve(2) takes, made before the fork, because `LISTEN_PID` is known only after it and
/// [`Command`] has its environment ready by then.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    variables: Vec<Vec<u8>>,
    /// Where in which variable the process's number goes.
    own: Vec<(usize, usize)>,
    /// Addresses of `arguments` and `variables`, each list ended by 0.
    argv: Vec<usize>,
    envp: Vec<usize>,
}

/// The digits of the largest process number, and the NUL after them.
const ROOM: usize = 12;

impl Image {
    fn new(program: &Path, arguments: &[String], environment: &BTreeMap<String, String>) -> Self {
        let string = |bytes: &[u8]| CString::new(bytes).expect("no NUL");
        let program = string(program.as_os_str().as_bytes());
        let mut all = vec![program.clone()];
        all.extend(arguments.iter().map(|argument| string(argument.as_bytes())));
        let mut variables = Vec::new();
        let mut own = Vec::new();
        for (name, value) in environment {
            let mut variable = format!("{name}=").into_bytes();
            if value == SELF {
                own.push((variables.len(), variable.len()));
                variable.extend([0; ROOM]);
            } else {
                variable.extend(value.as_bytes());
                variable.push(0);
            }
            variables.push(variable);
        }
        let mut argv: Vec<usize> = all.iter().map(|a| a.as_ptr() as usize).collect();
        argv.push(0);
        let mut envp: Vec<usize> = variables.iter().map(|v| v.as_ptr() as usize).collect();
        envp.push(0);
        Self {
            program,
            arguments: all,
            variables,
            own,
            argv,
            envp,
        }
    }

    /// Becomes the program. Returns only when that fails.
    fn execute(&mut self) -> io::Error {
        debug_assert_eq!(self.argv.len(), self.arguments.len() + 1);
        // SAFETY: getpid(2) has no conditions. The lists end with 0 and hold addresses of strings
        // that end with NUL, do not move, and are ours.
        unsafe {
            let pid = libc::getpid();
            for (variable, at) in &self.own {
                write_number(&mut self.variables[*variable][*at..], pid as u32);
            }
            libc::execve(
                self.program.as_ptr(),
                self.argv.as_ptr().cast(),
                self.envp.as_ptr().cast(),
            );
        }
        io::Error::last_os_error()
    }
}

fn write_number(to: &mut [u8], mut number: u32) {
    let digits = number.max(1).ilog10() as usize + 1;
    for digit in to[..digits].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    to[digits] = 0;
}
