//! Reads the systemd units of wasm-sock from the service manager (`systemctl show`): sockets, services and their
//! limits.

use std::process::Command;
use wasm_sock_activation::handler_name;
use wasm_sock_units::unescape;

/// A socket unit that starts a wasm-sock service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SocketUnit {
    /// `hello.socket`
    pub name: String,
    /// The handler of its sockets (`FileDescriptorName=`).
    pub handler: String,
    /// The service that it starts.
    pub service: String,
    /// Its sockets: each an address, and the type as `systemctl` calls it (`Stream`, `Datagram`, …).
    pub listens: Vec<(String, String)>,
    /// The file that it is read from; empty: it is gone, or there is none.
    pub file: String,
    /// Has the file, or what it was made of, changed since systemd read it?
    pub is_outdated: bool,
    /// Does it listen?
    pub is_active: bool,
    /// Does systemd close the socket when it starts its service too often (`TriggerLimitBurst=`, `systemd.socket(5)`)?
    pub has_trigger_limit: bool,
}

/// The wasm-sock socket units that are loaded, and those of these names: those of the system for root, else the user's
/// own. Empty if no service manager answers.
pub fn socket_units(names: &[String]) -> Vec<SocketUnit> {
    let properties = "--property=Id,FileDescriptorName,Triggers,Listen,TriggerLimitIntervalUSec,TriggerLimitBurst,\
        FragmentPath,NeedDaemonReload,ActiveState";
    let mut units = parse(&show(&[properties, "*.socket"]));
    let is_loaded = |name: &&str| units.iter().any(|unit| unit.name == *name);
    // A pattern matches loaded units only; a name makes systemd load a unit that nothing has needed so far.
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !is_loaded(name))
        .collect();
    if !others.is_empty() {
        units.extend(parse(&show(&[&[properties, "--"], others.as_slice()].concat())));
    }
    units
}

impl SocketUnit {
    /// Was it made by a generator, and not written by people?
    pub fn is_generated(&self) -> bool {
        self.file.contains("/systemd/generator/")
    }
}

/// Is a unit active?
pub fn is_active(unit: &str) -> bool {
    show(&["--property=ActiveState", unit]).trim() == "ActiveState=active"
}

/// Does a service manager answer: the system's for root, else the user's own?
pub fn has_manager() -> bool {
    !show(&["--property=Version"]).trim().is_empty()
}

/// The resource limits of a service; `None`: no limit, or not known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ServiceLimits {
    /// `MemoryMax=`, in bytes.
    pub memory: Option<u64>,
    /// `LimitNOFILE=`
    pub descriptors: Option<u64>,
}

/// The resource limits of a service unit. All are `None` if no service manager answers.
pub fn service_limits(service: &str) -> ServiceLimits {
    parse_limits(&show(&["--property=MemoryMax,LimitNOFILESoft", service]))
}

fn parse_limits(text: &str) -> ServiceLimits {
    // "infinity" does not parse as a number: no limit.
    let value = |name: &str| property(text, name)?.parse().ok();
    ServiceLimits {
        memory: value("MemoryMax"),
        descriptors: value("LimitNOFILESoft"),
    }
}

/// Where a service keeps its state, as its unit says.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// `StateDirectory=`
    pub directories: String,
    /// `Environment=`
    pub environment: String,
}

/// `None`: no service manager answers, or it knows no such service.
pub fn service_state(service: &str) -> Option<ServiceState> {
    parse_state(&show(&["--property=LoadState,StateDirectory,Environment", service]))
}

fn parse_state(text: &str) -> Option<ServiceState> {
    let value = |name: &str| property(text, name).map(str::to_owned);
    (property(text, "LoadState")? == "loaded").then(|| ServiceState {
        directories: value("StateDirectory").unwrap_or_default(),
        environment: value("Environment").unwrap_or_default(),
    })
}

/// A property in the output of `systemctl show` for one unit.
fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.find_map(|(key, value)| (key == name).then_some(value))
}

/// The output of `systemctl show`; empty if no service manager answers.
fn show(arguments: &[&str]) -> String {
    let mut systemctl = Command::new("systemctl");
    if !rustix::process::geteuid().is_root() {
        systemctl.arg("--user");
    }
    match systemctl.arg("show").args(arguments).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

/// Parses the output: one paragraph for each unit, one line for each property; `Listen=` may occur several times.
fn parse(text: &str) -> Vec<SocketUnit> {
    let mut units = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut unit = SocketUnit::default();
        let mut is_wasm_sock = false;
        let (mut interval, mut burst) = ("0", "0");
        for line in paragraph.lines() {
            match line.split_once('=') {
                Some(("Id", name)) => unit.name = name.to_owned(),
                Some(("FileDescriptorName", name)) => handler_name(name).clone_into(&mut unit.handler),
                Some(("FragmentPath", file)) => file.clone_into(&mut unit.file),
                Some(("NeedDaemonReload", value)) => unit.is_outdated = value == "yes",
                Some(("ActiveState", value)) => unit.is_active = value == "active",
                Some(("Triggers", service)) => {
                    let service = unquote(service);
                    is_wasm_sock = service == "wasm-sock.service" || service.starts_with("wasm-sock@");
                    unit.service = service;
                }
                Some(("Listen", listen)) => {
                    let (address, kind) = listen.rsplit_once(' ').unwrap_or((listen, ""));
                    let kind = kind.trim_start_matches('(').trim_end_matches(')');
                    unit.listens.push((address.to_owned(), kind.to_owned()));
                }
                Some(("TriggerLimitIntervalUSec", value)) => interval = value,
                Some(("TriggerLimitBurst", value)) => burst = value,
                _ => {}
            }
        }
        unit.has_trigger_limit = interval != "0" && burst != "0";
        // `process = "connection"`: a service is there while a connection is.
        if unit.is_generated()
            && let Some(handler) = accepting_handler(&unit.name)
        {
            is_wasm_sock = true;
            unit.handler = handler;
            unit.service = format!("{}@.service", unit.name.strip_suffix(".socket").unwrap_or_default());
        }
        if is_wasm_sock {
            units.push(unit);
        }
    }
    units
}

