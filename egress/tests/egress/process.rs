use crate::client::{Egress, Host, PATIENCE};
use crate::servers;
use std::time::Instant;
use wasm_sock_egress_protocol::{Ask, Transport};

#[test]
fn it_exits_when_no_host_is_connected_for_a_while_and_not_before() {
    let port = servers::echo("127.0.0.1:0").port();
    let settings = format!("allow-outbound = ['127.0.0.1:{port}']");
    let mut egress = Egress::with(&settings, &["--idle-timeout", "200ms"]);
    let host = egress.host();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(
        host.connection("127.0.0.1", port, Transport::Tcp).exchange("x"),
        "X",
        "a host keeps it"
    );
    drop(host);
    let began = Instant::now();
    loop {
        if let Some(status) = egress.child.try_wait().expect("a child") {
            assert!(status.success(), "{status}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it does not exit");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_is_no_request_ends_only_that_host() {
    let port = servers::echo("127.0.0.1:0").port();
    let egress = Egress::new(&format!("allow-outbound = ['127.0.0.1:{port}']"));
    let (bad, good) = (egress.host(), egress.host());
    rustix::net::send(&bad.0, &[0xff; 100], rustix::net::SendFlags::NOSIGNAL).expect("connected");
    assert!(bad.receive().is_none(), "its connection ends");
    assert_eq!(good.connection("127.0.0.1", port, Transport::Tcp).exchange("x"), "X");
}

#[test]
fn names_that_no_handler_can_have_are_refused() {
    let egress = Egress::new("");
    let host: Host = egress.host();
    for name in ["", "..", "a/b", "../a", "a\0", "a:b"] {
        let ask = Ask::Connect {
            host: "127.0.0.1".into(),
            port: 1,
            transport: Transport::Tcp,
        };
        assert!(host.ask(name, ask).is_err(), "{name}");
    }
}

#[test]
fn its_socket_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let egress = Egress::new("");
    let mode = std::fs::metadata(egress.path()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
