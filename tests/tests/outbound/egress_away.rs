//! `wasm-sock-egress` is not there, ends, and comes back.

use crate::servers;
use harness::{Kind, World};

fn world() -> (World, harness::Address) {
    let world = World::new(Kind::P2);
    let server = servers::serve(|mut stream| {
        use std::io::Write;
        let _ = stream.write_all(b"secret\n");
    });
    let allow = format!("allow-outbound = [\"{server}\"]");
    let address = world.actor_port("call", &format!("connect {server}"), &allow);
    (world, address)
}

#[test]
fn without_it_the_guest_gets_an_error_and_the_log_says_what_to_enable_and_later_it_works() {
    let (world, address) = world();
    let host = world.start(&[]);
    for _ in 0..2 {
        let answer = address.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
    }
    host.log.expect("(enable wasm-sock-egress.socket)");
    // The same host, which has not been connected yet.
    let _egress = world.egress();
    address.knock().expect_whole("connected\nsecret\n");
}

#[test]
fn when_it_is_killed_the_host_ends_and_the_next_one_reaches_the_next_one() {
    let (world, address) = world();
    let echo = world.tcp("echo");
    world.echo("echo");
    let egress = world.egress();
    let mut host = world.start(&[]);
    address.knock().expect_whole("connected\nsecret\n");
    let mut open = echo.connect();
    open.send("a\n");
    assert_eq!(open.line(), "a");
    egress.kill();
    // The host drains: who is connected is served to the end.
    open.send("b\n");
    assert_eq!(open.line(), "b");
    drop(open);
    host.expect_exit(0);
    let _egress = world.egress();
    let _host = world.start(&[]);
    address.knock().expect_whole("connected\nsecret\n");
}

#[test]
fn a_handler_that_does_not_use_its_grant_does_not_connect_to_it() {
    let world = World::new(Kind::P2);
    let address = world.actor_port("hello", "clock", "allow-outbound = [\"127.0.0.1:1\"]");
    let egress = world.egress();
    let host = world.start(&[]);
    address.knock();
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.pid().as_raw_nonzero())).unwrap();
    let names = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap());
    assert!(names.into_iter().all(|name| name.trim() != "egress"));
    drop(egress);
    // Nothing was lost, so the host stays.
    address.knock();
    assert!(host.is_running());
}