/// A unit name in a list, as `systemctl show` writes it: one with a backslash is in quotes, each backslash doubled.
fn unquote(name: &str) -> String {
    let quoted = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.map_or_else(|| name.to_owned(), |name| name.replace("\\\\", "\\"))
}

/// The handler of a generated unit whose connections systemd accepts: `wasm-sock-NAME.socket`.
fn accepting_handler(unit: &str) -> Option<String> {
    let name = unit.strip_prefix("wasm-sock-")?.strip_suffix(".socket")?;
    // What follows the colon is an address.
    unescape(name.split(':').next()?)
}

/// Why a guest cannot serve a socket of this type, if it cannot.
pub fn obstacle(kind: &str, is_http: bool) -> Option<&'static str> {
    match kind {
        "Stream" => None,
        "Datagram" | "SequentialPacket" if is_http => Some("an HTTP guest needs a stream: use ListenStream="),
        "Datagram" | "SequentialPacket" => None,
        _ => Some(
            "it has neither connections nor datagrams: use ListenStream=, ListenDatagram= or ListenSequentialPacket=",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_service_is_known_if_systemd_knows_the_service() {
        let text = "Environment=A=1\nStateDirectory=wasm-sock/state\nLoadState=loaded\n";
        let state = parse_state(text).expect("it is loaded");
        assert_eq!(
            (state.directories.as_str(), state.environment.as_str()),
            ("wasm-sock/state", "A=1")
        );
        for text in ["", "LoadState=not-found\n", "StateDirectory=x\nLoadState=masked\n"] {
            assert_eq!(parse_state(text), None);
        }
    }

    #[test]
    fn our_units_are_found_with_all_that_they_listen_to() {
        let text = "Id=dbus.socket\nTriggers=dbus.service\nListen=/run/dbus (Stream)\n\n\
            Id=dns.socket\nFileDescriptorName=dns\nTriggers=wasm-sock.service\n\
            Listen=192.0.2.53:53 (Datagram)\nListen=192.0.2.53:53 (Stream)\n\
            TriggerLimitIntervalUSec=0\nTriggerLimitBurst=200\n\n\
            Id=wasm-sock@hello.socket\nFileDescriptorName=wasm-sock@hello.socket\n\
            Triggers=wasm-sock@hello.service\nListen=[::]:7000 (Stream)\n\
            TriggerLimitIntervalUSec=2s\nTriggerLimitBurst=200\n";
        let listen = |address: &str, kind: &str| (address.to_owned(), kind.to_owned());
        let expected = [
            SocketUnit {
                name: "dns.socket".into(),
                handler: "dns".into(),
                service: "wasm-sock.service".into(),
                listens: vec![listen("192.0.2.53:53", "Datagram"), listen("192.0.2.53:53", "Stream")],
                has_trigger_limit: false,
                ..SocketUnit::default()
            },
            SocketUnit {
                name: "wasm-sock@hello.socket".into(),
                handler: "hello".into(),
                service: "wasm-sock@hello.service".into(),
                listens: vec![listen("[::]:7000", "Stream")],
                has_trigger_limit: true,
                ..SocketUnit::default()
            },
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_generated_unit_that_accepts_leads_to_its_handler() {
        let text = "Id=wasm-sock-a\\x20b:7001.socket\nFileDescriptorName=connection\nListen=[::]:7001 (Stream)\n\
            FragmentPath=/run/systemd/generator/wasm-sock-a\\x20b:7001.socket\nNeedDaemonReload=yes\n\
            ActiveState=active\n\nId=wasm-sock-other.socket\nFragmentPath=/etc/systemd/system/wasm-sock-other.socket\n";
        let units = parse(text);
        assert_eq!(units.len(), 1);
        assert_eq!(
            (units[0].handler.as_str(), units[0].is_outdated, units[0].is_active),
            ("a b", true, true)
        );
        assert_eq!(units[0].service, "wasm-sock-a\\x20b:7001@.service");
    }

    #[test]
    fn a_service_with_an_escaped_name_is_known_in_quotes_and_without() {
        for triggers in [r#""wasm-sock@my\\x2dsvc.service""#, r"wasm-sock@my\x2dsvc.service"] {
            let units = parse(&format!("Id=wasm-sock@my\\x2dsvc.socket\nTriggers={triggers}\n"));
            let services: Vec<&str> = units.iter().map(|unit| unit.service.as_str()).collect();
            assert_eq!(services, [r"wasm-sock@my\x2dsvc.service"]);
        }
    }

    #[test]
    fn the_limits_of_a_service_are_numbers_or_none() {
        let limits = ServiceLimits {
            memory: Some(536_870_912),
            descriptors: None,
        };
        let text = "MemoryMax=536870912\nLimitNOFILESoft=infinity\n";
        assert_eq!(parse_limits(text), limits);
        assert_eq!(parse_limits(""), ServiceLimits::default());
    }

    #[test]
    fn http_needs_a_stream() {
        assert_eq!(obstacle("Stream", true), None);
        assert_eq!(obstacle("Datagram", false), None);
        assert!(obstacle("Datagram", true).is_some());
        assert!(obstacle("SequentialPacket", true).is_some());
        assert!(obstacle("FIFO", false).is_some());
    }
}
