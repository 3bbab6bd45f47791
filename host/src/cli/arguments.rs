//! Command-line parsing of the host. All other verbs, and all help, are handed over to `wasm-sock-cli`.

use super::describe::Subject;
use super::failure::Failure;
use crate::activation;
use crate::config::{WhenIdle, parse_idle_timeout, valid_handler_name};
use crate::journal::Format;
use crate::startup::Options;
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve sockets.
    Host(HostOptions),
    /// Run `wasm-sock-compile` with these arguments, which it parses itself.
    Compile(Vec<OsString>),
    /// Describe modules or handlers, for `wasm-sock-cli`.
    Describe(Subject),
    /// Print the version.
    Version,
    /// All else, also help: run `wasm-sock-cli` with these arguments.
    HandOver(Vec<OsString>),
}

/// The options of `wasm-sock host`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    pub startup: Options,
    /// `--log-format`.
    pub log_format: Format,
    /// `--print-sandbox`: print what the sandbox would allow, and serve nothing.
    pub print_sandbox: bool,
    /// `--exit-with-guest`: the exit code is the guest's. Every socket has to be a connection.
    pub exit_with_guest: bool,
}

/// Parses the arguments, without the name of the program.
///
/// # Errors
/// [`Failure::Usage`] names the argument that is not understood.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, Failure> {
    parse_verb(arguments.into_iter().collect()).map_err(|error| Failure::Usage(error.to_string()))
}

fn parse_verb(arguments: Vec<OsString>) -> Result<Action, lexopt::Error> {
    let rest = || arguments.iter().skip(1).cloned();
    match arguments.first().and_then(|verb| verb.to_str()) {
        Some("host") => parse_host(Parser::from_args(rest())),
        Some("compile") if asks_for_help(&arguments) => Ok(help_of("compile")),
        Some("compile") => Ok(Action::Compile(rest().collect())),
        Some("describe") => parse_describe(Parser::from_args(rest())),
        Some("version" | "--version" | "-V") => Ok(Action::Version),
        _ => Ok(Action::HandOver(arguments)),
    }
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    options.any(|argument| argument == "-h" || argument == "--help")
}

fn help_of(verb: &str) -> Action {
    Action::HandOver(vec![verb.into(), "--help".into()])
}

fn parse_host(mut parser: Parser) -> Result<Action, lexopt::Error> {
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
            Arg::Long("when-idle") => {
                let name = parser.value()?;
                let known = name.to_str().and_then(WhenIdle::named);
                let known = known.ok_or_else(|| format!("--when-idle {name:?}: it is exit or park"))?;
                options.startup.when_idle = Some(known);
            }
            Arg::Long("handler") => options.startup.handler = Some(handler_name(parser.value()?)?),
            Arg::Long("exit-with-guest") => options.exit_with_guest = true,
            Arg::Long("log-format") => {
                let name = parser.value()?;
                options.log_format = match name.to_str() {
                    Some("text") => Format::Text,
                    Some("json") => Format::Json,
                    _ => return Err(format!("--log-format {name:?}: it is text or json").into()),
                };
            }
            Arg::Long("print-sandbox") => options.print_sandbox = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(help_of("host")),
            other => return Err(other.unexpected()),
        }
    }
    if options.startup.module.is_some() {
        let why = match (&options.startup.config, &options.startup.handler) {
            (Some(_), _) => "needs no --config",
            (_, Some(_)) => "belongs to no --handler",
            (None, None) => return Ok(Action::Host(options)),
        };
        return Err(format!("--module serves every socket with one module and {why}: give one of them").into());
    }
    Ok(Action::Host(options))
}

fn parse_describe(mut parser: Parser) -> Result<Action, lexopt::Error> {
    let (mut config, mut names) = (None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("module") => return Ok(Action::Describe(Subject::Module(absolute(parser.value()?)?))),
            Arg::Long("config") => config = Some(absolute(parser.value()?)?),
            Arg::Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Describe(Subject::Handlers { config, names }))
}

