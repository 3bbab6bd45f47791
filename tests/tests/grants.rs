//! What a guest may touch beyond its connection: what its handler was granted, and no more.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use harness::{BOTH, Kind, World, each_kind, egress};

/// A world with `/data` granted to the actor.
fn with_data(kind: Kind, access: &str) -> (World, harness::Address) {
    let world = World::new(kind);
    fs::create_dir(world.path("data")).unwrap();
    fs::write(world.path("data/there"), "x").unwrap();
    let host = world.path("data");
    let dirs = format!("dirs = [{{ host = {host:?}, guest = \"/data\"{access} }}]");
    let address = world.actor_port("files", "files /data", &dirs);
    (world, address)
}

#[test]
fn a_folder_is_granted_read_only_unless_said_otherwise() {
    for access in ["", ", access = \"read-only\""] {
        for kind in BOTH {
            let (world, address) = with_data(kind, access);
            let _host = world.start(&[]);
            let answer = address.knock().text();
            assert!(answer.starts_with("entry: there\nwrite: "), "{answer}");
            assert!(!answer.contains("write: ok"), "{answer}");
            assert!(!world.path("data/actor-was-here").exists());
        }
    }
}

each_kind! { BOTH: a_folder_granted_read_write_can_be_written }
fn a_folder_granted_read_write_can_be_written(kind: Kind) {
    let (world, address) = with_data(kind, ", access = \"read-write\"");
    let _host = world.start(&[]);
    let expected = "entry: there\nwrite: ok\nread: ok\n";
    address.knock().expect_whole(expected);
    let written = fs::read_to_string(world.path("data/actor-was-here"));
    assert_eq!(written.unwrap(), "actor\n");
}

each_kind! { BOTH: a_granted_folder_may_have_any_name_that_wasi_has }
fn a_granted_folder_may_have_any_name_that_wasi_has(kind: Kind) {
    let world = World::new(kind);
    // What it is granted as, and what the guest opens.
    let names = [
        ("data", "data"),
        ("./data/", "data"),
        ("data/sub", "data/sub"),
        ("/data/", "/data"),
        ("/data//sub", "/data/sub/"),
        (".", "."),
        ("./", "."),
        (".", "sub/.."),
        ("/", "/"),
    ];
    let addresses = names.map(|(granted, opened)| {
        let name = format!("{granted}-{opened}");
        let name = name.replace('/', "s").replace('.', "d");
        let host = world.path(&name);
        fs::create_dir_all(host.join("sub")).unwrap();
        let dirs = format!("dirs = [{{ host = {host:?}, guest = {granted:?}, access = \"read-write\" }}]");
        world.actor_port(&name, &format!("files {opened}"), &dirs)
    });
    let _host = world.start(&[]);
    for (address, name) in addresses.iter().zip(names) {
        let expected = "entry: sub\nwrite: ok\nread: ok\n";
        assert_eq!(address.knock().text(), expected, "{name:?}");
    }
}

each_kind! { BOTH: several_folders_nested_ones_and_one_under_two_names_are_told_apart }
fn several_folders_nested_ones_and_one_under_two_names_are_told_apart(kind: Kind) {
    let world = World::new(kind);
    for folder in ["here", "data", "data/inner", "nested", "twice"] {
        fs::create_dir(world.path(folder)).unwrap();
        fs::write(world.path(folder).join("of"), folder).unwrap();
        fs::write(world.path(folder).join(folder.replace('/', "-")), "").unwrap();
    }
    let grants = [
        ("here", ".", "read-write"),
        ("data", "data", "read-only"),
        ("nested", "data/inner", "read-write"),
        ("twice", "/one", "read-only"),
        ("twice", "two", "read-write"),
    ];
    let dirs: Vec<String> = grants
        .iter()
        .map(|(host, guest, access)| {
            let host = world.path(host);
            format!("{{ host = {host:?}, guest = {guest:?}, access = {access:?} }}")
        })
        .collect();
    let dirs = format!("dirs = [{}]", dirs.join(", "));
    let mut addresses = Vec::new();
    // What the guest opens, a file there, and whether it may write.
    for (opened, entry, writes) in [
        (".", "here", true),
        ("data", "data", false),
        // The longest name counts, though the folder has one of that name, too.
        ("data/inner", "nested", true),
        ("/one", "twice", false),
        ("two/", "twice", true),
    ] {
        let name = format!("x{opened}").replace(['/', '.'], "_");
        let address = world.actor_port(&name, &format!("files {opened}"), &dirs);
        addresses.push((address, opened, entry, writes));
    }
    let _host = world.start(&[]);
    for (address, opened, entry, writes) in addresses {
        let answer = address.knock().text();
        assert!(answer.contains(&format!("entry: {entry}\n")), "{opened}: {answer}");
        assert_eq!(answer.contains("write: ok"), writes, "{opened}: {answer}");
    }
}

