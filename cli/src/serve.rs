//! `wasm-sock serve`: the host with the sockets of its configuration, where there is no systemd: in a container, or
//! under another service manager.
//!
//! This program makes the sockets and becomes the host: the same process, so that signals and the exit code are the
//! host's. Nothing would start it again for a client, so it does not exit when it is idle: it stays, or parks.
//!
//! A container that systemd starts for a socket was passed the sockets (podman does that): these are served instead, and
//! the host exits when it is idle, as it does outside of a container.

use crate::run::sockets::Sockets;
use crate::{CommandError, absolute, activate, egress, host_program};
use rustix::process::{geteuid, getpid};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_sock_config::{Config, Environment, HandlerConfig, SocketOptions};

/// The arguments of `wasm-sock serve`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = "\
Opens the addresses in `listen` of the enabled handlers, and serves until a
signal ends it (SIGTERM drains, SIGHUP reloads, but not addresses). `process`,
`socket` and `schedule` are for systemd. Sockets that were passed ($LISTEN_FDS,
by podman) are served instead; then it exits when it is idle, as with systemd.

Examples:
  wasm-sock serve
  wasm-sock serve hello --config ./wasm-sock.toml")]
pub struct Serve {
    /// The handlers [default: all that have a `listen`]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Read this file, and handlers.d/*.toml beside it [default: /etc/wasm-sock/wasm-sock.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without clients: stay, or park
    #[arg(long, value_name = "WHAT", value_parser = [STAY, PARK], default_value = STAY,
        hide_possible_values = true)]
    when_idle: String,
    /// Of the log, on standard error
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
}

/// Values of `--when-idle`.
const STAY: &str = "stay";
const PARK: &str = "park";

/// The exit code when there is nothing to serve: `EX_CONFIG`, as the host has it.
const NOTHING: u8 = 78;

/// Becomes the host.
///
/// # Errors
/// When the configuration is invalid, nothing listens, or an address cannot be had.
pub fn run(serve: &Serve) -> Result<(), CommandError> {
    let path = serve.config.clone().map(absolute).transpose()?;
    let environment = Environment::current(geteuid().is_root());
    let config = Config::load(path.as_deref(), &environment);
    if activate::passed_sockets() > 0 {
        return Err(serve_passed(serve, path.as_deref(), config.ok().as_ref()));
    }
    let config = config.map_err(CommandError::Configuration)?;
    let handlers = chosen(serve, &config)?;
    let listens = || {
        handlers
            .iter()
            .flat_map(|(name, handler)| handler.listen.iter().map(|at| (*name, at)))
    };
    let names: Vec<&str> = listens().map(|(name, _)| name).collect();
    let mut sockets = Sockets::of(listens().map(|(_, listen)| listen))?;
    for (name, handler) in &handlers {
        warn_of(name, handler);
    }
    let mut variables = Vec::new();
    let folder = run_time_directory(&mut variables);
    start_egress(
        handlers.iter().map(|(_, handler)| *handler),
        path.as_deref(),
        &folder,
        &mut variables,
    )?;
    let mut arguments = host_arguments(serve, path.as_deref());
    if serve.when_idle == STAY {
        arguments.extend(["--when-idle", "exit", "--idle-timeout", "infinity"].map(OsString::from));
    }
    let descriptors = std::mem::take(&mut sockets.descriptors);
    Err(activate::become_host(&names, descriptors, &arguments, &variables))
}

/// Becomes the host with the sockets that were passed to this process, which has the number that `$LISTEN_PID` tells.
/// Returns why it cannot. With an invalid configuration, too: the host knows how to let clients wait for a valid one.
fn serve_passed(serve: &Serve, path: Option<&Path>, config: Option<&Config>) -> CommandError {
    if !serve.names.is_empty() {
        let why = "the sockets that were passed tell what is served: leave out the names of handlers";
        return CommandError::Failed(why.to_owned());
    }
    let mut variables = Vec::new();
    let folder = run_time_directory(&mut variables);
    let handlers = config.iter().flat_map(|config| config.handlers.values());
    let enabled = handlers.filter(|handler| handler.enabled);
    let host = start_egress(enabled, path, &folder, &mut variables).and_then(|()| host_program::path());
    let host = match host {
        Ok(host) => host,
        Err(error) => return error,
    };
    let mut command = Command::new(&host);
    command.arg("host").args(host_arguments(serve, path)).envs(variables);
    host_program::cannot_run(&host, &command.exec())
}

