use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::settings::Setting;
use super::super::{
    ConfigValue, Destination, ForwardedFor, KeyValue, Listen, Logged, Logging, Network, Outbound, OutboundLimits,
    Process, Schedule, Scope, SocketOptions, StoreAddress, TlsFiles,
};
use super::*;

pub(super) fn fresh() -> Config {
    Config::built_in(PathBuf::from("/modules"))
}

pub(super) fn source(text: &str) -> SourceFile {
    SourceFile::new(Path::new("t.toml"), text.to_owned())
}

/// What a correct `wasm-sock.toml` says.
fn config(text: &str) -> Config {
    let mut config = fresh();
    let errors = check(&source(text), Role::Main, &mut config);
    assert_eq!(errors, [], "in:\n{text}");
    config
}

fn handler(text: &str) -> HandlerConfig {
    config(text).handlers.remove("a").expect("handler a")
}

pub(super) const ALL_KEYS: &str = r#"
[handler.hello]
module = "hello.wasm"
args = ["--shout", ""]
env = { GREETING = "hi", EMPTY = "" }
config = { greeting = "hi", motd = { file = "/etc/motd" } }
secrets = ["token"]
dirs = [
    { host = "/srv/hello", guest = "/data" },
    { host = "/var/tmp", guest = ".", access = "read-write" },
]
allow-outbound = ["api.telegram.org:443", "[::1]:80"]
outbound = { connect-timeout = "3s", first-byte-timeout = "infinity", idle-timeout = "1min", max-requests = 8, max-body = "infinity", max-head = "16KiB" }
keyvalue = { default = "embedded", cache = { at = "redis://:secret@cache.example/3", expire = "1h", prefix = "" } }
keyvalue-quota = "1MiB"
tls-roots = "/etc/ssl/private-ca.pem"
tls-certificate = "/etc/ssl/bot.pem"
tls-key = "/etc/ssl/bot.key"
timeout = "infinity"
idle-connection-timeout = "infinity"
max-output = "infinity"
max-datagram = "128KiB"
table-elements = 3000
max-connections = 1
max-connections-per-source = "infinity"
max-log = "infinity"
head-timeout = "infinity"
keep-alive = 0
forwarded-for = "off"
listen = ["7000", "udp:[::1]:53", "unix:/run/hello.sock"]
socket = { user = "www-data", group = "33", mode = "0600", directory-mode = 0o755, backlog = 7, interface = "lo", free-bind = true, no-delay = true, ipv6-only = false, keep-alive = true, symlinks = ["/run/hello"] }
process = "shared"
enabled = false
schedule = ["daily", "Mon *-*-* 03:00"]
schedule-jitter = "5min"
schedule-persistent = false
schedule-path = "/tick?now"
schedule-input = "/srv/hello/input"
log = "none"

[host]
idle-timeout = "1min"
drain-timeout = 0
modules = "/srv/modules"
stack = "2MiB"
max-connections = "infinity"
max-memory = "3GiB"

[defaults]
memory = "1GiB"
timeout = "2min"
cpu-time = 1
idle-connection-timeout = "3min"
max-output = "1GiB"
max-datagram = "2KiB"
table-elements = 2000
max-connections = 7
max-connections-per-source = 5
max-log = 50
log = "failures"
log-sample = 100
head-timeout = "2s"
keep-alive = "5min"
max-head = "64KiB"
max-body = 0
reuse = 1
concurrency = 4
forwarded-for = "trust"
"#;

