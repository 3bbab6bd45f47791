//! Clients of datagrams and packets that we did not write: dig, nc and socat.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use harness::{Destination, Kind, World, each_kind};

/// What a client says when it is told `input`.
fn told(command: &mut Command, input: &str) -> Output {
    let client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().expect("start the client");
    let mut stdin = client.stdin.take().expect("it is a pipe");
    stdin.write_all(input.as_bytes()).expect("tell the client");
    drop(stdin);
    client.wait_with_output().expect("wait for the client")
}

#[track_caller]
fn expect(output: &Output, text: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(text), "no {text:?} in {output:?}");
}

each_kind! { BOTH: dig_is_answered_whatever_it_asks }
fn dig_is_answered_whatever_it_asks(kind: Kind) {
    let world = World::new(kind);
    let zones = world.path("zones");
    std::fs::create_dir(&zones).expect("make a folder");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/dns/example.zone");
    std::fs::copy(example, zones.join("zone")).expect("copy the zone");
    world.install("dns", "dns");
    world.configure(&format!(
        "[handler.dns]\ndirs = [{{ host = {zones:?}, guest = \"/zones\", access = \"read-only\" }}]\n"
    ));
    let destination = world.udp("dns");
    let _host = world.start(&[]);
    let port = destination.port().to_string();
    let dig = |arguments: &[&str]| {
        let asked = ["@127.0.0.1", "-p", &port, "+tries=1", "+time=10"];
        told(Command::new("dig").args(asked).args(arguments), "")
    };
    expect(&dig(&["+short", "www.example.org", "A"]), "192.0.2.");
    let answer = dig(&["+edns=0", "+bufsize=4096", "www.example.org", "AAAA"]);
    expect(&answer, "EDNS: version: 0");
    expect(&answer, "status: NOERROR");
    expect(&answer, "2001:db8:");
    expect(
        &dig(&["+edns=7", "+noednsneg", "www.example.org", "A"]),
        "status: BADVERS",
    );
    expect(&dig(&["mail.example.org", "TYPE65280"]), "ANSWER: 0");
    expect(&dig(&["nobody.example.org", "A"]), "status: NXDOMAIN");
    expect(&dig(&["www.elsewhere.test", "A"]), "status: REFUSED");
    let garbage = destination.connect();
    for words in [&b"?"[..], &[0; 12], &[0xff; 512]] {
        garbage.send(words);
    }
    expect(&dig(&["+short", "www.example.org", "A"]), "192.0.2.");
}

each_kind! { BOTH: nc_is_answered_by_udp }
fn nc_is_answered_by_udp(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.udp("echo");
    let _host = world.start(&[]);
    let mut nc = Command::new("nc");
    // One datagram is all that it waits for.
    nc.args(["-u", "-W", "1", "127.0.0.1", &destination.port().to_string()]);
    let output = told(&mut nc, "how do you do");
    assert_eq!(output.stdout, b"how do you do", "{output:?}");
}

each_kind! { BOTH: socat_is_answered_in_packets }
fn socat_is_answered_in_packets(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.packets("echo");
    let Destination::UnixPackets(address) = &destination else {
        unreachable!()
    };
    let path = address
        .path()
        .expect("it has a path")
        .to_str()
        .expect("text")
        .to_owned();
    let _host = world.start(&[]);
    let mut socat = Command::new("socat");
    // SOCK_SEQPACKET, which has no name of its own there.
    socat.args(["-t10", "-", &format!("UNIX-CONNECT:{path},type=5")]);
    let output = told(&mut socat, "how do you do");
    assert_eq!(output.stdout, b"how do you do", "{output:?}");
}