each_kind! { BOTH: a_symbolic_link_out_of_a_granted_folder_leads_nowhere }
fn a_symbolic_link_out_of_a_granted_folder_leads_nowhere(kind: Kind) {
    let world = World::new(kind);
    for folder in ["data", "secret"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    fs::write(world.path("secret/key"), "x").unwrap();
    std::os::unix::fs::symlink(world.path("secret"), world.path("data/way-out")).unwrap();
    std::os::unix::fs::symlink("../secret", world.path("data/other-way")).unwrap();
    let host = world.path("data");
    let dirs = format!("dirs = [{{ host = {host:?}, guest = \"/data\", access = \"read-write\" }}]");
    let ways = ["/data/way-out", "/data/other-way", "/data/../secret"];
    let looks_at = |way: &str| {
        let name = way.replace(['/', '.'], "-");
        world.actor_port(&name, &format!("files {way}"), &dirs)
    };
    let inside = looks_at("/data");
    let outside = ways.map(looks_at);
    let _host = world.start(&[]);
    // The links are there, and what is no way out works.
    let expected = "entry: other-way\nentry: way-out\nwrite: ok\nread: ok\n";
    inside.knock().expect_whole(expected);
    for address in outside {
        address.knock().expect_no_files();
    }
    assert!(!world.path("secret/actor-was-here").exists());
}

each_kind! { BOTH: a_granted_folder_that_is_missing_resets_with_a_line_that_names_it }
fn a_granted_folder_that_is_missing_resets_with_a_line_that_names_it(kind: Kind) {
    let (world, address) = with_data(kind, "");
    fs::remove_dir_all(world.path("data")).unwrap();
    let mut host = world.start(&[]);
    address.knock().expect_reset_after("");
    let line = host.log.expect("files 127.0.0.1:");
    let folder = world.path("data").display().to_string();
    assert!(line.contains(&folder) && line.contains("/data"), "{line}");
    fs::create_dir(world.path("data")).unwrap();
    // This host has confined itself to what there was. The next one has it.
    address.knock().expect_reset_after("");
    host.log.expect("the host exits, and the next one may use it");
    host.expect_exit(0);
    let _next = world.start(&[]);
    assert!(address.knock().text().starts_with("write: "));
}

/// A service of the test's own that tells whoever connects a secret.
fn secret_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"secret\n"));
        }
    });
    address
}

each_kind! { BOTH: a_guest_reaches_no_network_that_it_was_not_granted }
fn a_guest_reaches_no_network_that_it_was_not_granted(kind: Kind) {
    let world = World::new(kind);
    let (granted, other) = (secret_service(), secret_service());
    let allow = format!("allow-outbound = [\"{granted}\", \"127.0.0.2:{}\"]", other.port());
    let nothing = world.actor_port("nothing", &format!("connect {granted}"), "");
    let something = world.actor_port("something", &format!("connect {other}"), &allow);
    let named = world.actor_port("named", "connect localhost:1", "");
    let _egress = world.egress();
    let _host = world.start(&[]);
    for address in [nothing, something, named] {
        let answer = address.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
    }
}

#[test]
fn a_component_reaches_the_address_and_port_that_it_was_granted() {
    let world = World::new(Kind::P2);
    let service = secret_service();
    let allow = format!("allow-outbound = [\"{service}\"]");
    let address = world.actor_port("call", &format!("connect {service}"), &allow);
    let _egress = world.egress();
    let _host = world.start(&[]);
    address.knock().expect_whole("connected\nsecret\n");
}

