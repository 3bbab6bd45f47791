//! What the service manager passes: right, wrong and odd.

use std::fs;
use std::time::Duration;

use harness::{Address, Kind, Launch, World, each_kind};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A world with the handler `hello` behind a port.
fn with_hello() -> (World, Address) {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    let address = world.tcp("hello");
    (world, address)
}

/// The host does not start, and says why.
fn fails(launch: &Launch, words: &[&str]) {
    fails_with(1, launch, words);
}

fn fails_with(code: i32, launch: &Launch, words: &[&str]) {
    let mut host = launch.start();
    host.expect_exit(code);
    let line = host.log.expect("wasm-sock: ");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

fn answers(address: &Address) {
    let answer = address.knock();
    assert!(answer.text().starts_with("Hello"), "{answer:?}");
}

#[test]
fn without_sockets_the_host_tells_which_command_would_have_worked() {
    let (world, _) = with_hello();
    let launch = world.launch().without("LISTEN_FDS");
    fails_with(
        78,
        &launch,
        &["no sockets", "systemctl start", "systemd-socket-activate"],
    );
    let launch = world.launch().env("LISTEN_FDS", "0");
    fails_with(78, &launch, &["LISTEN_FDS=0", ".socket"]);
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    let (world, _) = with_hello();
    for pid in ["1", "self", "-1"] {
        let launch = world.launch().env("LISTEN_PID", pid);
        fails(&launch, &[&format!("LISTEN_PID={pid}"), "another process"]);
    }
}

#[test]
fn a_count_that_is_none_is_told_as_such() {
    let (world, _) = with_hello();
    for count in ["", "many", "-1", "1.5", "99999999999999999999999"] {
        let launch = world.launch().env("LISTEN_FDS", count);
        fails(&launch, &[&format!("LISTEN_FDS={count:?}"), "not a number"]);
    }
    let launch = world.launch().env("LISTEN_FDS", "4000000000");
    fails(&launch, &["LISTEN_FDS=4000000000", "1024", "LimitNOFILE="]);
}

#[test]
fn as_many_names_as_sockets_must_be_there() {
    let (world, _) = with_hello();
    world.tcp("other");
    for (names, count) in [("hello", "1 name"), ("a:b:c", "3 names"), ("", "1 name")] {
        let launch = world.launch().env("LISTEN_FDNAMES", names);
        fails(&launch, &["LISTEN_FDS=2", &format!("{names:?}"), count]);
    }
}

#[test]
fn without_names_a_socket_is_unknown_and_module_serves_it_all_the_same() {
    let (world, address) = with_hello();
    let file = world.module("hello.cwasm");
    let launch = world.launch().without("LISTEN_FDNAMES");
    let host = launch.start();
    address.knock().expect_reset_after("");
    host.log.expect("unknown: no module");
    drop(host);
    let _host = launch.args(&["--module", file.to_str().unwrap()]).start();
    answers(&address);
}

#[test]
fn without_a_pid_the_sockets_are_taken() {
    let (world, address) = with_hello();
    let _host = world.launch().without("LISTEN_PID").start();
    answers(&address);
}

/// A socket that cannot be served is told with `words`; the ones beside it are served, wherever
/// it stands among them.
fn spares_its_neighbours(pass: impl Fn(&World), words: &[&str]) {
    for position in 0..3 {
        let world = World::new(Kind::P1);
        world.install("hello", "hello");
        let mut neighbours = Vec::new();
        for here in 0..3 {
            if here == position {
                pass(&world);
            } else {
                neighbours.push(world.tcp("hello"));
            }
        }
        let mut host = world.start(&[]);
        for address in neighbours.iter().chain(&neighbours) {
            answers(address);
        }
        let line = host.log.expect("\"odd\" is not served");
        for word in words {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
        host.expect_leave();
    }
}

#[test]
fn a_descriptor_that_is_not_open_spares_its_neighbours() {
    spares_its_neighbours(|world| world.pass_nothing("odd"), &["is not open"]);
}

#[test]
fn a_file_spares_its_neighbours() {
    let file = |world: &World| world.pass("odd", fs::File::open("/dev/null").unwrap());
    spares_its_neighbours(file, &["is not a socket", "ListenStream="]);
}

#[test]
fn a_socket_of_no_use_spares_its_neighbours() {
    let netlink = |world: &World| {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None);
        world.pass("odd", socket.unwrap());
    };
    spares_its_neighbours(netlink, &["a netlink socket", "ListenStream="]);
}

#[test]
fn a_name_without_a_handler_resets_its_own_clients_and_spares_its_neighbours() {
    let (world, hello) = with_hello();
    let nobody = world.tcp("nobody");
    let mut host = world.start(&[]);
    for _ in 0..10 {
        nobody.knock().expect_reset_after("");
        answers(&hello);
    }
    let line = host.log.expect("nobody: ");
    assert!(line.contains("nobody.wasm"), "{line}");
    assert_eq!(host.log.count("nobody: "), 1, "{}", host.log.text());
    host.expect_leave();
}

each_kind! { BOTH: several_sockets_may_carry_one_name }
fn several_sockets_may_carry_one_name(kind: Kind) {
    let world = World::new(kind);
    world.install("hello", "hello");
    let unix = world.unix("hello");
    let addresses = [unix, world.tcp("hello"), world.tcp6("hello"), world.tcp("hello")];
    let host = world.start(&[]);
    for address in addresses {
        answers(&address);
    }
    host.notifications.expect("STATUS=1 handler,");
}

#[test]
fn the_names_that_systemd_gives_by_itself_are_understood() {
    let world = World::new(Kind::P1);
    for (name, handler) in [
        ("hello.socket", "hello"),
        ("wasm-sock@greet.socket", "greet"),
        ("a.b.socket", "a.b"),
        ("plain", "plain"),
    ] {
        world.install(handler, "hello");
        let address = world.tcp(name);
        let _host = world.start(&[]);
        let answer = address.knock().text();
        assert!(answer.contains(&format!("knock on {handler} over")), "{answer}");
    }
}

#[test]
fn a_name_never_leads_out_of_the_module_folder() {
    let world = World::new(Kind::P1);
    let inside = world.install("hello", "hello");
    fs::copy(&inside, world.path("state/outside.cwasm")).unwrap();
    fs::create_dir(world.module("below")).unwrap();
    fs::copy(&inside, world.module("below/hello.cwasm")).unwrap();
    fs::copy(&inside, world.module(".cwasm")).unwrap();
    fs::copy(&inside, world.module("..cwasm")).unwrap();
    let absolute = world.path("state/outside").display().to_string();
    let names = [
        "../outside",
        "../modules/hello",
        absolute.as_str(),
        "below/hello",
        "./hello",
        "x@../outside.socket",
        "",
        ".",
    ];
    let addresses = names.map(|name| (name, world.tcp(name)));
    let hello = world.tcp("hello");
    let _host = world.start(&[]);
    answers(&hello);
    for (name, address) in addresses {
        let answer = address.knock();
        assert!(answer.bytes.is_empty(), "socket {name:?} was answered {answer:?}");
        address.knock().expect_reset_after("");
    }
}

#[test]
fn a_name_with_odd_characters_is_a_name_like_any_other() {
    let world = World::new(Kind::P1);
    for name in ["with space", "weiß", "a\"b", "%s", "-rf", "…"] {
        world.install(name, "hello");
        let address = world.tcp(name);
        let host = world.start(&[]);
        // Beyond printable ASCII nothing can be a handler (systemd.socket(5)).
        match name.is_ascii() {
            true => answers(&address),
            false => address.knock().expect_reset_after(""),
        }
        assert!(host.is_running());
    }
}

#[test]
fn one_of_a_thousand_sockets_is_answered_and_only_its_module_is_loaded() {
    let world = World::new(Kind::P1);
    world.install("used", "hello");
    for number in 0..600 {
        world.tcp(&format!("unused{number}"));
    }
    let address = world.tcp("used");
    for number in 601..1000 {
        world.tcp(&format!("unused{number}"));
    }
    let mut client = address.connect();
    let mut host = world.launch().descriptors(2048).start();
    assert!(client.answer().text().starts_with("Hello"));
    drop(client);
    answers(&address);
    host.notifications.expect("STATUS=1000 handlers,");
    host.expect_leave();
    assert_eq!(host.log.count("unused"), 0, "{}", host.log.text());
}

#[test]
fn with_a_bad_configuration_clients_are_reset_for_a_while_and_all_mistakes_are_told() {
    let (world, address) = with_hello();
    world.configure("[defaults]\nmemry = \"1MiB\"\ntimeout = \"soon\"\n");
    let mut host = world.start(&[]);
    for _ in 0..10 {
        address.knock().expect_reset_after("");
    }
    assert!(
        !host.ends_within(Duration::from_secs(1)),
        "it would be started in a loop"
    );
    host.expect_exit(78);
    let said = host.log.text();
    for word in ["wasm-sock.toml:2:1", "\"memory\"?", "wasm-sock.toml:3:", "\"soon\""] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("\\x0a"), "several lines in one: {said}");
}

