//! systemd units for handlers: which there are, their names, and their texts.
//!
//! `listen` of a handler becomes socket units, one for each address, so that an address can be added or removed while
//! the others stay as they are; `schedule` becomes a timer. The services are the shipped ones, except for
//! `process = "connection"`: systemd derives the name of such a service from that of the socket.

mod escape;
mod secrets;
mod service;
mod socket;
mod timer;

#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use wasm_sock_config::{HandlerConfig, Listen, Process};

pub use escape::{escape, unescape};
pub use secrets::{CREDENTIAL_STORES, ENCRYPTED_CREDENTIAL_STORES};

/// The unit whose socket hosts connect to when a guest reaches out.
pub const EGRESS: &str = "wasm-sock-egress.socket";

/// Bytes of a unit's name (`UNIT_NAME_MAX` of systemd, without the NUL).
const MAX_NAME: usize = 255;
/// Bytes of what follows the first part of a unit's name: `.socket`; or, for `process = "connection"`, `@.service` with
/// the instance of a connection over IPv6, `4294967295-ADDRESS:PORT-ADDRESS:PORT`.
const END: usize = ".socket".len();
const END_OF_CONNECTION: usize = "@.service".len() + 10 + 2 * (1 + 39 + 1 + 5);
/// `:` and a hash in place of an address.
const HASHED: usize = 1 + 16;

/// A unit, or a drop-in of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The path below the folder of the units: `wasm-sock@hello.socket`, `wasm-sock-exec@hello.service.d/schedule.conf`.
    pub name: String,
    pub text: String,
    /// The target that starts it: `sockets.target`, `timers.target`. `None`: another unit starts it.
    pub wanted_by: Option<&'static str>,
}

/// Where wasm-sock is installed, and for whom units are made.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// `/usr` or `/usr/local`
    pub prefix: &'a Path,
    /// A user's own service manager, and not the system's.
    pub is_user: bool,
    /// The folder of the user's own settings (`~/.config`), with the user's credentials.
    pub config_home: Option<&'a Path>,
}

/// Why a handler cannot have units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// Its name, escaped, has so many bytes, of so many that are allowed.
    TooLong(usize, usize),
    /// A line of a unit file cannot end, or a value begin, with such a character.
    Unwritable,
}

impl Display for NameError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NameError::TooLong(length, allowed) => write!(
                f,
                "its name is too long for units: {length} bytes as systemd-escape(1) writes it (allowed: {allowed})"
            ),
            NameError::Unwritable => f.write_str(
                "its name cannot stand in a unit file (allowed: no space at its ends, and no \"\\\" at the end)",
            ),
        }
    }
}

impl std::error::Error for NameError {}

/// The service that serves a handler's sockets. For `process = "connection"` it is a template, and there is one for
/// each address: this is that of the first.
pub fn service_name(handler: &str, process: Process) -> String {
    match process {
        Process::Own => format!("wasm-sock@{}.service", escape(handler)),
        Process::Shared => "wasm-sock.service".to_owned(),
        Process::Connection => format!("{}@.service", connection_prefix(handler)),
    }
}

/// The socket unit of a handler's first address.
pub fn unit_name(handler: &str, process: Process) -> String {
    match process {
        Process::Own | Process::Shared => format!("wasm-sock@{}.socket", escape(handler)),
        Process::Connection => format!("{}.socket", connection_prefix(handler)),
    }
}

/// The timer of a handler with a `schedule`.
pub fn timer_name(handler: &str) -> String {
    format!("wasm-sock@{}.timer", escape(handler))
}

/// The service that the timer starts.
pub fn exec_name(handler: &str) -> String {
    format!("wasm-sock-exec@{}.service", escape(handler))
}

/// The socket units of all addresses, each with its address.
pub fn sockets<'a>(handler: &str, config: &'a HandlerConfig) -> Vec<(String, &'a Listen)> {
    let first = unit_name(handler, config.process);
    let stem = first.strip_suffix(".socket").unwrap_or(&first);
    let mut addresses = config.listen.iter();
    let own = addresses.next().map(|listen| (first.clone(), listen));
    let part = |listen| address_part(stem, listen, config.process);
    let others = addresses.map(|listen| (format!("{stem}:{}.socket", part(listen)), listen));
    own.into_iter().chain(others).collect()
}

