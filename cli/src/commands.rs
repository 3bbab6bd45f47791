//! The command line of `wasm-sock` (clap): the definition of its verbs, from which parser and help are generated.
//!
//! `host` and `compile` are here for their help only; the host program parses and runs them itself.

use crate::{CommandError, print};
use crate::{
    activate, completions, exec, export, install, kv, list, logs, manual, metrics, new, push, reload, run, serve,
    status, uninstall,
};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const ABOUT: &str = "\
wasm-sock: inetd for WebAssembly. systemd holds the sockets; when a client
connects, it starts `wasm-sock host`, which gives each connection a fresh,
sandboxed guest and exits when idle.";

const AFTER: &str = "\
Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 bad configuration or no sockets.

Examples:
  wasm-sock check
  wasm-sock help host";

#[derive(Parser)]
#[command(name = "wasm-sock", bin_name = "wasm-sock", version, about = ABOUT, after_help = AFTER)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, max_term_width = 80)]
pub struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

/// The command that is to be run.
#[derive(Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Verb {
    /// Serve the sockets that systemd passed (systemd starts this)
    #[command(after_help = "\
The name of a socket (FileDescriptorName=) is the name of its handler.

Examples:
  systemd-socket-activate -l 7777 --fdname=hello wasm-sock host --module a.wasm
  wasm-sock host --print-sandbox")]
    Host {
        /// Serve every socket with this module
        #[arg(long, value_name = "FILE", conflicts_with = "config")]
        module: Option<PathBuf>,
        /// Serve every socket with this handler
        #[arg(long, value_name = "NAME", conflicts_with = "module")]
        handler: Option<String>,
        /// Read this file, and handlers.d/*.toml beside it [default: /etc/wasm-sock/wasm-sock.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Exit after this time without a connection: 5min, 0, infinity [default: 30s]
        #[arg(long, value_name = "TIME")]
        idle_timeout: Option<String>,
        /// Then exit, or park: leave a small process that starts the next [default: exit]
        #[arg(long, value_name = "WHAT", value_parser = ["exit", "park"], hide_possible_values = true)]
        when_idle: Option<String>,
        /// End with the guest's exit code (Accept=yes, inetd)
        #[arg(long)]
        exit_with_guest: bool,
        /// Of the log, on standard error [default: to journald, or text]
        #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
        log_format: Option<String>,
        /// Print what it would confine itself to
        #[arg(long)]
        print_sandbox: bool,
    },
    /// Validate configuration, modules, directories and socket units
    #[command(after_help = "\
Nothing is served. Prints a table of the handlers, another of the socket units
that lead to them, and everything that would go wrong later.

Examples:
  wasm-sock check
  wasm-sock check --config ./wasm-sock.toml")]
    Check {
        /// Read this file, and handlers.d/*.toml beside it [default: /etc/wasm-sock/wasm-sock.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print what a module is, what it imports, and what that needs
    #[command(after_help = "\
Examples:
  wasm-sock inspect hello.wasm
  wasm-sock inspect /var/lib/wasm-sock/modules/hello.cwasm")]
    Inspect {
        /// The module: a .wasm or a .cwasm
        #[arg(value_name = "FILE")]
        module: PathBuf,
    },
    /// Compile a module ahead of time: make the .cwasm that `host` loads
    #[command(after_help = "\
Examples:
  wasm-sock compile hello.wasm
  wasm-sock compile hello.wasm -o /var/lib/wasm-sock/modules/hello.cwasm")]
    Compile {
        /// The module: a .wasm; - is standard input
        #[arg(value_name = "FILE.wasm")]
        module: PathBuf,
        /// Where to write it [default: beside the .wasm]; - is standard output
        #[arg(short, long, value_name = "FILE.cwasm")]
        output: Option<PathBuf>,
    },
    /// Serve a module without systemd, and show what it does
    #[command(after_help = "\
Examples:
  wasm-sock run hello.wasm --listen 7000 --listen udp:7000
  wasm-sock run --watch")]
    Run(run::Run),
    /// Make a project that builds to a module
    #[command(after_help = "\
http is for rust, js, ts and python; the others for all but js, ts and python.

Examples:
  wasm-sock new knock --lang rust
  wasm-sock new door --lang python --kind http")]
    New(new::New),
    /// Make a module a service
    Install(install::Install),
    /// Remove a service that was installed
    Uninstall(uninstall::Uninstall),
    /// Store a module in an OCI registry
    Push(push::Push),
    /// Write what runs it elsewhere: container, Kubernetes, Nomad, Spin
    Export(export::Export),
    /// Serve the handlers that listen, without systemd: in a container
    Serve(serve::Serve),
    /// Print the handlers: addresses, state, counters
    #[command(after_help = "\
NOW: connections and requests that are served; LAST: when a client came last;
MEM: memory of the service; CPU: CPU time of all guests so far.

Examples:
  wasm-sock list
  wasm-sock list --json | jq 'select(.failed > 0)'")]
    List(list::List),
    /// Print all there is to tell of a handler
    #[command(after_help = "\
Examples:
  wasm-sock status hello
  wasm-sock status hello --json | jq .outcomes")]
    Status(status::Status),
    /// Print the log of a handler
    #[command(after_help = "\
Examples:
  wasm-sock logs hello -f
  wasm-sock logs hello --failed --since today")]
    Logs(logs::Logs),
    /// Run a handler once, without a client
    #[command(after_help = "\
The exit code is the guest's; for HTTP 1 if the status is 400 or more.

Examples:
  echo Ada | wasm-sock exec hello
  wasm-sock exec ./app.wasm --path /door")]
    Exec(exec::Exec),
    /// Read and change what the guests of a handler have stored
    #[command(after_help = "\
Also while the handler serves. Values that a server has are not here.

Examples:
  wasm-sock kv list counter
  wasm-sock kv export counter > backup.jsonl")]
    Kv(kv::Kv),
    /// Print the counters of all handlers for Prometheus
    #[command(after_help = "\
Examples:
  wasm-sock metrics
  wasm-sock metrics --textfile /var/lib/prometheus/node-exporter/wasm-sock.prom")]
    Metrics(metrics::Metrics),
    /// Have a running host read its configuration again
    #[command(after_help = "\
The configuration is checked first: with a mistake in it, nothing changes, and
the exit code is 78. New connections get the new settings. What a running host
cannot get any more, such as another folder, the next host gets: the running one
ends its connections, and no client is lost.

Examples:
  wasm-sock reload
  wasm-sock reload hello")]
    Reload(reload::Reload),
    /// Execute the host with the sockets that this process was started with
    #[command(hide = true)]
    Activate(activate::Activate),
    /// Print what makes a shell complete commands and names of handlers
    #[command(after_help = "\
Examples:
  wasm-sock completions bash > /etc/bash_completion.d/wasm-sock
  wasm-sock completions fish > ~/.config/fish/completions/wasm-sock.fish")]
    Completions(completions::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(manual::Man),
    /// Write the JSON schemas of the configuration
    #[command(hide = true)]
    JsonSchemas(manual::JsonSchemas),
    /// Print the version
    Version,
    /// Print this, or the help of a command
    Help {
        /// The command
        command: Option<OsString>,
    },
}

/// Parses the arguments; the first is the program's name.
///
/// # Errors
/// The argument that is not understood; also the text of the help, when that is asked for.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Verb, clap::Error> {
    CommandLine::try_parse_from(arguments).map(|line| line.verb)
}

