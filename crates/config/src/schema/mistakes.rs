//! Tests: every kind of configuration error is reported with its line and column, and what is allowed.

use super::outgoing::OUTBOUND;
use super::tests::{fresh, source};
use super::*;

/// The errors as lines, without the name of the file.
fn errors_as(role: Role, text: &str) -> Vec<String> {
    let errors = check(&source(text), role, &mut fresh());
    let lines = errors.iter().map(|error| error.to_string());
    lines
        .map(|line| line.strip_prefix("t.toml:").expect(&line).to_owned())
        .collect()
}

/// The keys that `[defaults]` and handlers share, as messages tell them.
const SHARED: &str = "memory, table-elements, timeout, cpu-time, idle-connection-timeout, \
    max-connections, max-connections-per-source, max-output, max-datagram, max-log, log, log-sample, \
    head-timeout, keep-alive, max-head, max-body, reuse, concurrency, forwarded-for";

/// Those that only a handler has.
const OWN: &str = "module, args, env, config, secrets, dirs, allow-outbound, outbound, keyvalue, \
    keyvalue-quota, tls-roots, tls-certificate, tls-key, listen, socket, process, enabled, schedule, \
    schedule-jitter, schedule-persistent, schedule-path, schedule-input";

/// Those of `[host]`.
const OF_HOST: &str =
    "idle-timeout, drain-timeout, modules, stack, max-memory, max-connections, require-sandbox, reload, when-idle";

pub(super) fn errors(text: &str) -> Vec<String> {
    errors_as(Role::Main, text)
}

#[test]
fn an_unknown_key_is_told_with_what_was_meant_and_what_is_allowed() {
    assert_eq!(
        errors("[defaults]\nmemroy = '1MiB'"),
        [format!(
            "2:1: unknown key \"memroy\" (did you mean \"memory\"? \
          allowed: {SHARED})"
        )]
    );
    assert_eq!(
        errors("[handlers.a]"),
        ["1:2: unknown key \"handlers\" (did you mean \"handler\"? \
          allowed: host, defaults, handler)"]
    );
    assert_eq!(
        errors("[host]\ncolour = 1"),
        [format!("2:1: unknown key \"colour\" (allowed: {OF_HOST})")]
    );
    assert_eq!(
        errors("[handler.a]\nallow_outbound = []"),
        [format!(
            "2:1: unknown key \"allow_outbound\" (did you mean \"allow-outbound\"? \
          allowed: {OWN}, {SHARED})"
        )]
    );
    assert_eq!(
        errors("[handler.a]\ndirs = [{ host = '/', guest = '/', mode = 'rw' }]"),
        ["2:36: unknown key \"mode\" (allowed: host, guest, access)"]
    );
}

#[test]
fn a_slip_in_a_setting_for_http_finds_the_one_that_was_meant() {
    for (typed, meant) in [
        ("header-timeout", "head-timeout"),
        ("keepalive", "keep-alive"),
        ("max-header", "max-head"),
        ("max_body", "max-body"),
        ("reuses", "reuse"),
        ("concurency", "concurrency"),
        ("x-forwarded-for", "forwarded-for"),
    ] {
        for table in ["defaults", "handler.a"] {
            let errors = errors(&format!("[{table}]\n{typed} = 1")).concat();
            let question = format!("2:1: unknown key {typed:?} (did you mean {meant:?}? ");
            assert!(errors.starts_with(&question), "{errors}");
        }
    }
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    assert_eq!(
        errors("[host]\ntimeout = '1s'"),
        [format!(
            "2:1: unknown key \"timeout\" (it belongs in [defaults]; \
          allowed: {OF_HOST})"
        )]
    );
    assert_eq!(
        errors("[defaults]\nidle-timeout = '1s'"),
        [format!(
            "2:1: unknown key \"idle-timeout\" (it belongs in [host]; \
          allowed: {SHARED})"
        )]
    );
    assert_eq!(
        errors("[host]\nkeep-alive = '1s'"),
        [format!(
            "2:1: unknown key \"keep-alive\" (it belongs in [defaults]; \
          allowed: {OF_HOST})"
        )]
    );
    assert_eq!(
        errors_as(Role::DropIn("a"), "module = 'a.wasm'"),
        ["1:1: unknown key \"module\" (it belongs in [handler.NAME]; allowed: handler)"]
    );
}

