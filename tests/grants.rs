//! What a guest may touch beyond its connection: what its handler was granted, and no more.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use harness::{BOTH, Kind, World};

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

#[test]
fn a_folder_granted_read_write_can_be_written() {
    for kind in BOTH {
        let (world, address) = with_data(kind, ", access = \"read-write\"");
        let _host = world.start(&[]);
        let expected = "entry: there\nwrite: ok\nread: ok\n";
        address.knock().expect_whole(expected);
        let written = fs::read_to_string(world.path("data/actor-was-here"));
        assert_eq!(written.unwrap(), "actor\n");
    }
}

#[test]
fn a_symbolic_link_out_of_a_granted_folder_leads_nowhere() {
    for kind in BOTH {
        let world = World::new(kind);
        for folder in ["data", "secret"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        fs::write(world.path("secret/key"), "x").unwrap();
        std::os::unix::fs::symlink(world.path("secret"), world.path("data/way-out")).unwrap();
        std::os::unix::fs::symlink("../secret", world.path("data/other-way")).unwrap();
        let host = world.path("data");
        let dirs =
            format!("dirs = [{{ host = {host:?}, guest = \"/data\", access = \"read-write\" }}]");
        let ways = ["/data/way-out", "/data/other-way", "/data/../secret"];
        let addresses = ways.map(|way| {
            let name = way.replace(['/', '.'], "-");
            world.actor_port(&name, &format!("files {way}"), &dirs)
        });
        let _host = world.start(&[]);
        for address in addresses {
            let answer = address.knock().text();
            assert!(
                !answer.contains("key") && !answer.contains(": ok"),
                "{answer}"
            );
        }
    }
}

#[test]
fn a_granted_folder_that_is_missing_resets_with_a_line_that_names_it() {
    for kind in BOTH {
        let (world, address) = with_data(kind, "");
        fs::remove_dir_all(world.path("data")).unwrap();
        let host = world.start(&[]);
        address.knock().expect_reset_after("");
        let line = host.log.expect("files 127.0.0.1:");
        let folder = world.path("data").display().to_string();
        assert!(line.contains(&folder) && line.contains("/data"), "{line}");
        fs::create_dir(world.path("data")).unwrap();
        assert!(address.knock().text().starts_with("write: "));
    }
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

#[test]
fn a_guest_reaches_no_network_that_it_was_not_granted() {
    for kind in BOTH {
        let world = World::new(kind);
        let (granted, other) = (secret_service(), secret_service());
        let allow = format!(
            "allow-outbound = [\"{granted}\", \"127.0.0.2:{}\"]",
            other.port()
        );
        let nothing = world.actor_port("nothing", &format!("connect {granted}"), "");
        let something = world.actor_port("something", &format!("connect {other}"), &allow);
        let named = world.actor_port("named", "connect localhost:1", "");
        let _host = world.start(&[]);
        for address in [nothing, something, named] {
            let answer = address.knock().text();
            assert!(answer.starts_with("connect: "), "{answer}");
        }
    }
}

#[test]
fn a_component_reaches_the_address_and_port_that_it_was_granted() {
    let world = World::new(Kind::P2);
    let service = secret_service();
    let allow = format!("allow-outbound = [\"{service}\"]");
    let address = world.actor_port("call", &format!("connect {service}"), &allow);
    let _host = world.start(&[]);
    address.knock().expect_whole("connected\nsecret\n");
}

#[test]
fn a_component_reaches_a_host_that_it_was_granted_by_name() {
    let world = World::new(Kind::P2);
    let service = secret_service();
    let name = format!("localhost:{}", service.port());
    let allow = format!("allow-outbound = [\"{name}\"]");
    let by_name = world.actor_port("by-name", &format!("connect {name}"), &allow);
    let other = format!("localhost:{}", secret_service().port());
    let other_port = world.actor_port("other-port", &format!("connect {other}"), &allow);
    let _host = world.start(&[]);
    by_name.knock().expect_whole("connected\nsecret\n");
    assert!(other_port.knock().text().starts_with("connect: "));
}