#[test]
fn a_mistake_about_one_handler_costs_that_handler_until_it_is_mended() {
    let world = World::new(Kind::P1);
    let bad = ["syntax", "key", "twice", "hidden", "table", "foreign"];
    for name in ["good", "other", "plain"].iter().chain(&bad) {
        world.install(name, "hello");
    }
    let good = ["good", "other", "plain"].map(|name| world.tcp(name));
    let bad = bad.map(|name| world.tcp(name));
    world.configure("[handler.other]\n[handler.twice]\n[handler.table]\nmemry = 1\n");
    let folder = world.path("config/handlers.d");
    let write = |name: &str, text: &[u8]| fs::write(folder.join(name), text).unwrap();
    write("good.toml", b"[handler.good]\nmemory = '8MiB'\n");
    write("syntax.toml", b"[handler.syntax\nmemory = 8MiB\n");
    write("key.toml", b"[handler.key]\nmemry = '8MiB'\n");
    write("twice.toml", b"[handler.twice]\n");
    // It is about the handler that it is named after, whatever it says.
    write("hidden.toml", b"[handler.hidden]\nargs = ['\xff']\n");
    write("foreign.toml", b"[handler.plain]\nmemory = 1\n");
    // No socket has this name.
    write("unread.toml", b"[");
    let mut host = world.start(&[]);
    for address in &good {
        answers(address);
    }
    for address in &bad {
        address.knock().expect_reset_after("");
    }
    for file in [
        "wasm-sock.toml:4:1",
        "syntax.toml:1:",
        "key.toml:2:1",
        "twice.toml:1:",
        "hidden.toml:2:",
        "foreign.toml:1:10: handler \"plain\" is in the file of handler \"foreign\"",
    ] {
        assert!(host.log.text().contains(file), "{file}: {}", host.log.text());
    }
    host.log.expect("it is not served: there is a mistake in");
    assert!(!host.log.text().contains("unread.toml"), "{}", host.log.text());

    // Mending the file is all that it takes.
    write("syntax.toml", b"[handler.syntax]\nmemory = '8MiB'\n");
    host.expect_exit(0);
    let _host = world.start(&[]);
    answers(&bad[0]);
}