#[test]
fn a_drop_in_holds_handlers_only() {
    assert_eq!(errors_as(Role::DropIn("a"), "[handler.a]\nmemory = '1MiB'"), [""; 0]);
    assert_eq!(
        errors_as(Role::DropIn("a"), "[host]\nnonsense = 1\n[handler.a]\n[defaults]"),
        [
            "1:2: [host] belongs in wasm-sock.toml (allowed in handlers.d: [handler.NAME])",
            "4:2: [defaults] belongs in wasm-sock.toml (allowed in handlers.d: [handler.NAME])",
        ]
    );
}

#[test]
fn a_wrong_type_is_told_at_the_value() {
    let wrong = |line: &str| errors(&format!("[handler.a]\n{line}"));
    assert_eq!(
        wrong("module = 1"),
        ["2:10: module: expected a string, found an integer (write it in quotes)"]
    );
    assert_eq!(
        wrong("keep-alive = true"),
        ["2:14: keep-alive: expected a duration such as \"30s\", found a boolean"]
    );
    assert_eq!(
        wrong("max-body = []"),
        ["2:12: max-body: expected a size such as \"64MiB\", found an array"]
    );
    assert_eq!(
        wrong("reuse = '128'"),
        ["2:9: reuse: expected a whole number, found a string"]
    );
    assert_eq!(
        wrong("forwarded-for = false"),
        ["2:17: forwarded-for: expected a string, found a boolean (write it in quotes)"]
    );
    assert_eq!(
        wrong("args = '--x'"),
        ["2:8: args: expected an array, found a string (put it in brackets: [...])"]
    );
    assert_eq!(
        wrong("args = ['a', 2]"),
        ["2:14: args: expected a string, found an integer (write it in quotes)"]
    );
    assert_eq!(wrong("env = ['A=b']"), ["2:7: env: expected a table, found an array"]);
    assert_eq!(
        wrong("env = { PORT = 80 }"),
        ["2:16: PORT: expected a string, found an integer (write it in quotes)"]
    );
    assert_eq!(
        wrong("dirs = ['/srv']"),
        ["2:9: dirs: expected a table, found a string"]
    );
    assert_eq!(
        wrong("memory = true"),
        ["2:10: memory: expected a size such as \"64MiB\", found a boolean"]
    );
    assert_eq!(
        errors("handler = 1"),
        ["1:11: handler: expected a table, found an integer"]
    );
    assert_eq!(errors("handler.a = 1"), ["1:13: a: expected a table, found an integer"]);
    assert_eq!(errors("[[host]]"), ["1:1: host: expected a table, found an array"]);
    assert_eq!(
        errors("defaults = ''"),
        ["1:12: defaults: expected a table, found a string"]
    );
}

#[test]
fn an_impossible_value_is_told_with_what_is_allowed() {
    let wrong = |line: &str| errors(&format!("[handler.a]\n{line}"));
    assert_eq!(
        wrong("memory = '1KiB'"),
        ["2:10: memory: cannot be 1024 bytes (allowed: 64KiB to 4GiB)"]
    );
    assert_eq!(
        wrong("cpu-time = 0"),
        ["2:12: cpu-time: no guest can run in 0s (allowed: more, or \"infinity\" for no limit)"]
    );
    assert_eq!(
        wrong("idle-connection-timeout = 0"),
        ["2:27: idle-connection-timeout: no connection can be served in 0s \
             (allowed: more, or \"infinity\" for no limit)"]
    );
    assert_eq!(
        wrong("max-connections = 0"),
        ["2:19: max-connections: cannot be 0 (allowed: 1 to 4294967295)"]
    );
    assert_eq!(
        wrong("module = ''"),
        ["2:10: module: the path is empty (leave the key out for NAME.wasm)"]
    );
    assert_eq!(
        wrong("env = { '' = 'x', 'A=B' = 'y' }"),
        [
            "2:9: env: \"\" is no variable's name (allowed: at least one character, no \"=\", no NUL)",
            "2:19: env: \"A=B\" is no variable's name \
         (allowed: at least one character, no \"=\", no NUL)",
        ]
    );
    assert_eq!(
        wrong("allow-outbound = ['example.org']"),
        ["2:19: allow-outbound: cannot be \"example.org\" \
         (allowed: \"example.org:443\", \"192.0.2.1:80,8000-8010\", \
         \"10.0.0.0/8:5432\", \"[2001:db8::1]:443\", \"udp:192.0.2.1:53\", \
         \"https://api.example.org/v1/*\", \"GET,POST http://10.0.0.1:8080/hook\")"]
    );
    assert_eq!(
        errors("[host]\nmodules = 'modules'"),
        ["2:11: modules: \"modules\" must be an absolute path, starting with /"]
    );
    assert_eq!(
        errors("[host]\ndrain-timeout = 'infinity'"),
        [
            "2:17: drain-timeout: \"infinity\" is not a duration: write whole numbers with units \
         (us, ms, s, min, h, d, w; as in \"30s\" or \"1min 30s\")"
        ]
    );
}

