use super::super::mistakes::errors;
use super::super::tests::{fresh, source};
use super::super::{Role, check};

fn wrong(lines: &str) -> Vec<String> {
    errors(&format!("[handler.a]\n{lines}"))
}

/// Whether systemd would get units of handler `a`.
fn has_units(text: &str) -> bool {
    let mut config = fresh();
    check(&source(text), Role::DropIn("a"), &mut config);
    config
        .handlers
        .get("a")
        .is_some_and(|handler| !handler.has_unit_mistake)
}

#[test]
fn an_address_may_stand_alone_and_each_mistake_is_told_at_its_place() {
    assert_eq!(wrong("listen = '7000'\nschedule = 'daily'"), [""; 0]);
    assert_eq!(
        wrong("listen = 7000"),
        ["2:10: listen: expected a string, found an integer (write it in quotes)"]
    );
    assert_eq!(
        wrong("listen = ['80', '0', '[::1']"),
        [
            "2:17: listen: cannot be \"0\": \"0\" is no port (allowed: 1 to 65535)",
            "2:22: listen: cannot be \"[::1\": \"]\" is missing (write \"[::1]:7000\")",
        ]
    );
}

#[test]
fn an_address_that_is_taken_by_another_of_the_handler_is_told() {
    assert_eq!(
        wrong("listen = ['7000', 'udp:7000', '127.0.0.1:7000']"),
        ["2:10: listen: \"127.0.0.1:7000\" is taken by \"7000\" already (remove one)"]
    );
    assert_eq!(
        wrong("listen = ['[::]:7000', '0.0.0.0:7000']\nsocket.ipv6-only = true"),
        [""; 0]
    );
    let many = vec!["'unix:@a'"; 101].join(",");
    assert!(
        wrong(&format!("listen = [{many}]"))
            .concat()
            .contains("more than 100 addresses")
    );
}

#[test]
fn a_process_for_each_connection_takes_no_datagrams() {
    assert_eq!(
        wrong("process = 'connection'\nlisten = ['7000', 'udp:53']"),
        [
            "2:11: process: cannot be \"connection\" with \"udp:53\": datagrams have no connection \
             (allowed: \"own\", \"shared\", or another handler for these addresses)"
        ]
    );
    assert_eq!(
        wrong("process = 'inetd'"),
        ["2:11: process: cannot be \"inetd\" (allowed: \"own\", \"shared\", \"connection\")"]
    );
}

#[test]
fn a_wrong_setting_of_a_socket_is_told() {
    assert_eq!(
        wrong("socket = { mod = '0600', user = 'a b', mode = 600, directory-mode = '0888', interface = 'a/b' }"),
        [
            "2:12: unknown key \"mod\" (did you mean \"mode\"? allowed: user, group, mode, directory-mode, backlog, \
             interface, free-bind, no-delay, ipv6-only, keep-alive, symlinks; for others of systemd.socket(5) use a \
             drop-in: systemctl edit wasm-sock@NAME.socket)",
            "2:33: user: cannot be \"a b\" (allowed: a user's or group's name, or its number)",
            "2:47: mode: 600 is not octal (allowed: an octal number in quotes, \"0600\" to \"0777\" and the like)",
            "2:69: directory-mode: cannot be \"0888\" (allowed: an octal number in quotes, \"0600\" to \"0777\" and \
             the like)",
            "2:89: interface: cannot be \"a/b\" (allowed: a network interface as `ip link` shows it, such as \"eth0\")",
        ]
    );
    assert_eq!(
        wrong("listen = '80'\nsocket.symlinks = ['/run/x']"),
        [
            "3:1: socket: symlinks lead to the one Unix socket of a handler; \"a\" has 0 in the file system (give \
             others to another handler)"
        ]
    );
}

#[test]
fn a_wrong_schedule_is_told() {
    assert_eq!(
        wrong("schedule = ['', '30 4 * * *']\nschedule-path = 'tick'\nschedule-input = 'x'\nschedule-jitter = 'x'"),
        [
            "2:13: schedule: cannot be \"\" (allowed: \"daily\", \"Mon *-*-* 03:00\" and others of systemd.time(7))",
            "2:17: schedule: \"30 4 * * *\" is cron's way (write systemd's: \"*-*-* 04:30\"; see systemd.time(7))",
            "3:17: schedule-path: cannot be \"tick\" (allowed: a path as in a URL, starting with /; others as %20)",
            "4:18: schedule-input: \"x\" must be an absolute path, starting with /",
            "5:19: schedule-jitter: \"x\" is not a duration: write whole numbers with units \
             (us, ms, s, min, h, d, w; as in \"30s\" or \"1min 30s\")",
        ]
    );
    assert!(
        wrong("schedule = \"daily\\nExecStart=x\"")
            .concat()
            .contains("cannot be")
    );
}

#[test]
fn what_is_logged_is_told() {
    assert_eq!(
        wrong("log = 'errors'\nlog-sample = 0"),
        [
            "2:7: log: cannot be \"errors\" (allowed: \"all\", \"failures\", \"none\")",
            "3:14: log-sample: cannot be 0 (allowed: 1 to 4294967295)",
        ]
    );
}

#[test]
fn a_mistake_elsewhere_leaves_a_handler_its_units() {
    let listen = "listen = 'unix:/run/x'\nsocket = { mode = '0600' }";
    for elsewhere in [
        "memory = '1KiB'",
        "colour = 1",
        "memory = 64MiB",
        "dirs = ['/srv']",
        "timeout = ",
    ] {
        for text in [
            format!("[handler.a]\n{elsewhere}\n{listen}"),
            format!("[handler.a]\n{listen}\n{elsewhere}\n"),
        ] {
            assert!(has_units(&text), "{text}");
        }
    }
}

#[test]
fn a_wrong_address_leaves_the_others_and_a_wrong_schedule_leaves_no_timer() {
    let read = |lines: &str| {
        let mut config = fresh();
        let text = format!("[handler.a]\n{lines}");
        assert!(
            !check(&source(&text), Role::DropIn("a"), &mut config).is_empty(),
            "{lines}"
        );
        config.handlers.remove("a").expect("the handler")
    };
    for lines in [
        "listen = ['80', '0', '[::1]:81', 7]",
        "listen = ['80', '[::1]:81', '127.0.0.1:80']",
    ] {
        let handler = read(lines);
        let addresses: Vec<String> = handler.listen.iter().map(ToString::to_string).collect();
        assert_eq!(
            (addresses.join(" ").as_str(), handler.has_unit_mistake),
            ("80 [::1]:81", false),
            "{lines}"
        );
    }
    let handler = read("listen = '80'\nschedule = 'daily'\nschedule-path = 'tick'");
    assert!(!handler.has_unit_mistake && handler.schedule.has_mistake);
}

#[test]
fn a_mistake_that_may_concern_units_leaves_none() {
    let listen = "listen = 'unix:/run/x'";
    for units in [
        "socket = { mode = 0600 }",
        "socket = { mode = '0600' ",
        "socket.mode = '06",
        "args = ['a'\nsocket = { mode = '0600' }",
        "enabled = no",
        "enabled = 'false'",
        "process = 'shard'",
        "listen = '80'",
        "listen = ['0', '80']",
        "memory = \"\"\"64\nsocket = { mode = '0600' }",
        "[handler.a.socket",
    ] {
        for text in [
            format!("[handler.a]\n{units}\n{listen}\n"),
            format!("[handler.a]\n{listen}\n{units}\n"),
        ] {
            assert!(!has_units(&text), "{text}");
        }
    }
}