#[test]
fn every_key_is_read_and_handlers_build_on_tables_further_down() {
    let config = config(ALL_KEYS);
    assert_eq!(config.host.idle_timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.host.drain_timeout, Duration::ZERO);
    assert_eq!(config.host.modules, Path::new("/srv/modules"));
    assert_eq!(config.host.max_memory, Some(3 << 30));
    assert_eq!(config.host.max_connections, None);
    assert_eq!(config.host.stack, 2 << 20);
    let defaults = Limits {
        memory: 1 << 30,
        timeout: Some(Duration::from_secs(120)),
        cpu_time: Some(Duration::from_secs(1)),
        idle_connection_timeout: Some(Duration::from_secs(180)),
        max_output: Some(1 << 30),
        max_datagram: 2 << 10,
        table_elements: 2000,
        max_connections: 7,
        max_connections_per_source: Some(5),
        max_log: Some(50),
    };
    assert_eq!(config.defaults, defaults);
    let limits = Limits {
        timeout: None,
        idle_connection_timeout: None,
        max_output: None,
        max_datagram: 128 << 10,
        table_elements: 3000,
        max_connections: 1,
        max_connections_per_source: None,
        max_log: None,
        ..defaults
    };
    let http_defaults = Http {
        head_timeout: Some(Duration::from_secs(2)),
        keep_alive: Some(Duration::from_secs(300)),
        max_head: 64 << 10,
        max_body: 0,
        reuse: 1,
        concurrency: 4,
        forwarded_for: ForwardedFor::Trust,
    };
    assert_eq!(config.http, http_defaults);
    let logging = Logging {
        which: Logged::Failures,
        sample: 100,
    };
    assert_eq!(config.logging, logging);
    let http = Http {
        head_timeout: None,
        keep_alive: Some(Duration::ZERO),
        forwarded_for: ForwardedFor::Off,
        ..http_defaults
    };
    let telegram = Destination::Name("api.telegram.org".into());
    let loopback = Network::new("::1".parse().expect("an address"), 128).expect("a prefix");
    let grant = |host: &str, guest: &str, access| DirGrant {
        host: host.into(),
        guest: guest.into(),
        access,
    };
    let hello = HandlerConfig {
        module: Some("/srv/modules/hello.wasm".into()),
        args: vec!["--shout".into(), "".into()],
        env: vec![("EMPTY".into(), "".into()), ("GREETING".into(), "hi".into())],
        config: vec![
            ("greeting".into(), ConfigValue::Text("hi".into())),
            ("motd".into(), ConfigValue::File("/etc/motd".into())),
        ],
        secrets: vec!["token".into()],
        dirs: vec![
            grant("/srv/hello", "/data", Access::ReadOnly),
            grant("/var/tmp", ".", Access::ReadWrite),
        ],
        allow_outbound: vec![
            Outbound {
                scope: Scope::Tcp,
                host: telegram,
                ports: vec![443..=443],
            },
            Outbound {
                scope: Scope::Tcp,
                host: Destination::Network(loopback),
                ports: vec![80..=80],
            },
        ],
        outbound: OutboundLimits {
            connect_timeout: Some(Duration::from_secs(3)),
            first_byte_timeout: None,
            idle_timeout: Some(Duration::from_secs(60)),
            max_requests: 8,
            max_body: None,
            max_head: 16 << 10,
        },
        keyvalue: vec![
            KeyValue {
                name: "cache".into(),
                at: StoreAddress::parse("redis://:secret@cache.example/3").expect("an address"),
                lifetime: Some(Duration::from_secs(3600)),
                prefix: Some(String::new()),
            },
            KeyValue {
                name: "default".into(),
                at: StoreAddress::Embedded,
                lifetime: None,
                prefix: None,
            },
        ],
        keyvalue_quota: 1 << 20,
        tls: TlsFiles {
            roots: Some("/etc/ssl/private-ca.pem".into()),
            identity: Some(("/etc/ssl/bot.pem".into(), "/etc/ssl/bot.key".into())),
        },
        limits,
        http,
        logging: Logging {
            which: Logged::None,
            ..logging
        },
        listen: ["7000", "udp:[::1]:53", "unix:/run/hello.sock"]
            .map(|address| Listen::parse(address).expect("an address"))
            .into(),
        socket: SocketOptions {
            user: Some("www-data".into()),
            group: Some("33".into()),
            mode: Some(0o600),
            directory_mode: Some(0o755),
            backlog: Some(7),
            interface: Some("lo".into()),
            free_bind: Some(true),
            no_delay: Some(true),
            ipv6_only: Some(false),
            keep_alive: Some(true),
            symlinks: vec!["/run/hello".into()],
        },
        process: Process::Shared,
        enabled: false,
        schedule: Schedule {
            calendar: vec!["daily".into(), "Mon *-*-* 03:00".into()],
            jitter: Duration::from_secs(300),
            persistent: false,
            path: "/tick?now".into(),
            input: Some("/srv/hello/input".into()),
            has_mistake: false,
        },
        has_unit_mistake: false,
        location: Some(source(ALL_KEYS).location(10)),
    };
    assert_eq!(hello.location.as_ref().expect("a place").to_string(), "t.toml:2:10");
    assert_eq!(config.handlers, [("hello".to_owned(), hello)].into());
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(config(""), fresh());
    assert_eq!(config("# nothing\n[host]\n[defaults]\n[handler]\n"), fresh());
}