#[test]
fn an_impossible_setting_for_http_is_told_with_what_is_allowed() {
    for table in ["defaults", "handler.a"] {
        let wrong = |line: &str| errors(&format!("[{table}]\n{line}"));
        assert_eq!(
            wrong("head-timeout = 0"),
            ["2:16: head-timeout: no client can send a request in 0s \
                 (allowed: more, or \"infinity\" for no limit)"]
        );
        assert_eq!(
            wrong("keep-alive = 'never'"),
            [
                "2:14: keep-alive: \"never\" is not a duration: write whole numbers with units \
                 (us, ms, s, min, h, d, w; as in \"30s\" or \"1min 30s\"); or \"infinity\""
            ]
        );
        assert_eq!(
            wrong("max-head = '8191'"),
            ["2:12: max-head: cannot be 8191 bytes (allowed: 8KiB to 1MiB)"]
        );
        assert_eq!(
            wrong("max-body = '16TiB 16EiB'"),
            [
                "2:12: max-body: \"16TiB 16EiB\" is not a size: write whole numbers with units \
                 (B, KiB, MiB, GiB, TiB or K, M, G, T, all powers of 1024; as in \"64MiB\")"
            ]
        );
        assert_eq!(
            wrong("reuse = 0\nconcurrency = -1"),
            [
                "2:9: reuse: cannot be 0 (allowed: 1 to 4294967295)",
                "3:15: concurrency: cannot be -1 (allowed: 1 to 4294967295)",
            ]
        );
        assert_eq!(
            wrong("forwarded-for = 'on'"),
            ["2:17: forwarded-for: cannot be \"on\" \
                 (allowed: \"set\", \"trust\", \"off\")"]
        );
    }
}

#[test]
fn a_folder_that_cannot_be_granted_is_told() {
    let wrong = |dirs: &str| errors(&format!("[handler.a]\ndirs = [{dirs}]"));
    assert_eq!(
        wrong("{ host = 'srv', guest = '/../', access = 'rw' }"),
        [
            "2:18: host: \"srv\" must be an absolute path, starting with /",
            "2:33: guest: cannot be \"/../\" \
         (allowed: \".\", or a path without \"..\" such as \"/data\" or \"data\")",
            "2:50: access: cannot be \"rw\" (allowed: \"read-only\", \"read-write\")",
        ]
    );
    assert_eq!(
        wrong("{ guest = '/data' }, { host = '/srv' }"),
        [
            "2:9: dirs: \"host\" is missing (as in { host = \"/srv/hello\", guest = \"/data\" })",
            "2:30: dirs: \"guest\" is missing (as in { host = \"/srv/hello\", guest = \"/data\" })",
        ]
    );
    assert_eq!(
        wrong("{ host = '/a', guest = '/d' }, { host = '/b', guest = '/d/' }"),
        ["2:40: dirs: guest \"/d\" is granted twice (remove one)"]
    );
    assert_eq!(
        wrong("{ host = '/a', guest = './d' }, { host = '/b', guest = 'd/' }"),
        ["2:41: dirs: guest \"d\" is granted twice (remove one)"]
    );
    let two_names = "{ host = '/a', guest = 'd' }, { host = '/a', guest = '/d' }";
    assert_eq!(wrong(two_names), [""; 0]);
}