/// All units of a handler. None if it is disabled, or has neither addresses, nor a schedule, nor secrets.
///
/// # Errors
/// When no unit can have such a name.
pub fn units_of(
    handler: &str,
    config: &HandlerConfig,
    installation: Installation<'_>,
) -> Result<Vec<Unit>, NameError> {
    let is_idle = config.listen.is_empty() && config.schedule.calendar.is_empty();
    if !config.enabled || is_idle && config.secrets.is_empty() {
        return Ok(Vec::new());
    }
    check_name(handler, config.process)?;
    let mut units = Vec::new();
    let sockets = sockets(handler, config);
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    for (name, listen) in &sockets {
        units.push(socket::unit(handler, config, name, listen, &names, installation));
        if config.process == Process::Connection {
            units.push(service::unit(handler, config, name, installation));
        }
    }
    units.extend(timer::units(handler, config, installation));
    units.extend(secrets::units(handler, config, installation));
    Ok(units)
}

/// Checks that units can have the name of a handler.
///
/// # Errors
/// As [`units_of`].
pub fn check_name(handler: &str, process: Process) -> Result<(), NameError> {
    if handler.trim() != handler || handler.ends_with('\\') {
        return Err(NameError::Unwritable);
    }
    let allowed = room(process) - HASHED - "wasm-sock@".len();
    match escape(handler).len() {
        length if length <= allowed => Ok(()),
        length => Err(NameError::TooLong(length, allowed)),
    }
}

/// The most bytes that may be before `.socket`.
fn room(process: Process) -> usize {
    match process {
        Process::Own | Process::Shared => MAX_NAME - END,
        // A byte of the name may be escaped that need not be: see `connection_prefix`.
        Process::Connection => MAX_NAME - END_OF_CONNECTION - 3,
    }
}

/// What the units of `process = "connection"` begin with. A handler may be called as the rest of a shipped unit's name.
fn connection_prefix(handler: &str) -> String {
    let name = escape(handler);
    match handler {
        "exec" | "handover" => format!("wasm-sock-\\x{:02x}{}", handler.as_bytes()[0], &name[1..]),
        _ => format!("wasm-sock-{name}"),
    }
}

/// The part of a unit's name for an address that is not the first: readable, if there is room for it.
fn address_part(stem: &str, listen: &Listen, process: Process) -> String {
    let address = listen.canonical();
    let escaped = escape(&address);
    match stem.len() + 1 + escaped.len() <= room(process) {
        true => escaped,
        false => format!("{:016x}", hash(&address)),
    }
}

/// FNV-1a, which stays the same in all versions.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What guests that reach out need, which costs nothing until one does: a listening socket.
fn way_out(config: &HandlerConfig) -> String {
    match config.reaches_out() {
        true => format!("Wants={EGRESS}\n"),
        false => String::new(),
    }
}

/// The lines of `[Unit]` that all have: `description`, and where the unit comes from. systemd compares the time of the
/// source with when it read the unit, and tells when `daemon-reload` is missing.
fn head(description: &str, config: &HandlerConfig, installation: Installation<'_>) -> String {
    let source = config.location.as_ref().and_then(|location| location.file.to_str());
    let source = source.filter(|path| is_writable(path) && path.starts_with('/'));
    let documentation = installation.prefix.join("share/doc/wasm-sock/handler.toml");
    let mut text = "# Made by wasm-sock-generator; a change here is lost. ".to_owned();
    match source {
        Some(path) => text += &format!("Edit {path}\n# and run `systemctl daemon-reload`"),
        None => text += "Edit the configuration\n# and run `systemctl daemon-reload`",
    }
    text += ", or write a drop-in: `systemctl edit UNIT`.\n\n[Unit]\n";
    text += &format!("Description={}\n", value(description));
    text += &format!("Documentation=file:{}\n", value(&documentation.display().to_string()));
    if let Some(path) = source {
        text += &format!("SourcePath={}\n", value(path));
    }
    text
}

/// Whether a line of a unit file can be this text to its end.
fn is_writable(text: &str) -> bool {
    !text.contains(char::is_control) && text.trim() == text && !text.ends_with('\\')
}

/// A value in which systemd expands no specifiers (systemd.unit(5)).
fn value(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a list or a command line in which systemd expands nothing: systemd.syntax(7), *Quoting*.
fn word(text: &str) -> String {
    format!("\"{}\"", value(text).replace('\\', "\\\\").replace('"', "\\\""))
}
