//! The settings: what the tables of the configuration may have, what each key means, and its default.
//!
//! The checker's lists of keys, the manual page wasm-sock.toml(5) and the JSON schema are made from these tables. They
//! are constants, so that a program has of them only what it uses: the host has the keys.

/// One key of a table.
#[derive(Debug)]
pub struct Setting {
    pub key: &'static str,
    pub kind: Kind,
    /// The value, in TOML, that means the same as leaving the key out. `None`: there is no such value.
    pub default: Option<&'static str>,
    /// What it does. Names of settings, files and commands are between backticks.
    pub meaning: &'static str,
}

/// What can be the value of a key.
#[derive(Debug)]
pub enum Kind {
    /// `true`, `false`
    Boolean,
    /// A whole number, at least 1; with `infinity`, also that word.
    Count { infinity: bool },
    /// A time span, as a string with units or a number of seconds.
    Time { zero: bool, infinity: bool },
    /// A size, as a string with units or a number of bytes: `least` to `most`; with `infinity`, also that word.
    Size { least: u64, most: u64, infinity: bool },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A string that is described by `what` and matches the regular expression `pattern`. Both hold for what is right;
    /// not all that matches is.
    Text { what: &'static str, pattern: &'static str },
    /// An octal number: as a string, or as TOML writes it (`0o660`).
    Mode,
    /// An array of these.
    List(&'static Kind),
    /// One of these, or an array of them.
    OneOrMore(&'static Kind),
    /// A table with these keys, of which these are needed.
    Table(&'static [Setting], &'static [&'static str]),
    /// A table with any keys that match the regular expression, and such values.
    Names(&'static str, &'static Kind),
    /// One of these two.
    Either(&'static Kind, &'static Kind),
}

const fn setting(key: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        key,
        kind,
        default: Some(default),
        meaning,
    }
}

const fn without_default(key: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting {
        key,
        kind,
        default: None,
        meaning,
    }
}

/// The keys of `settings`, of which there are `N`.
pub(super) const fn keys<const N: usize>(settings: &[Setting]) -> [&'static str; N] {
    let mut keys = [""; N];
    let mut index = 0;
    while index < N {
        keys[index] = settings[index].key;
        index += 1;
    }
    keys
}

/// A time in which something must be possible.
const TIME_LIMIT: Kind = Kind::Time {
    zero: false,
    infinity: true,
};
const COUNT: Kind = Kind::Count { infinity: false };
const BOUND: Kind = Kind::Count { infinity: true };
const STRING: Kind = Kind::Text {
    what: "a string",
    pattern: "",
};
const ABSOLUTE_PATH: Kind = Kind::Text {
    what: "an absolute path",
    pattern: "^/",
};
const ADDRESS: Kind = Kind::Text {
    what: "an address",
    pattern: "[0-9/@]",
};
const HEAD_SIZE: Kind = Kind::Size {
    least: 8 << 10,
    most: 1 << 20,
    infinity: false,
};
const SIZE_BOUND: Kind = Kind::Size {
    least: 1,
    most: u64::MAX,
    infinity: true,
};

/// The names of handlers: what systemd allows as `FileDescriptorName=`, and no other folder.
pub const HANDLER_NAME: &str = r"^([ -.0-9;-~]{3,255}|[ -\-0-9;-~][ -.0-9;-~]?|\.[ -\-0-9;-~])$";

/// `[host]`
pub const HOST: &[Setting] = &[
    setting(
        "idle-timeout",
        Kind::Time {
            zero: true,
            infinity: true,
        },
        "\"30s\"",
        "The host exits after this time without a connection, and systemd starts it again for the next one. `0` is as \
         soon as the last connection has ended, `infinity` is never.",
    ),
    setting(
        "drain-timeout",
        Kind::Time {
            zero: true,
            infinity: false,
        },
        "\"10s\"",
        "How long connections may go on when the host is told to stop. It must be less than `TimeoutStopSec=` of the \
         service.",
    ),
    without_default(
        "modules",
        ABSOLUTE_PATH,
        "The folder in which modules are looked up. By default `/var/lib/wasm-sock/modules`; for a user's own services \
         `~/.local/state/wasm-sock/modules`.",
    ),
    setting(
        "stack",
        Kind::Size {
            least: 64 << 10,
            most: 16 << 20,
            infinity: false,
        },
        "\"512KiB\"",
        "The stack of each guest, in addition to its `memory`.",
    ),
    without_default(
        "max-memory",
        SIZE_BOUND,
        "What the memories and tables of all guests may take together. By default, what the machine has.",
    ),
    setting(
        "max-connections",
        BOUND,
        "\"infinity\"",
        "Connections of all handlers together. More wait in the kernel's queue.",
    ),
    setting(
        "require-sandbox",
        Kind::Boolean,
        "false",
        "Serve nothing if the kernel cannot confine the host (Landlock, seccomp): connections are reset, HTTP requests \
         get 503.",
    ),
    setting(
        "reload",
        Kind::Choice(&["in-place", "hand-over"]),
        "\"in-place\"",
        "How a running host gets new settings. `in-place`: it reads the configuration again. `hand-over`: it ends, and \
         the next host reads it; a running one has no access to the configuration.",
    ),
    setting(
        "when-idle",
        Kind::Choice(&["exit", "park"]),
        "\"exit\"",
        "What becomes of the process after `idle-timeout`. `exit`: it ends, and systemd starts the next one. `park`: a \
         process of less than 100 KiB keeps the sockets, and starts the next host without systemd, which is several \
         times faster.",
    ),
];

/// `[defaults]`, and with the same keys `[handler.NAME]`.
pub const DEFAULTS: &[Setting] = &[
    setting(
        "memory",
        Kind::Size {
            least: 64 << 10,
            most: 4 << 30,
            infinity: false,
        },
        "\"64MiB\"",
        "The memory of one guest: linear memories, tables, objects, and what the host keeps for its handles.",
    ),
    setting(
        "table-elements",
        COUNT,
        "1000000",
        "Elements of all tables of one guest. They count as `memory`, too.",
    ),
    setting(
        "timeout",
        TIME_LIMIT,
        "\"60s\"",
        "Wall-clock time of one connection, datagram or request.",
    ),
    setting(
        "cpu-time",
        TIME_LIMIT,
        "\"5s\"",
        "CPU time of one connection, datagram or request.",
    ),
    setting(
        "idle-connection-timeout",
        TIME_LIMIT,
        "\"10min\"",
        "How long a connection may be silent in both directions. For HTTP it counts while a body is transferred.",
    ),
    setting(
        "max-connections",
        COUNT,
        "256",
        "Connections of one handler at a time. More wait in the kernel's queue; requests beyond it get 503.",
    ),
    setting(
        "max-connections-per-source",
        BOUND,
        "64",
        "Those of one client's address (IPv6: of its /64). More are reset, datagrams dropped, requests get 429. \
         Loopback and Unix sockets are exempt. For a reverse proxy on another machine: `infinity`.",
    ),
    setting(
        "max-output",
        SIZE_BOUND,
        "\"infinity\"",
        "Bytes that are sent on one connection, in one answer's body or in one datagram.",
    ),
    setting(
        "max-datagram",
        Kind::Size {
            least: 1,
            most: 1 << 20,
            infinity: false,
        },
        "65535",
        "The largest datagram that is received. A larger one is dropped.",
    ),
    setting(
        "max-log",
        BOUND,
        "1000",
        "Lines that the guests of a handler may log in ten seconds; one guest may log half of them.",
    ),
    setting(
        "log",
        Kind::Choice(&["all", "failures", "none"]),
        "\"all\"",
        "Which connections, datagrams and requests get a line in the log.",
    ),
    setting(
        "log-sample",
        COUNT,
        "1",
        "Of so many that succeed, one is logged. Failures are all logged.",
    ),
    setting(
        "head-timeout",
        TIME_LIMIT,
        "\"10s\"",
        "HTTP: how long a client may take to send the head of a request (408).",
    ),
    setting(
        "keep-alive",
        Kind::Time {
            zero: true,
            infinity: true,
        },
        "\"60s\"",
        "HTTP: how long a connection stays open between requests. `0`: it is closed after each answer.",
    ),
    setting(
        "max-head",
        HEAD_SIZE,
        "\"32KiB\"",
        "HTTP: the head of a request (431). It may have one line for each 64 bytes of this.",
    ),
    setting(
        "max-body",
        Kind::Size {
            least: 0,
            most: u64::MAX,
            infinity: false,
        },
        "\"16MiB\"",
        "HTTP: the body of a request (413).",
    ),
    setting(
        "reuse",
        COUNT,
        "128",
        "HTTP: requests that one instance of a WASI 0.3 guest may answer. A WASI 0.2 guest is fresh for each request.",
    ),
    setting(
        "concurrency",
        COUNT,
        "16",
        "HTTP: how many of these requests an instance may answer at the same time.",
    ),
    setting(
        "forwarded-for",
        Kind::Choice(&["set", "trust", "off"]),
        "\"set\"",
        "HTTP: the headers `Forwarded` and `X-Forwarded-*` that guests see. `set`: the address that the host sees. \
         `trust`: what the client sent, which is a proxy. `off`: none.",
    ),
];

/// What only `[handler.NAME]` has.
pub const HANDLER: &[Setting] = &[
    without_default(
        "module",
        Kind::Text {
            what: "a path",
            pattern: ".",
        },
        "The module: an absolute path, or one below `modules`. By default `NAME.cwasm` or `NAME.wasm`, whichever is \
         newer.",
    ),
    setting(
        "args",
        Kind::List(&STRING),
        "[]",
        "Arguments of the guest, from the second on; the first is the handler's name.",
    ),
    setting(
        "env",
        Kind::Names("^[^=]+$", &STRING),
        "{}",
        "Variables in the guest's environment, beside those that tell of the client.",
    ),
    setting(
        "config",
        Kind::Names("", &Kind::Either(&STRING, &Kind::Table(CONFIG_FILE, &["file"]))),
        "{}",
        "What the guest may ask for by name, with `wasi:config`: strings, or files as in `{ file = \"/etc/motd\" }`.",
    ),
    setting(
        "secrets",
        Kind::List(&Kind::Text {
            what: "the name of a secret",
            pattern: "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        }),
        "[]",
        "Secrets that the guest may ask for in the same way. Each is a credential of the service with the name \
         `HANDLER.SECRET`: see systemd.exec(5), `LoadCredential=`. Characters of HANDLER other than letters, digits, `-`, \
         `_` and `.` are as in a URL (`%20` for a space).",
    ),
    setting(
        "dirs",
        Kind::List(&Kind::Table(DIR, &["host", "guest"])),
        "[]",
        "Folders that the guest may open. It sees no other file.",
    ),
    setting(
        "allow-outbound",
        Kind::List(&Kind::Text {
            what: "a destination",
            pattern: "[:/]",
        }),
        "[]",
        "What the guest may connect to: names, addresses or networks with ports, as in `example.org:443`, \
         `192.0.2.1:80,8000-8010`, `10.0.0.0/8:5432`, `[2001:db8::1]:443`, `udp:192.0.2.1:53`; or URLs of HTTP \
         requests, with methods and a `*` at the end: `GET https://api.example.org/v1/*`. A name leads to the public \
         internet only. Needs `wasm-sock-egress.socket`.",
    ),
    setting(
        "outbound",
        Kind::Table(OUTBOUND, &[]),
        "{}",
        "Limits of the HTTP requests that the guest makes.",
    ),
    setting(
        "keyvalue",
        Kind::Names("", &Kind::Either(&STORE_ADDRESS, &Kind::Table(STORE, &["at"]))),
        "{}",
        "The key-value stores that the guest may open, by name; an empty name opens `default`. A store is `embedded`, \
         or a server: `redis://USER:PASSWORD@HOST:6379/0`, `rediss://HOST` for TLS, \
         `redis+unix:///run/valkey.sock?db=0`.",
    ),
    setting(
        "keyvalue-quota",
        Kind::Size {
            least: 64 << 10,
            most: u64::MAX,
            infinity: false,
        },
        "\"64MiB\"",
        "What the embedded stores of the handler may take together.",
    ),
    without_default(
        "tls-roots",
        ABSOLUTE_PATH,
        "The authorities that are trusted for the guest's TLS, in PEM. By default the system's.",
    ),
    without_default(
        "tls-certificate",
        ABSOLUTE_PATH,
        "The guest's own certificate, followed by those between it and its authority, in PEM. Needs `tls-key`.",
    ),
    without_default(
        "tls-key",
        ABSOLUTE_PATH,
        "The private key of `tls-certificate`, in PEM.",
    ),
    setting(
        "listen",
        Kind::OneOrMore(&ADDRESS),
        "[]",
        "The addresses at which systemd listens for the handler: `7000` (TCP), `127.0.0.1:7000`, `[::1]:7000`, \
         `udp:53`, `udp:127.0.0.1:53`, `unix:/run/hello.sock`, `unix:@abstract`, `packets:/run/hello.seq`, \
         `datagrams:/run/hello.dgram`, `vsock::7000`.",
    ),
    setting(
        "socket",
        Kind::Table(SOCKET, &[]),
        "{}",
        "Settings of the sockets that systemd makes for `listen`. For others write a drop-in.",
    ),
    setting(
        "process",
        Kind::Choice(&["own", "shared", "connection"]),
        "\"own\"",
        "Which process serves these sockets. `own`: `wasm-sock@NAME.service`. `shared`: `wasm-sock.service`, with all \
         handlers that say so. `connection`: one process for each connection (`Accept=yes`); not for datagrams.",
    ),
    setting(
        "enabled",
        Kind::Boolean,
        "true",
        "`false`: systemd makes neither sockets nor a timer.",
    ),
    setting(
        "schedule",
        Kind::OneOrMore(&Kind::Text {
            what: "a calendar event",
            pattern: "^[ -~]+$",
        }),
        "[]",
        "When the handler runs without a client: `OnCalendar=` of systemd.timer(5), as in `daily` or \
         `Mon *-*-* 03:00`.",
    ),
    setting(
        "schedule-jitter",
        Kind::Time {
            zero: true,
            infinity: false,
        },
        "0",
        "Each of these runs is at a random moment within this time.",
    ),
    setting(
        "schedule-persistent",
        Kind::Boolean,
        "true",
        "A run that was missed is made up for.",
    ),
    setting(
        "schedule-path",
        Kind::Text {
            what: "a path as in a URL",
            pattern: "^/[!-\"$-~]*$",
        },
        "\"/\"",
        "HTTP: what a scheduled run requests.",
    ),
    without_default(
        "schedule-input",
        ABSOLUTE_PATH,
        "The file that a scheduled run reads as standard input. By default it is empty.",
    ),
];

/// An element of `dirs`.
pub const DIR: &[Setting] = &[
    without_default("host", ABSOLUTE_PATH, "The folder."),
    without_default(
        "guest",
        Kind::Text {
            what: "a path without ..",
            pattern: ".",
        },
        "What the guest knows it as: an absolute path, or one that is relative to its working directory.",
    ),
    setting(
        "access",
        Kind::Choice(&["read-only", "read-write"]),
        "\"read-only\"",
        "What the guest may do there.",
    ),
];

/// `outbound`
pub const OUTBOUND: &[Setting] = &[
    setting(
        "connect-timeout",
        TIME_LIMIT,
        "\"10s\"",
        "How long a connection may take to be made, with the name's lookup and TLS.",
    ),
    setting(
        "first-byte-timeout",
        TIME_LIMIT,
        "\"30s\"",
        "How long a server may take to answer once it has all of the request.",
    ),
    setting(
        "idle-timeout",
        TIME_LIMIT,
        "\"30s\"",
        "How long a server may send nothing while the guest reads, or take nothing of what the guest sends.",
    ),
    setting(
        "max-requests",
        COUNT,
        "64",
        "Requests that all guests of the handler make at a time, in one process; 1,024 more wait.",
    ),
    setting("max-body", SIZE_BOUND, "\"64MiB\"", "The body of one answer."),
    setting(
        "max-head",
        HEAD_SIZE,
        "\"64KiB\"",
        "The head of one answer, and its trailers.",
    ),
];

/// A store in `keyvalue` that is a table.
pub const STORE: &[Setting] = &[
    without_default(
        "at",
        STORE_ADDRESS,
        "Where it is: as the string that may stand instead of the table.",
    ),
    setting(
        "expire",
        TIME_LIMIT,
        "\"infinity\"",
        "How long an entry lives after it was set.",
    ),
    without_default(
        "prefix",
        STRING,
        "What keys begin with on a server. By default the names of the handler and of the store: `HANDLER:STORE:`.",
    ),
];

const STORE_ADDRESS: Kind = Kind::Text {
    what: "the place of a store",
    pattern: r"^(embedded$|rediss?://|redis\+unix://)",
};

/// A value in `config` that is a table.
pub const CONFIG_FILE: &[Setting] = &[without_default("file", ABSOLUTE_PATH, "The file that has the value.")];

const USER: Kind = Kind::Text {
    what: "a name or number",
    pattern: "^[A-Za-z0-9._$@][A-Za-z0-9._$@-]{0,30}$",
};

/// `socket`
pub const SOCKET: &[Setting] = &[
    without_default(
        "user",
        USER,
        "`SocketUser=` of systemd.socket(5): the owner of Unix sockets in the file system.",
    ),
    without_default("group", USER, "`SocketGroup=`: their group."),
    without_default("mode", Kind::Mode, "`SocketMode=`: their access mode."),
    without_default(
        "directory-mode",
        Kind::Mode,
        "`DirectoryMode=`: that of folders which are made for them.",
    ),
    without_default(
        "backlog",
        COUNT,
        "`Backlog=`: how many connections may wait to be accepted.",
    ),
    without_default(
        "interface",
        Kind::Text {
            what: "a network interface",
            pattern: r#"^[!-~]{1,15}$"#,
        },
        "`BindToDevice=`: the network interface that clients come from.",
    ),
    without_default(
        "free-bind",
        Kind::Boolean,
        "`FreeBind=`: the address need not exist yet.",
    ),
    without_default(
        "no-delay",
        Kind::Boolean,
        "`NoDelay=`: TCP sends small packets at once.",
    ),
    without_default(
        "ipv6-only",
        Kind::Boolean,
        "`BindIPv6Only=`: whether `[::]` and a port without an address are for IPv6 only.",
    ),
    without_default(
        "keep-alive",
        Kind::Boolean,
        "`KeepAlive=`: TCP asks silent clients whether they are there.",
    ),
    setting(
        "symlinks",
        Kind::List(&ABSOLUTE_PATH),
        "[]",
        "`Symlinks=`: symbolic links to the socket, which must be the only one in the file system.",
    ),
];