#[test]
fn a_store_that_cannot_be_is_told_without_its_password() {
    let wrong = |stores: &str| errors(&format!("[handler.a]\nkeyvalue = {{ {stores} }}"));
    let place = "is no place of a store (allowed: \"embedded\", \"redis://USER:PASSWORD@HOST:6379/0\", \
         \"rediss://HOST\" for TLS, \"redis+unix:///run/valkey.sock?db=0\")";
    assert_eq!(wrong("a = 'redis://:secret@'"), [format!("2:18: a: {place}")]);
    assert_eq!(wrong("a = { at = 'x' }"), [format!("2:25: at: {place}")]);
    assert_eq!(
        wrong("a = { expire = '1h' }"),
        ["2:18: a: \"at\" is missing (as in { at = \"embedded\", expire = \"1h\" })"]
    );
    assert_eq!(
        wrong("a = { at = 'embedded', prefix = 'x', ttl = 1 }"),
        [
            "2:18: a: \"prefix\" is for servers (leave it out: an embedded store is the handler's alone)",
            "2:51: unknown key \"ttl\" (allowed: at, expire, prefix)",
        ]
    );
    assert_eq!(
        errors("[handler.a]\nkeyvalue-quota = '1KiB'"),
        ["2:18: keyvalue-quota: cannot be 1024 bytes (allowed: 64KiB or more)"]
    );
}

#[test]
fn a_name_that_no_socket_can_have_is_refused() {
    let refused = |name: &str| {
        format!(
            "1:10: {name} cannot name a handler (allowed, as in FileDescriptorName=: \
             1 to 255 printable ASCII characters without \":\" and \"/\", not \".\" or \"..\")"
        )
    };
    assert_eq!(errors("[handler.'a:b']"), [refused("\"a:b\"")]);
    assert_eq!(errors("[handler.'../b']"), [refused("\"../b\"")]);
    assert_eq!(errors("[handler.'']"), [refused("\"\"")]);
}

#[test]
fn a_syntax_error_is_told_with_its_place() {
    assert_eq!(
        errors("[host]\nidle-timeout = 30s"),
        ["2:16: not valid TOML: string values must be quoted, expected literal string"]
    );
    assert_eq!(errors("[host"), ["1:6: not valid TOML: unclosed table, expected `]`"]);
    assert_eq!(errors("[host]\n[host]"), ["2:2: not valid TOML: duplicate key"]);
}

#[test]
fn a_syntax_error_hides_neither_its_neighbours_nor_is_it_told_twice() {
    let text = "[defaults]\nmemory = \ntimeout = 5m\ncpu-tim = 3\n[handler.a]\nargs = 1";
    assert_eq!(
        errors(text),
        [
            "2:10: not valid TOML: string values must be quoted, expected literal string".to_owned(),
            "3:11: not valid TOML: string values must be quoted, expected literal string".to_owned(),
            format!(
                "4:1: unknown key \"cpu-tim\" (did you mean \"cpu-time\"? \
         allowed: {SHARED})"
            ),
            "6:8: args: expected an array, found an integer (put it in brackets: [...])".to_owned(),
        ]
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        errors("[handler.a]\nargs = ['äöü→', 1]"),
        ["2:17: args: expected a string, found an integer (write it in quotes)"]
    );
}

#[test]
fn every_key_that_messages_call_allowed_is_known() {
    for (table, keys) in [
        ("[host]", HOST),
        ("[defaults]", DEFAULTS),
        ("[handler.a]", HANDLER),
        ("[[handler.a.dirs]]", DIR),
        ("[handler.a.socket]", SOCKET),
        ("[handler.a.outbound]", OUTBOUND),
        ("[handler.a.config.x]", super::values::CONFIG_VALUE),
        ("", MAIN_FILE),
    ] {
        for key in keys {
            let errors = errors(&format!("{table}\n{key} = 07:32:00"));
            assert!(!errors.is_empty(), "{key} takes anything");
            assert!(!errors.concat().contains("unknown"), "{errors:?}");
        }
    }
}

#[test]
fn what_a_key_holds_cannot_steer_the_terminal() {
    let text = "[handler.a.env]\n\"\\u001b[31m\" = 1";
    assert_eq!(
        errors(text),
        ["2:16: \\u{1b}[31m: expected a string, found an integer (write it in quotes)"]
    );
}

#[test]
fn a_flood_of_errors_is_cut_short() {
    let text = "[handler.a]\nargs = [".to_owned() + &"1, ".repeat(300_000) + "]";
    let errors = check(&source(&text), Role::Main, &mut fresh());
    assert_eq!(errors.len(), 101);
    assert_eq!(
        errors[100].to_string(),
        "t.toml: 100 errors are shown (fix these to see the others)"
    );
}