#[test]
fn with_a_bad_configuration_the_host_still_leaves_when_told_to() {
    let (world, address) = with_hello();
    world.configure("[defaults]\nmemry = \"1MiB\"\n");
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    host.signal(rustix::process::Signal::TERM);
    assert!(host.ends_within(Duration::from_secs(1)), "it ignores SIGTERM");
}

#[test]
fn with_a_bad_configuration_a_descriptor_that_is_no_socket_costs_no_cpu_time() {
    let (world, address) = with_hello();
    world.pass("odd", fs::File::open("/dev/null").unwrap());
    world.configure("[defaults]\nmemry = \"1MiB\"\n");
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    let before = host.cpu_time();
    assert!(!host.ends_within(Duration::from_millis(500)));
    let used = host.cpu_time() - before;
    assert!(used < Duration::from_millis(100), "used {used:?} of 500 ms");
}

#[test]
fn a_host_below_an_init_says_which_option_brought_it_there() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.tcp("hello");
    // Podman passes the sockets to the first process of the container, which is the init.
    for pid in [1, std::process::id()] {
        let mut host = world.launch().env("LISTEN_PID", &pid.to_string()).start();
        host.expect_exit(1);
        let line = host.log.expect("LISTEN_PID");
        for word in ["--init", "tini", "first process"] {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
    }
}
