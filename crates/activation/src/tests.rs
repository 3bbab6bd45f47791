use super::*;
use proptest::prelude::*;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

fn environment(fds: &str, pid: Option<u32>, names: Option<&str>) -> ListenVariables {
    ListenVariables {
        listen_fds: Some(fds.to_owned()),
        listen_pid: pid.map(|pid| pid.to_string()),
        listen_fdnames: names.map(str::to_owned),
        pid: 42,
    }
}

#[test]
fn names_come_in_the_order_of_the_descriptors() {
    let names = environment("3", Some(42), Some("a:b:a")).names();
    assert_eq!(names.unwrap(), ["a", "b", "a"]);
}

#[test]
fn sockets_without_names_are_unknown_as_in_sd_listen_fds() {
    assert_eq!(environment("2", None, None).names().unwrap(), ["unknown", "unknown"]);
}

#[test]
fn without_sockets_the_error_shows_a_command_that_works() {
    let error = ListenVariables::default().names().unwrap_err();
    assert_eq!(error, ActivationError::NoSockets);
    assert!(error.to_string().contains("systemctl start"), "{error}");
    assert!(error.to_string().contains("systemd-socket-activate"), "{error}");
    assert_eq!(environment("0", None, None).names(), Err(ActivationError::ZeroSockets));
}

#[test]
fn sockets_of_another_process_are_not_ours() {
    let error = environment("1", Some(7), None).names().unwrap_err();
    assert!(error.to_string().contains("LISTEN_PID=7"), "{error}");
    let garbage = ListenVariables {
        listen_pid: Some("me".into()),
        ..environment("1", None, None)
    };
    assert!(matches!(garbage.names(), Err(ActivationError::OtherProcess { .. })));
}

#[test]
fn names_and_descriptors_must_agree_in_number() {
    let error = environment("2", Some(42), Some("a:b:c")).names().unwrap_err();
    assert!(error.to_string().contains("3 names"), "{error}");
}

#[test]
fn a_count_that_cannot_be_is_refused_before_anything_is_allocated() {
    for count in ["-1", "x", "", "1.5", "99999999999999999999"] {
        let error = environment(count, Some(42), None).names().unwrap_err();
        assert_eq!(error, ActivationError::BadCount(count.to_owned()));
    }
    let error = environment("18446744073709551615", Some(42), None).names().unwrap_err();
    assert!(matches!(error, ActivationError::TooMany { .. }), "{error}");
}

#[test]
fn default_names_of_socket_units_name_their_handlers() {
    assert_eq!(handler_name("hello"), "hello");
    assert_eq!(handler_name("hello.socket"), "hello");
    assert_eq!(handler_name("wasm-sock@hello.socket"), "hello");
    assert_eq!(handler_name("a@b@c.socket"), "b@c");
    assert_eq!(handler_name("wasm-sock@.socket"), "wasm-sock@");
    assert_eq!(handler_name(".socket"), "");
    assert_eq!(handler_name("x@y"), "x@y");
}

#[test]
fn the_kernel_tells_what_a_descriptor_is() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(dir.path().join("s")).unwrap();
    assert_eq!(kind(&tcp), Ok(Kind::Listener(Protocol::Tcp)));
    assert_eq!(kind(&unix), Ok(Kind::Listener(Protocol::Unix)));
    if let Ok(tcp6) = TcpListener::bind("[::1]:0") {
        assert_eq!(kind(&tcp6), Ok(Kind::Listener(Protocol::Tcp)));
    }
    let _client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (accepted, _) = tcp.accept().unwrap();
    assert_eq!(kind(&accepted), Ok(Kind::Connection(Protocol::Tcp)));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(kind(&udp), Ok(Kind::Udp));
    let datagrams = UnixDatagram::unbound().unwrap();
    assert_eq!(kind(&datagrams), Ok(Kind::UnixDatagrams));
}

#[test]
fn descriptors_that_cannot_be_served_each_have_their_own_error() {
    let file = tempfile::tempfile().unwrap();
    let error = kind(&file).unwrap_err();
    assert!(error.to_string().contains("is not a socket"), "{error}");
    let netlink = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    let error = kind(&netlink).unwrap_err();
    assert!(error.to_string().contains("netlink"), "{error}");
    assert!(error.to_string().contains("ListenStream="), "{error}");
}

proptest! {
    #[test]
    fn no_environment_makes_us_panic(fds in ".{0,20}", pid in proptest::option::of(".{0,10}"), names in proptest::option::of("\\PC{0,60}")) {
        let environment = ListenVariables { listen_fds: Some(fds), listen_pid: pid, listen_fdnames: names, pid: 1 };
        if let Ok(names) = environment.names() {
            for name in &names {
                let handler = handler_name(name);
                prop_assert!(name.contains(handler));
            }
        }
    }

    #[test]
    fn as_many_names_as_sockets_are_always_accepted(names in proptest::collection::vec("[ -9;-~]{1,12}", 1..8)) {
        let joined = names.join(":");
        let environment = environment(&names.len().to_string(), Some(42), Some(&joined));
        prop_assert_eq!(environment.names().unwrap(), names);
    }

    #[test]
    fn a_template_instance_names_its_handler(prefix in "[a-z-]{1,8}", instance in "[a-zA-Z0-9@_.-]{1,20}") {
        let unit = format!("{prefix}@{instance}.socket");
        prop_assert_eq!(handler_name(&unit), instance);
    }
}