/// The name of a handler, which may be that of its socket's unit (`hello.socket`), as with sockets.
fn handler_name(text: OsString) -> Result<String, lexopt::Error> {
    let text = text.string()?;
    match activation::handler_name(&text) {
        name if valid_handler_name(name) => Ok(name.to_owned()),
        _ => Err(format!("--handler {text:?}: not a name that a handler can have (allowed: 1 to 255 printable ASCII characters, no `:` and no `/`)").into()),
    }
}

/// An absolute path, so that it holds for other processes and in messages.
fn absolute(path: OsString) -> Result<PathBuf, lexopt::Error> {
    std::path::absolute(&path).map_err(|error| format!("{path:?}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(line: &str) -> Result<Action, String> {
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
        assert_eq!(verb, Action::Host(expected));
        let Action::Host(never) = parse("host --idle-timeout infinity").unwrap() else {
            panic!()
        };
        assert_eq!(never.startup.idle_timeout, Some(None));
    }

    #[test]
    fn host_takes_what_to_do_when_idle() {
        let Action::Host(options) = parse("host --when-idle park").unwrap() else {
            panic!()
        };
        assert_eq!(options.startup.when_idle, Some(WhenIdle::Park));
        assert!(parse("host --when-idle sleep").unwrap_err().contains("exit or park"));
    }

    #[test]
    fn host_takes_the_name_of_a_handler_or_of_its_unit() {
        for line in ["host --handler hello", "host --handler=wasm-sock@hello.socket"] {
            let Ok(Action::Host(options)) = parse(line) else {
                panic!("{line}")
            };
            assert_eq!(options.startup.handler.as_deref(), Some("hello"), "{line}");
        }
    }

    #[test]
    fn the_log_has_a_format_by_its_name() {
        for (line, format) in [
            ("host", Format::Automatic),
            ("host --log-format text", Format::Text),
            ("host --log-format=json", Format::Json),
        ] {
            let Action::Host(options) = parse(line).unwrap() else {
                panic!()
            };
            assert_eq!(options.log_format, format, "{line}");
        }
        assert!(parse("host --log-format xml").unwrap_err().contains("text or json"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parse("host --modul x").unwrap_err().contains("--modul"));
        assert!(parse("host --idle-timeout soon").unwrap_err().contains("\"soon\""));
        for other in ["--config b", "--handler b"] {
            let error = parse(&format!("host --module a {other}")).unwrap_err();
            assert!(error.contains("one of them"), "{error}");
        }
        assert!(parse("host --handler a/b").unwrap_err().contains("\"a/b\""));
        assert!(parse("describe --modul a").unwrap_err().contains("--modul"));
    }

    fn arguments(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn compile_leaves_its_arguments_to_the_compiler() {
        for line in ["a.wasm -o b.cwasm", "-- --help"] {
            let verb = parse(&format!("compile {line}"));
            assert_eq!(verb, Ok(Action::Compile(arguments(line))));
        }
    }

    #[test]
    fn help_and_verbs_that_are_not_the_hosts_are_handed_over() {
        for line in [
            "",
            "help",
            "--help",
            "help host",
            "check --config a",
            "serve",
            "--verbose",
        ] {
            assert_eq!(parse(line), Ok(Action::HandOver(arguments(line))));
        }
        for line in ["host --module a --help", "host -h"] {
            assert_eq!(parse(line), Ok(Action::HandOver(arguments("host --help"))));
        }
        let expected = Action::HandOver(arguments("compile --help"));
        assert_eq!(parse("compile a.wasm -h"), Ok(expected));
    }

    #[test]
    fn a_module_is_described_or_handlers_are() {
        let module = Subject::Module("/m/a.wasm".into());
        assert_eq!(parse("describe --module /m/a.wasm"), Ok(Action::Describe(module)));
        let handlers = Subject::Handlers {
            config: Some("/c.toml".into()),
            names: vec!["a".into(), "--b".into()],
        };
        assert_eq!(
            parse("describe --config /c.toml -- a --b"),
            Ok(Action::Describe(handlers))
        );
    }
}
