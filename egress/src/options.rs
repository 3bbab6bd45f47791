//! The command line.

use lexopt::{Arg, ValueExt};
use std::path::PathBuf;
use std::time::Duration;
use wasm_sock_config::parse_idle_timeout;

pub const USAGE: &str = "\
usage: wasm-sock-egress [OPTION]...
Connects the guests of wasm-sock to what they were granted (allow-outbound).
systemd starts it by wasm-sock-egress.socket.

  --config FILE          read this wasm-sock.toml, and handlers.d beside it
  --idle-timeout TIME    exit when no host is connected for so long (default: 30s)
  --listen PATH          listen at this Unix socket, if none was passed by LISTEN_FDS
  --print-sandbox        print what the sandbox allows, and exit
  --version, --help";

/// How long it waits for the next host by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub enum Command {
    Serve(Options),
    PrintSandbox(Options),
    Version,
    Help,
}

pub struct Options {
    /// `wasm-sock.toml`. `None`: where hosts look for it.
    pub config: Option<PathBuf>,
    /// How long it runs without a host. `None`: it never exits by itself.
    pub idle_timeout: Option<Duration>,
    /// Where to listen, if no socket was passed.
    pub listen: Option<PathBuf>,
}

/// # Errors
/// An argument that is not known, or a value that cannot be read.
pub fn from_arguments() -> Result<Command, lexopt::Error> {
    let mut options = Options {
        config: None,
        idle_timeout: Some(IDLE_TIMEOUT),
        listen: None,
    };
    let mut prints = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("config") => options.config = Some(parser.value()?.into()),
            Arg::Long("idle-timeout") => {
                let text = parser.value()?.string()?;
                options.idle_timeout = parse_idle_timeout(&text)?;
            }
            Arg::Long("listen") => options.listen = Some(parser.value()?.into()),
            Arg::Long("print-sandbox") => prints = true,
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(if prints {
        Command::PrintSandbox(options)
    } else {
        Command::Serve(options)
    })
}
