//! The service of `process = "connection"`: systemd accepts, and starts an instance for each connection.

use wasm_sock_config::HandlerConfig;

use crate::{Installation, Unit, head, secrets, word};

/// What all services of wasm-sock have in common, and this one, too.
const SYSTEM: &str = include_str!("../../../units/system/wasm-sock@.service");
const USER: &str = include_str!("../../../units/user/wasm-sock@.service");

/// The template that systemd takes for the connections of a socket unit with `Accept=yes`.
pub(crate) fn unit(handler: &str, config: &HandlerConfig, socket: &str, installation: Installation<'_>) -> Unit {
    let stem = socket.strip_suffix(".socket").unwrap_or(socket);
    let host = installation.prefix.join("bin/wasm-sock");
    // `:` keeps systemd from replacing `$` in the name of the handler.
    let start = format!(
        "ExecStart=:{} host --handler {}\n",
        word(&host.display().to_string()),
        word(handler)
    );
    let mut text = head(&format!("wasm-sock: a connection of {handler}"), config, installation);
    // A connection that failed has been logged; its instance must not stay in memory for good.
    text += "CollectMode=inactive-or-failed\nStartLimitIntervalSec=0\n\n[Service]\n";
    text += &start;
    text += &shipped(installation.is_user);
    text += &secrets::lines(handler, config, installation);
    Unit {
        name: format!("{stem}@.service"),
        text,
        wanted_by: None,
    }
}

/// The settings of `[Service]` of the shipped template but for the command, reloads and restarts: a connection cannot
/// be served twice.
fn shipped(is_user: bool) -> String {
    let (_, service) = if is_user { USER } else { SYSTEM }
        .split_once("[Service]\n")
        .unwrap_or_default();
    let left_out = ["Exec", "Restart"];
    let settings = service
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'))
        .filter(|line| !left_out.iter().any(|name| line.starts_with(name)));
    settings.map(|line| format!("{line}\n")).collect()
}