/// Starts `wasm-sock-egress` if one of these handlers reaches out and the host is not told of one already.
fn start_egress<'a>(
    mut handlers: impl Iterator<Item = &'a HandlerConfig>,
    config: Option<&Path>,
    folder: &Path,
    variables: &mut Vec<(&str, PathBuf)>,
) -> Result<(), CommandError> {
    if handlers.any(HandlerConfig::reaches_out) && env::var_os(egress::VARIABLE).is_none() {
        let socket = folder.join(format!("wasm-sock-egress.{}", getpid().as_raw_nonzero()));
        // This process becomes the host: it is killed when that ends.
        egress::start(config, &socket)?;
        variables.push((egress::VARIABLE, socket));
    }
    Ok(())
}

fn host_arguments(serve: &Serve, config: Option<&Path>) -> Vec<OsString> {
    let mut arguments = vec!["--log-format".into(), OsString::from(&serve.log_format)];
    if serve.when_idle == PARK {
        arguments.extend(["--when-idle".into(), PARK.into()]);
    }
    arguments.extend(
        config
            .into_iter()
            .flat_map(|path| ["--config".into(), path.as_os_str().to_owned()]),
    );
    arguments
}

/// The directory for run-time files: counters, and the socket of `wasm-sock-egress`. Of a service manager, or a new one,
/// which the host is told by a variable. It stays when the host has ended, as does a container's `/tmp`.
fn run_time_directory(variables: &mut Vec<(&str, PathBuf)>) -> PathBuf {
    if let Some(directory) = env::var_os("RUNTIME_DIRECTORY") {
        return directory.into();
    }
    match tempfile::Builder::new().prefix("wasm-sock-").tempdir() {
        Ok(directory) => {
            let directory = directory.keep();
            variables.push(("RUNTIME_DIRECTORY", directory.clone()));
            directory
        }
        Err(error) => {
            eprintln!("wasm-sock: nothing is counted: {error} (set $RUNTIME_DIRECTORY to a folder)");
            env::temp_dir()
        }
    }
}

/// The handlers that are served, by name.
fn chosen<'a>(serve: &'a Serve, config: &'a Config) -> Result<Vec<(&'a str, &'a HandlerConfig)>, CommandError> {
    let nothing = |why: String| {
        eprintln!("wasm-sock: {why}");
        CommandError::Reported(NOTHING)
    };
    let all = config.handlers.iter().map(|(name, handler)| (name.as_str(), handler));
    let mut listening = all.filter(|(_, handler)| handler.enabled && !handler.listen.is_empty());
    if serve.names.is_empty() {
        let handlers: Vec<_> = listening.collect();
        return match handlers.is_empty() {
            true => Err(nothing(
                "no handler has a `listen` (listen = [\"7000\"] in [handler.NAME])".to_owned(),
            )),
            false => Ok(handlers),
        };
    }
    let find = |name: &String| {
        let found = listening.by_ref().find(|(candidate, _)| candidate == name);
        found.ok_or_else(|| nothing(format!("{name}: no enabled handler with a `listen` has this name")))
    };
    let mut names = serve.names.clone();
    names.sort();
    names.dedup();
    names.iter().map(find).collect()
}

/// Says which settings of a handler have no effect here.
fn warn_of(name: &str, handler: &HandlerConfig) {
    let is_set = [
        ("socket", handler.socket != SocketOptions::default()),
        ("schedule", !handler.schedule.calendar.is_empty()),
    ];
    for (setting, _) in is_set.iter().filter(|(_, is_set)| *is_set) {
        eprintln!("wasm-sock: {name}: `{setting}` is for systemd, and has no effect here");
    }
}