#[test]
fn a_component_reaches_the_networks_and_ports_that_it_was_granted() {
    let world = World::new(Kind::P2);
    let service = secret_service();
    let port = service.port();
    let connect = |name: &str, allow: &str| {
        let allow = format!("allow-outbound = [{allow:?}]");
        world.actor_port(name, &format!("connect {service}"), &allow)
    };
    let reached = [
        connect("network", &format!("127.0.0.0/8:{port}")),
        connect("range", &format!("127.0.0.1:1,{port}-65535")),
        connect("mapped", &format!("[::ffff:127.0.0.0/104]:{port}")),
    ];
    let refused = [
        connect("other-network", &format!("126.0.0.0/8:{port}")),
        connect("other-kind", &format!("[::/0]:{port}")),
        connect("other-ports", &format!("127.0.0.0/8:1-{}", port - 1)),
    ];
    let _egress = world.egress();
    let _host = world.start(&[]);
    for address in reached {
        address.knock().expect_whole("connected\nsecret\n");
    }
    for address in refused {
        let answer = address.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
    }
}

#[test]
fn a_name_of_this_machine_is_reached_only_if_its_address_is_granted_as_well() {
    let world = World::new(Kind::P2);
    let service = secret_service();
    let name = format!("localhost:{}", service.port());
    let connect = |handler: &str, allow: &[&str]| {
        let allow = format!("allow-outbound = {allow:?}");
        world.actor_port(handler, &format!("connect {name}"), &allow)
    };
    let by_name = connect("by-name", &[&name]);
    let both = connect("both", &[&name, &service.to_string()]);
    let other_port = connect("other-port", &[&name, "127.0.0.1:1"]);
    let _egress = world.egress();
    let host = world.start(&[]);
    both.knock().expect_whole("connected\nsecret\n");
    for address in [by_name, other_port] {
        let answer = address.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
    }
    let line = host.log.expect("not on the public internet");
    assert!(line.contains("by-name 127.0.0.1:"), "{line}");
    assert!(line.contains("localhost is 127.0.0.1"), "{line}");
}

#[test]
fn a_component_looks_up_the_names_that_it_was_granted_and_no_others() {
    for (kind, here) in [(Kind::P2, "127.0.0.1"), (Kind::P3, "(127, 0, 0, 1)")] {
        let world = World::new(kind);
        let granted = "allow-outbound = [\"localhost:1\", \"127.0.0.1:2\"]";
        let other = "allow-outbound = [\"example.org:1\", \"127.0.0.1:2\"]";
        let own = world.actor_port("own", "resolve localhost", granted);
        let address = world.actor_port("address", "resolve 127.0.0.1", other);
        let others = world.actor_port("others", "resolve localhost", other);
        let below = world.actor_port("below", "resolve secret.localhost", granted);
        let nothing = world.actor_port("nothing", "resolve localhost", "");
        let _egress = world.egress();
        let _host = world.start(&[]);
        for address in [own, address] {
            let answer = address.knock().text();
            assert!(answer.contains(here), "{answer}");
        }
        for address in [others, below, nothing] {
            let answer = address.knock().text();
            assert!(answer.starts_with("resolve: "), "{answer}");
        }
    }
}

/// What names are to the `wasm-sock-egress` of [`own_network`].
const HOSTS: &str = "\
    8.8.8.8 granted.example other.example two.example\n\
    8.8.4.4 two.example\n\
    127.0.0.1 loopback.example\n\
    ::1 loopback6.example\n\
    ::ffff:127.0.0.1 mapped.example\n\
    169.254.169.254 metadata.example\n\
    10.0.0.1 private.example\n";