#[test]
fn an_empty_handler_runs_with_the_defaults() {
    let empty = handler("[defaults]\nmemory = '1MiB'\nmax-body = '1KiB'\n[handler.a]");
    let defaults = Limits {
        memory: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(empty.limits, defaults);
    let http = Http {
        max_body: 1 << 10,
        ..Http::default()
    };
    assert_eq!(empty.http, http);
    assert_eq!(empty.module, None);
}

#[test]
fn a_handler_may_override_every_default() {
    for key in DEFAULTS {
        assert!(HANDLER.contains(key), "{key}");
    }
}

#[test]
fn a_connection_may_be_kept_for_ever_or_not_at_all() {
    let keep_alive = |value| handler(&format!("[handler.a]\nkeep-alive = {value}")).http.keep_alive;
    assert_eq!(keep_alive("'infinity'"), None);
    assert_eq!(keep_alive("'0s'"), Some(Duration::ZERO));
}

#[test]
fn an_idle_timeout_may_be_infinite_or_zero() {
    let idle_timeout = |text| config(text).host.idle_timeout;
    assert_eq!(idle_timeout("[host]\nidle-timeout = 'infinity'"), None);
    assert_eq!(idle_timeout("[host]\nidle-timeout = 0"), Some(Duration::ZERO));
}

#[test]
fn all_guests_may_have_what_the_machine_has_or_more_or_less() {
    let max_memory = |text| config(text).host.max_memory;
    assert_eq!(max_memory(""), None);
    assert_eq!(max_memory("[host]\nmax-memory = '1GiB'"), Some(1 << 30));
    assert_eq!(max_memory("[host]\nmax-memory = 'infinity'"), Some(u64::MAX));
}

#[test]
fn an_absolute_module_path_stays_as_it_is() {
    let module = handler("[handler.a]\nmodule = '/opt/a.wasm'").module;
    assert_eq!(module, Some("/opt/a.wasm".into()));
}

#[test]
fn longer_tables_may_be_written_out() {
    let text = "[handler.a.env]\nX = 'y'\n[[handler.a.dirs]]\nhost = '/h'\nguest = '/g'\n";
    let written_out = handler(text);
    assert_eq!(written_out.env, [("X".into(), "y".into())]);
    assert_eq!(written_out.dirs.len(), 1);
}

#[test]
fn the_defaults_written_out_change_nothing() {
    let lines = |settings: &[Setting]| {
        let lines = settings
            .iter()
            .filter_map(|setting| Some(format!("{} = {}\n", setting.key, setting.default?)));
        lines.collect::<String>()
    };
    let text = format!(
        "[host]\n{}[defaults]\n{}",
        lines(settings::HOST),
        lines(settings::DEFAULTS)
    );
    assert_eq!(config(&text), fresh());
    let mut written_out = handler(&format!(
        "[handler.a]\n{}{}[[handler.a.dirs]]\nhost = '/h'\nguest = '/g'\n{}\
         [handler.a.keyvalue.s]\nat = 'embedded'\n{}",
        lines(settings::DEFAULTS),
        lines(settings::HANDLER)
            .replace("dirs = []\n", "")
            .replace("keyvalue = {}\n", "")
            .replace(
                "outbound = {}\n",
                &lines(settings::OUTBOUND)
                    .lines()
                    .map(|line| format!("outbound.{line}\n"))
                    .collect::<String>()
            ),
        lines(settings::DIR),
        lines(settings::STORE),
    ));
    let mut left_out = handler("[handler.a]\nkeyvalue = { s = 'embedded' }\ndirs = [{ host = '/h', guest = '/g' }]");
    (written_out.location, left_out.location) = (None, None);
    assert_eq!(written_out, left_out);
}

/// The block of docs/settings.md that names all settings.
fn settings_of_the_book() -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md")).unwrap();
    let (_, block) = page.split_once("```toml\n[host]").expect("the block of settings");
    let (block, _) = block.split_once("```").expect("its end");
    format!("[host]{block}")
}

#[test]
fn the_book_names_every_key_and_what_it_says_is_understood() {
    let text = settings_of_the_book();
    let errors = check(&source(&text), Role::Main, &mut fresh());
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    let (host, rest) = text.split_once("[defaults]").expect("[defaults] after [host]");
    let (defaults, handler) = rest.split_once("[handler.").expect("a handler after the defaults");
    let names = |text: &str, key: &&&str| text.lines().any(|line| line.starts_with(&format!("{key} =")));
    for (table, keys) in [(host, HOST), (defaults, DEFAULTS), (handler, HANDLER_ONLY)] {
        let missing: Vec<_> = keys.iter().filter(|key| !names(table, key)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
