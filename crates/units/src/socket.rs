//! Socket units: systemd.socket(5).

use wasm_sock_config::{HandlerConfig, Listen, ListenKind, Process, SocketOptions};

use crate::{Installation, Unit, escape, head, service_name, value, way_out, word};

/// The unit of one address. `all` are the socket units of the handler, the first of which stands for all.
pub(crate) fn unit(
    handler: &str,
    config: &HandlerConfig,
    name: &str,
    listen: &Listen,
    all: &[&str],
    installation: Installation<'_>,
) -> Unit {
    let mut text = head(
        &format!("{} for handler {handler}", listen.canonical()),
        config,
        installation,
    );
    // Starts are what people ask for; clients cause none.
    text += "StartLimitIntervalSec=0\n";
    text += &way_out(config);
    text += &dependencies(handler, config.process, name, all);
    text += "\n[Socket]\n";
    text += &format!("{}={}\n", listen.directive(), value(&listen.systemd_address()));
    match config.process {
        Process::Connection => {
            // systemd counts them itself, 64 by default, and closes what is beyond.
            let limits = &config.limits;
            text += &format!("Accept=yes\nMaxConnections={}\n", limits.max_connections);
            if let Some(most) = limits.max_connections_per_source {
                text += &format!("MaxConnectionsPerSource={most}\n");
            }
        }
        process => {
            // With Accept=yes, the name of the descriptor is always `connection`.
            text += &format!("FileDescriptorName={}\n", value(handler));
            text += &format!("Service={}\n", service_name(handler, process));
        }
    }
    // At this limit systemd would close the socket for good. RestartSec= of the service slows down one that fails.
    text += "TriggerLimitIntervalSec=0\n";
    text += &options(&config.socket, listen);
    Unit {
        name: name.to_owned(),
        text,
        wanted_by: Some("sockets.target"),
    }
}

/// The other addresses follow the first one: starting or stopping it is starting or stopping the handler.
///
/// systemd starts no socket whose service runs. So each wants a hand-over first: a service that costs nothing unless
/// that service runs, and then enqueues its restart. A start job of a socket waits for the stop of its service, whose
/// own start waits for its sockets. Clients of the other sockets wait in the kernel's queues meanwhile.
///
/// A socket that is stopped stops its service: the service has a descriptor of its own for it, and would go on serving
/// a closed port. The next client of another socket starts it again.
fn dependencies(handler: &str, process: Process, name: &str, all: &[&str]) -> String {
    let mut text = String::new();
    if let [first, others @ ..] = all {
        if name != *first {
            text += &format!("PartOf={first}\n");
        } else if !others.is_empty() {
            text += &format!("Wants={}\n", others.join(" "));
        }
    }
    let handover = match process {
        Process::Own => format!("wasm-sock-handover@{}.service", escape(handler)),
        Process::Shared => "wasm-sock-handover.service".to_owned(),
        Process::Connection => return text,
    };
    text += &format!("Wants={handover}\nAfter={handover}\n");
    text += &format!("PropagatesStopTo={}\n", service_name(handler, process));
    text
}

/// The settings that mean something to this kind of socket.
fn options(socket: &SocketOptions, listen: &Listen) -> String {
    let mut text = String::new();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name}={value}\n");
        }
    };
    let yes = |setting: Option<bool>| setting.map(|yes| if yes { "yes" } else { "no" }.to_owned());
    if listen.path().is_some() {
        set("SocketUser", socket.user.as_deref().map(value));
        set("SocketGroup", socket.group.as_deref().map(value));
        set("SocketMode", socket.mode.map(|mode| format!("{mode:04o}")));
        set("DirectoryMode", socket.directory_mode.map(|mode| format!("{mode:04o}")));
        let links: Vec<String> = socket.symlinks.iter().map(|link| word(link)).collect();
        set("Symlinks", (!links.is_empty()).then(|| links.join(" ")));
        set("RemoveOnStop", Some("yes".to_owned()));
    }
    if matches!(listen.kind, ListenKind::Tcp | ListenKind::Udp) {
        set("BindToDevice", socket.interface.as_deref().map(value));
        set("FreeBind", yes(socket.free_bind));
        let families = |only: bool| if only { "ipv6-only" } else { "both" }.to_owned();
        set("BindIPv6Only", socket.ipv6_only.map(families));
    }
    if listen.kind == ListenKind::Tcp {
        set("NoDelay", yes(socket.no_delay));
        set("KeepAlive", yes(socket.keep_alive));
    }
    if !listen.is_datagram() {
        set("Backlog", socket.backlog.map(|backlog| backlog.to_string()));
    }
    text
}
