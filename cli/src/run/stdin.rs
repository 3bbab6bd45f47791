//! `--listen stdin`: one connection, from the terminal or a pipe.

use super::egress::Egress;
use super::screen::Screen;
use super::source::Source;
use super::{Run, settings};
use crate::CommandError;
use crate::activate::Activation;
use crate::exec::{exit_code, stream};
use crate::log_line::LogLine;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStderr, Stdio};
use std::thread;

/// Serves one connection. The log goes to standard error.
///
/// # Errors
/// When it cannot be built or served; the exit code of the guest, if that is not 0.
pub fn run(run: &Run) -> Result<(), CommandError> {
    let mut source = Source::find(run)?;
    let handler = run.name.clone().unwrap_or_else(|| source.name());
    let folder = super::temporary_folder()?;
    let artifact = folder.path().join("module.cwasm");
    let config = settings::write(run, &handler, &artifact, folder.path())?;
    let egress = Egress::start(&config, folder.path())?;
    let credentials = settings::credentials(run, &handler, folder.path())?;
    let made = source.make(&artifact)?;
    let (ours, theirs) = UnixStream::pair()?;
    let config = config.to_string_lossy();
    let arguments = ["--config", &config, "--exit-with-guest", "--log-format", "json"];
    let mut host = Activation::new(&handler, vec![theirs.into()], arguments)?;
    host.command().env("CREDENTIALS_DIRECTORY", credentials);
    host.command().stderr(Stdio::piped()).env_remove("JOURNAL_STREAM");
    Egress::tell(egress.as_ref(), &mut host);
    // What the guest stores is gone with this folder: it is not that of a service of the same name.
    host.command().env("STATE_DIRECTORY", folder.path());
    let mut child = host.start()?;
    let stderr = child.stderr.take();
    let log = thread::spawn(move || show(stderr, &made.wasm));
    let input: File = io::stdin().as_fd().try_clone_to_owned()?.into();
    let output: File = io::stdout().as_fd().try_clone_to_owned()?.into();
    let result = stream::exchange(ours, Some(input), output);
    let status = child.wait()?;
    // It ends with the host. A panic in it was reported.
    let _ = log.join();
    result?;
    match exit_code(status) {
        0 => Ok(()),
        code => Err(CommandError::Reported(code)),
    }
}

fn show(stderr: Option<ChildStderr>, wasm: &[u8]) {
    let screen = Screen::new(true);
    for line in stderr
        .into_iter()
        .flat_map(|stderr| BufReader::new(stderr).lines())
        .map_while(Result::ok)
    {
        screen.show(&LogLine::parse(&line), wasm);
    }
}