/// Prints the help of a command, or the general help.
///
/// # Errors
/// When there is no such command ([`CommandError::Reported`]).
pub fn help(command: Option<OsString>) -> Result<(), CommandError> {
    let arguments = [Some("wasm-sock".into()), command, Some("--help".into())];
    match parse(arguments.into_iter().flatten()) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => print(&error.render().to_string()),
        Err(error) => {
            eprintln!("{}", usage(&error).trim_end());
            Err(CommandError::Reported(WRONG_USAGE))
        }
        // Help is never a verb.
        Ok(_) => Ok(()),
    }
}

/// The exit code for wrong usage.
const WRONG_USAGE: u8 = 2;

/// Prints the help or version that was asked for, or the error. Returns the exit code.
pub fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match print(&error.render().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.exit_code(),
        },
        _ => {
            eprintln!("{}", usage(error).trim_end());
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// The message for arguments that are not understood.
fn usage(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.render().to_string(),
        ErrorKind::InvalidSubcommand => {
            let similar = context(ContextKind::SuggestedSubcommand);
            let similar = similar.map_or_else(String::new, |verb| format!("did you mean {verb:?}? "));
            let verbs = CommandLine::command();
            let verbs: Vec<&str> = verbs.get_subcommands().map(clap::Command::get_name).collect();
            format!(
                "wasm-sock: unknown command {:?}; {similar}there are {} (see `wasm-sock help`)\n",
                context(ContextKind::InvalidSubcommand).unwrap_or_default(),
                verbs.join(", ")
            )
        }
        _ => {
            let text = error.render().to_string();
            format!("wasm-sock: {}", text.trim_start_matches("error: "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Verb, String> {
        let arguments = ["wasm-sock"].into_iter().chain(line.split_whitespace());
        super::parse(arguments.map(OsString::from)).map_err(|error| usage(&error))
    }

    #[test]
    fn the_table_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn verbs_have_their_arguments() {
        let config = Some("a.toml".into());
        assert_eq!(parse("check --config=a.toml"), Ok(Verb::Check { config }));
        let module = "a.wasm".into();
        assert_eq!(parse("inspect a.wasm"), Ok(Verb::Inspect { module }));
    }

    #[test]
    fn the_error_for_an_unknown_command_names_a_similar_one_and_all_commands() {
        let message = parse("chek").unwrap_err();
        for text in [
            "unknown command \"chek\"",
            "did you mean \"check\"?",
            "host, check, inspect, compile",
        ] {
            assert!(message.contains(text), "{text:?} is not in: {message}");
        }
        let message = parse("frobnicate").unwrap_err();
        assert!(!message.contains("did you mean"), "{message}");
    }
}
