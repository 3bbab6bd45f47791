use std::process::Command;

use wasm_sock_config::{
    HandlerConfig, KeyValue, Listen, Process, RedisAddress, RedisServer, Schedule, SocketOptions, StoreAddress,
};

use super::*;

fn system() -> Installation<'static> {
    Installation {
        prefix: Path::new("/usr"),
        is_user: false,
        config_home: None,
    }
}

fn handler(process: Process, addresses: &[&str]) -> HandlerConfig {
    HandlerConfig {
        process,
        listen: addresses.iter().map(|text| Listen::parse(text).expect(text)).collect(),
        ..HandlerConfig::default()
    }
}

fn units(name: &str, config: &HandlerConfig) -> Vec<Unit> {
    units_of(name, config, system()).expect("units")
}

fn names(name: &str, config: &HandlerConfig) -> Vec<String> {
    units(name, config).into_iter().map(|unit| unit.name).collect()
}

fn lines(unit: &Unit) -> Vec<&str> {
    unit.text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[track_caller]
fn assert_has(unit: &Unit, expected: &[&str]) {
    for line in expected {
        assert!(
            lines(unit).contains(line),
            "{line:?} is not in {}:\n{}",
            unit.name,
            unit.text
        );
    }
}

/// Names that may be taken for something else by a shell, an option parser or systemd.
const HOSTILE: [&str; 14] = [
    "hello", "-x", "--help", ".hidden", "a b", "a-b", "a%n", "a$HOME", "a\"b'c`", "a\\x2db", "a@b", "a;b", "~",
    "a.b_c",
];

#[test]
fn names_are_escaped_as_systemd_escape_does() {
    let printable: String = (b' '..=b'~').map(char::from).collect();
    for text in HOSTILE
        .iter()
        .copied()
        .chain([printable.as_str(), "unix:/run/my door", "[::1]:7000"])
    {
        let program = Command::new("systemd-escape")
            .arg("--")
            .arg(text)
            .output()
            .expect("systemd-escape");
        let expected = String::from_utf8(program.stdout).expect("text");
        assert_eq!(escape(text), expected.trim_end_matches('\n'), "{text:?}");
        assert_eq!(unescape(&escape(text)).as_deref(), Some(text));
    }
    assert_eq!(unescape("a\\x2"), None);
    assert_eq!(unescape("a\\y20"), None);
}

#[test]
fn each_address_has_a_unit_of_its_own() {
    let config = handler(Process::Own, &["7000", "udp:[::1]:53", "unix:/run/hello.sock"]);
    let expected = [
        "wasm-sock@hello.socket",
        "wasm-sock@hello:udp:\\x5b::1\\x5d:53.socket",
        "wasm-sock@hello:unix:-run-hello.sock.socket",
    ];
    assert_eq!(names("hello", &config), expected);
    let units = units("hello", &config);
    let service = "wasm-sock@hello.service";
    for unit in &units {
        assert_eq!(unit.wanted_by, Some("sockets.target"));
        assert_has(
            unit,
            &[
                "FileDescriptorName=hello",
                &format!("Service={service}"),
                "TriggerLimitIntervalSec=0",
            ],
        );
        assert_has(
            unit,
            &[
                "Wants=wasm-sock-handover@hello.service",
                "After=wasm-sock-handover@hello.service",
            ],
        );
        assert_has(unit, &[&format!("PropagatesStopTo={service}")]);
    }
    assert_has(
        &units[0],
        &["ListenStream=7000", &format!("Wants={} {}", expected[1], expected[2])],
    );
    assert_has(&units[1], &["ListenDatagram=[::1]:53", "PartOf=wasm-sock@hello.socket"]);
    assert_has(&units[2], &["ListenStream=/run/hello.sock", "RemoveOnStop=yes"]);
}

#[test]
fn a_shared_process_has_one_service_and_one_hand_over() {
    let config = handler(Process::Shared, &["7000"]);
    let units = units("a b", &config);
    assert_eq!(units[0].name, "wasm-sock@a\\x20b.socket");
    assert_has(&units[0], &["FileDescriptorName=a b", "Service=wasm-sock.service"]);
    assert_has(
        &units[0],
        &["Wants=wasm-sock-handover.service", "PropagatesStopTo=wasm-sock.service"],
    );
}

#[test]
fn a_process_for_each_connection_has_a_template_as_confined_as_the_shipped_one() {
    let config = handler(Process::Connection, &["7000", "7001"]);
    let units = units("a$b", &config);
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    let stem = "wasm-sock-a\\x24b";
    let expected = [".socket", "@.service", ":7001.socket", ":7001@.service"].map(|end| format!("{stem}{end}"));
    assert_eq!(names, expected);
    assert_has(&units[0], &["Accept=yes", "ListenStream=7000"]);
    assert!(
        !units[0].text.contains("Service=") && !units[0].text.contains("handover"),
        "{}",
        units[0].text
    );
    let start = "ExecStart=:\"/usr/bin/wasm-sock\" host --handler \"a$b\"";
    assert_has(
        &units[1],
        &[start, "User=wasm-sock", "NoNewPrivileges=yes", "CapabilityBoundingSet="],
    );
    assert_has(&units[1], &["CollectMode=inactive-or-failed", "LimitNOFILE=65536"]);
    for absent in ["Restart=", "ExecReload=", "RestartSec="] {
        assert!(!units[1].text.contains(absent), "{absent} in {}", units[1].text);
    }
    assert_eq!(units[1].wanted_by, None);
}

#[test]
fn no_handler_replaces_a_shipped_unit() {
    for name in ["exec", "handover"] {
        for unit in names(name, &handler(Process::Connection, &["7000"])) {
            assert!(!["wasm-sock-exec@.service", "wasm-sock-handover@.service"].contains(&unit.as_str()));
            let stem = unit.strip_prefix("wasm-sock-").expect(&unit);
            let stem = stem.strip_suffix("@.service").or_else(|| stem.strip_suffix(".socket"));
            assert_eq!(unescape(stem.expect(&unit)).as_deref(), Some(name));
        }
    }
}

#[test]
fn specifiers_are_written_out() {
    let mut config = handler(Process::Own, &["unix:/run/%n/a b"]);
    config.socket = SocketOptions {
        mode: Some(0o600),
        symlinks: vec!["/run/a \"%i\\b".into()],
        ..SocketOptions::default()
    };
    config.schedule.calendar = vec!["daily".into()];
    config.schedule.path = "/%20x".into();
    let units = units("100%", &config);
    assert_has(
        &units[0],
        &[
            "FileDescriptorName=100%%",
            "ListenStream=/run/%%n/a b",
            "SocketMode=0600",
        ],
    );
    assert_has(
        &units[0],
        &["Service=wasm-sock@100\\x25.service", "Symlinks=\"/run/a \\\"%%i\\\\b\""],
    );
    assert_has(
        &units[2],
        &["ExecStart=:\"/usr/bin/wasm-sock\" exec --path \"/%%20x\" -- \"100%%\""],
    );
}

#[test]
fn settings_are_written_for_the_sockets_that_have_them() {
    let mut config = handler(
        Process::Own,
        &["7000", "udp:7000", "unix:/run/x", "vsock::1", "unix:@x"],
    );
    config.socket = SocketOptions {
        user: Some("ada".into()),
        group: Some("ada".into()),
        mode: Some(0o660),
        directory_mode: Some(0o755),
        backlog: Some(7),
        interface: Some("lo".into()),
        free_bind: Some(true),
        no_delay: Some(true),
        ipv6_only: Some(true),
        keep_alive: Some(false),
        symlinks: Vec::new(),
    };
    let of_socket = |unit: &Unit| {
        let (_, settings) = unit.text.split_once("TriggerLimitIntervalSec=0\n").expect("settings");
        settings.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let settings: Vec<_> = units("a", &config).iter().map(of_socket).collect();
    let internet = ["BindToDevice=lo", "FreeBind=yes", "BindIPv6Only=ipv6-only"];
    assert_eq!(
        settings[0],
        [&internet[..], &["NoDelay=yes", "KeepAlive=no", "Backlog=7"]].concat()
    );
    assert_eq!(settings[1], internet);
    let file = [
        "SocketUser=ada",
        "SocketGroup=ada",
        "SocketMode=0660",
        "DirectoryMode=0755",
        "RemoveOnStop=yes",
    ];
    assert_eq!(settings[2], [&file[..], &["Backlog=7"]].concat());
    assert_eq!(settings[3], ["Backlog=7"]);
    assert_eq!(settings[4], ["Backlog=7"]);
}

#[test]
fn a_schedule_is_a_timer_and_passes_what_a_run_gets() {
    let config = HandlerConfig {
        schedule: Schedule {
            calendar: vec!["daily".into(), "Mon *-*-* 03:00".into()],
            jitter: std::time::Duration::from_secs(300),
            input: Some("/srv/a b".into()),
            ..Schedule::default()
        },
        ..HandlerConfig::default()
    };
    let units = units("-x", &config);
    assert_eq!(units[0].name, "wasm-sock@\\x2dx.timer");
    assert_eq!(units[0].wanted_by, Some("timers.target"));
    assert_has(
        &units[0],
        &[
            "OnCalendar=daily",
            "OnCalendar=Mon *-*-* 03:00",
            "RandomizedDelaySec=300000000us",
        ],
    );
    assert_has(&units[0], &["Persistent=yes", "Unit=wasm-sock-exec@\\x2dx.service"]);
    assert_eq!(units[1].name, "wasm-sock-exec@\\x2dx.service.d/schedule.conf");
    assert_has(
        &units[1],
        &[
            "ExecStart=",
            "ExecStart=:\"/usr/bin/wasm-sock\" exec --input \"/srv/a b\" -- \"-x\"",
        ],
    );
}

#[test]
fn a_handler_that_is_disabled_or_has_nothing_to_do_has_no_units() {
    let mut config = handler(Process::Own, &["7000"]);
    config.enabled = false;
    assert!(names("a", &config).is_empty());
    assert!(names("a", &HandlerConfig::default()).is_empty());
    // Such a name matters to units only.
    assert!(names(&"-".repeat(255), &HandlerConfig::default()).is_empty());
}

#[test]
fn a_name_that_no_unit_can_have_is_refused() {
    let config = handler(Process::Own, &["7000"]);
    let error = |name: &str| units_of(name, &config, system()).map(|units| units.len());
    assert_eq!(error(&"a".repeat(221)), Ok(1));
    assert_eq!(error(&"a".repeat(222)), Err(NameError::TooLong(222, 221)));
    assert_eq!(error(&"-".repeat(60)), Err(NameError::TooLong(240, 221)));
    for name in [" a", "a ", "a\\"] {
        assert_eq!(error(name), Err(NameError::Unwritable), "{name:?}");
    }
}

#[test]
fn no_unit_has_a_longer_name_than_systemd_takes() {
    let path = format!("unix:/{}", "~".repeat(106));
    let other = format!("unix:/{}", "~".repeat(105));
    for process in [Process::Own, Process::Shared, Process::Connection] {
        let config = handler(process, &["7000", &path, &other]);
        let longest = (1..255).take_while(|length| check_name(&"a".repeat(*length), process).is_ok());
        let longest = longest.last().expect("some name is allowed");
        assert!(longest > 100, "{longest}");
        let names = names(&"a".repeat(longest), &config);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        for name in &names {
            let instance = "4294967295-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:65535-\
                            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:65535";
            let name = name.replace("@.service", &format!("@{instance}.service"));
            assert!(name.len() <= MAX_NAME, "{} bytes: {name}", name.len());
        }
    }
}

#[test]
fn a_handler_that_needs_egress_has_it_listen_and_no_other_has() {
    let wants = format!("Wants={EGRESS}");
    let wants = |config: &HandlerConfig| lines(&units("a", config)[0]).contains(&&*wants);
    let mut config = handler(Process::Own, &["7000"]);
    let store = |at| KeyValue {
        name: "default".to_owned(),
        at,
        lifetime: None,
        prefix: None,
    };
    let server = RedisServer {
        address: RedisAddress::Unix("/run/redis.sock".into()),
        user: None,
        password: None,
        database: 0,
    };
    assert!(!wants(&config));
    config.keyvalue = vec![store(StoreAddress::Embedded)];
    assert!(!wants(&config));
    config.keyvalue = vec![store(StoreAddress::Redis(server))];
    assert!(wants(&config));
}