/// A program that runs `wasm-sock-egress` in a network of its own, in which every address that [`HOSTS`] has is
/// this machine, and tells a secret at port 80. `None` where namespaces are not to be had.
fn own_network(world: &World) -> Option<PathBuf> {
    let unshare = "unshare --map-root-user --net --mount";
    let may = Command::new("sh")
        .args(["-c", &format!("{unshare} mount --bind /etc/hosts /etc/hosts")])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        harness::skip("this user may not make a network of its own (`unshare --map-root-user --net --mount`)");
        return None;
    }
    fs::write(world.path("run/hosts"), HOSTS).unwrap();
    let service = "import socket, sys\n\
        server = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n\
        open(sys.argv[1], 'w').close()\n\
        while True:\n    \
            client = server.accept()[0]\n    \
            client.sendall(b'secret\\n')\n    \
            client.close()\n";
    fs::write(world.path("run/service.py"), service).unwrap();
    let run = world.path("run").display().to_string();
    let script = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = inside ] || exec {unshare} \"$0\" inside \"$@\"\nshift\n\
         mount --bind {run}/hosts /etc/hosts\nip link set lo up\n\
         for ip in 8.8.8.8 8.8.4.4 169.254.169.254 10.0.0.1; do ip address add $ip/32 dev lo; done\n\
         setpriv --pdeathsig KILL python3 {run}/service.py {run}/up 2>/dev/null &\n\
         while [ ! -e {run}/up ]; do sleep 0.01; done\nexec {} \"$@\"\n",
        egress().display()
    );
    let path = world.path("run/out");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Some(path)
}

#[test]
fn a_name_leads_to_the_public_internet_and_to_nothing_that_was_not_named() {
    let world = World::new(Kind::P2);
    let Some(program) = own_network(&world) else {
        return;
    };
    let names = [
        "granted",
        "two",
        "loopback",
        "loopback6",
        "mapped",
        "metadata",
        "private",
    ];
    let allow: Vec<String> = names.map(|name| format!("{name}.example:80")).into();
    let actor = |part: &str, to: &str| {
        let name = format!("{part}-{}", to.replace([':', '.'], "-"));
        let allow = format!("allow-outbound = {allow:?}");
        world.actor_port(&name, &format!("{part} {to}"), &allow)
    };
    let reached = ["granted.example:80", "GRANTED.example.:80", "two.example:80"];
    let reached = reached.map(|to| actor("connect", to));
    let refused = [
        "loopback.example:80",
        "loopback6.example:80",
        "mapped.example:80",
        "metadata.example:80",
        "private.example:80",
        // Not granted, though it is the same machine; not looked up; another port.
        "other.example:80",
        "8.8.8.8:80",
        "granted.example:81",
    ];
    let refused = refused.map(|to| actor("connect", to));
    let resolved = actor("resolve", "two.example");
    let unknown = ["other.example", "exfiltrated.granted.example", "private.example"];
    let unknown = unknown.map(|name| actor("resolve", name));
    let _egress = world.egress_by(&program);
    let _host = world.start(&[]);
    for address in reached {
        address.knock().expect_whole("connected\nsecret\n");
    }
    for address in refused {
        let answer = address.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
    }
    let mut addresses: Vec<String> = resolved.knock().text().lines().map(Into::into).collect();
    addresses.sort();
    assert_eq!(addresses, ["8.8.4.4", "8.8.8.8"]);
    for address in unknown {
        let answer = address.knock().text();
        assert!(answer.starts_with("resolve: "), "{answer}");
    }
}

/// Every client of DHCP replaces them.
#[test]
fn names_are_what_the_files_say_when_they_are_looked_up() {
    let world = World::new(Kind::P2);
    let unshare = "unshare --map-root-user --mount";
    let mut may = Command::new("sh");
    may.args(["-c", &format!("{unshare} true")]);
    if !may.status().is_ok_and(|status| status.success()) {
        return harness::skip("this user may not have mounts of its own (`unshare --mount`)");
    }
    // The /etc of wasm-sock-egress, of which files are replaced from outside.
    let etc = world.path("run/etc");
    fs::create_dir(&etc).unwrap();
    let replace = |address: &str| {
        let new = etc.join("new");
        fs::write(&new, format!("{address} granted.example\n")).unwrap();
        fs::rename(&new, etc.join("hosts")).unwrap();
    };
    fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    replace("8.8.8.8");
    let script = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = inside ] || exec {unshare} \"$0\" inside \"$@\"\nshift\n\
         mount --bind {} /etc\nexec {} \"$@\"\n",
        etc.display(),
        egress().display()
    );
    let program = world.path("run/out");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let granted = "allow-outbound = [\"granted.example:80\"]";
    let address = world.actor_port("names", "resolve granted.example", granted);
    let _egress = world.egress_by(&program);
    let _host = world.start(&[]);
    address.knock().expect_whole("8.8.8.8\n");
    replace("8.8.4.4");
    address.knock().expect_whole("8.8.4.4\n");
}
