//! What was typed.

use super::Failure;
use crate::config::parse_idle_timeout;
use crate::startup::Options;
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

pub const HELP: &str = "\
wasm-sock: inetd for WebAssembly. systemd holds the sockets; when somebody knocks it starts
`wasm-sock host`, which gives every connection a fresh, sandboxed guest and leaves when idle.

usage: wasm-sock host [--module FILE | --config FILE] [--idle-timeout TIME] [--print-sandbox]
       wasm-sock check [--config FILE]
       wasm-sock inspect FILE
       wasm-sock compile FILE.wasm [-o FILE.cwasm]
       wasm-sock help | version

host      serve the sockets that the service manager passed; a socket's name
          (FileDescriptorName=) is the name of its handler
  --module FILE        serve every socket with this module, whatever its name
  --config FILE        read this file, and handlers.d/*.toml beside it, instead of
                       /etc/wasm-sock/wasm-sock.toml
  --idle-timeout TIME  exit after this time without a connection: 30s, 5min; 0 is after
                       the last connection, infinity is never [default: 30s]
  --print-sandbox      say what the host confines itself to, and serve nothing
check     everything that could go wrong later, now: the configuration, every module,
          every directory; prints a table of the handlers
inspect   what a module (.wasm or .cwasm) is, what it imports, and which setting that needs
compile   make the .cwasm that `host` loads without compiling
  -o FILE              where to write it [default: beside the .wasm]

Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 bad configuration or no sockets.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Host(HostOptions),
    Check {
        config: Option<PathBuf>,
    },
    Inspect {
        module: PathBuf,
    },
    /// The arguments of `wasm-sock-compile`, which looks at them itself.
    Compile(Vec<OsString>),
    Help,
    Version,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    pub startup: Options,
    pub print_sandbox: bool,
}

/// # Errors
/// [`Failure::Usage`]: what of it is not understood.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Verb, Failure> {
    parse_verb(Parser::from_args(arguments)).map_err(|error| Failure::Usage(error.to_string()))
}

fn parse_verb(mut parser: Parser) -> Result<Verb, lexopt::Error> {
    let verb = match parser.next()? {
        None => return Err("no command: host, check, inspect or compile".into()),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Verb::Help),
        Some(Arg::Short('V') | Arg::Long("version")) => return Ok(Verb::Version),
        Some(Arg::Value(verb)) => verb,
        Some(other) => return Err(other.unexpected()),
    };
    match verb.to_str() {
        Some("host") => parse_host(parser),
        Some("check") => parse_check(parser),
        Some("inspect") => parse_inspect(parser),
        Some("compile") => Ok(Verb::Compile(parser.raw_args()?.collect())),
        Some("help") => Ok(Verb::Help),
        Some("version") => Ok(Verb::Version),
        _ => Err(format!("unknown command {verb:?}; there are host, check, inspect and compile").into()),
    }
}

fn parse_host(mut parser: Parser) -> Result<Verb, lexopt::Error> {
    let mut options = HostOptions::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("module") => options.startup.module = Some(absolute(parser.value()?)?),
            Arg::Long("config") => options.startup.config = Some(absolute(parser.value()?)?),
            Arg::Long("idle-timeout") => {
                let text = parser.value()?.to_string_lossy().into_owned();
                let parsed = parse_idle_timeout(&text);
                options.startup.idle_timeout = Some(parsed.map_err(|why| format!("--idle-timeout {text:?}: {why}"))?);
            }
            Arg::Long("print-sandbox") => options.print_sandbox = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(Verb::Help),
            other => return Err(other.unexpected()),
        }
    }
    if options.startup.module.is_some() && options.startup.config.is_some() {
        return Err("--module serves every socket with one module and needs no --config: give one of them".into());
    }
    Ok(Verb::Host(options))
}

fn parse_check(mut parser: Parser) -> Result<Verb, lexopt::Error> {
    let mut config = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("config") => config = Some(absolute(parser.value()?)?),
            Arg::Short('h') | Arg::Long("help") => return Ok(Verb::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Verb::Check { config })
}

fn parse_inspect(mut parser: Parser) -> Result<Verb, lexopt::Error> {
    let mut module = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(path) if module.is_none() => module = Some(absolute(path)?),
            Arg::Short('h') | Arg::Long("help") => return Ok(Verb::Help),
            other => return Err(other.unexpected()),
        }
    }
    let module = module.ok_or("inspect takes the module to look at")?;
    Ok(Verb::Inspect { module })
}

fn absolute(path: OsString) -> Result<PathBuf, lexopt::Error> {
    std::path::absolute(&path).map_err(|error| format!("{path:?}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(line: &str) -> Result<Verb, String> {
        super::parse(line.split_whitespace().map(OsString::from)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn host_takes_a_module_and_an_idle_timeout() {
        let verb = parse("host --module /m/hello.wasm --idle-timeout=5min").unwrap();
        let expected = HostOptions {
            startup: Options {
                module: Some("/m/hello.wasm".into()),
                idle_timeout: Some(Some(Duration::from_secs(300))),
                ..Options::default()
            },
            ..HostOptions::default()
        };
        assert_eq!(verb, Verb::Host(expected));
        let Verb::Host(never) = parse("host --idle-timeout infinity").unwrap() else {
            panic!()
        };
        assert_eq!(never.startup.idle_timeout, Some(None));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parse("").unwrap_err().contains("host, check, inspect or compile"));
        assert!(parse("serve").unwrap_err().contains("\"serve\""));
        assert!(parse("host --modul x").unwrap_err().contains("--modul"));
        assert!(parse("host --idle-timeout soon").unwrap_err().contains("\"soon\""));
        assert!(parse("host --module a --config b").unwrap_err().contains("one of them"));
        assert!(parse("check extra").unwrap_err().contains("extra"));
    }

    #[test]
    fn compile_leaves_its_arguments_to_the_compiler() {
        let expected = Verb::Compile(vec!["a.wasm".into(), "-o".into(), "b.cwasm".into()]);
        assert_eq!(parse("compile a.wasm -o b.cwasm"), Ok(expected));
    }
}
