//! `when-idle = "park"`: the main process of the service is the keeper, and hosts come and go as its children.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use harness::eventually;
use harness::systemctl::{Service, Socket, checkout, install, install_guest, output, systemctl};

const PARK: &str = "--when-idle park --idle-timeout";

fn parked(name: &str, idle_timeout: &str) -> (Service, Socket) {
    install();
    install_guest(&format!("{name}.cwasm"), "hello");
    let service = Service::of_template(name, &format!("{PARK} {idle_timeout}"));
    let socket = service.listen(&format!("wasm-sock@{name}.socket"), "");
    (service, socket)
}

/// The processes of the service.
fn processes(service: &Service) -> Vec<u32> {
    let group = service.property("ControlGroup");
    let processes = fs::read_to_string(format!("/sys/fs/cgroup{group}/cgroup.procs"));
    let processes = processes.expect("the service has a control group");
    processes.lines().map(|pid| pid.parse().expect("a number")).collect()
}

/// The host that the keeper has started.
fn host(service: &Service) -> String {
    let keeper = service.process();
    let host = processes(service).into_iter().find(|pid| Some(*pid) != keeper);
    host.expect("a host runs").to_string()
}

fn wait_until_parked(service: &Service) {
    eventually("the host has left and the service says so", || {
        processes(service).len() == 1 && service.property("StatusText").starts_with("asleep since ")
    });
}

#[track_caller]
fn knock(socket: &Socket) {
    let answer = socket.address.knock().text();
    assert!(answer.starts_with("Hello"), "{answer:?}");
}

#[test]
fn a_parked_service_stays_and_its_hosts_come_and_go() {
    let (service, socket) = parked("parked", "2s");
    assert!(service.is_asleep());
    knock(&socket);
    let keeper = service.process().expect("it runs");
    for _ in 0..3 {
        eventually("it says that it is awake", || {
            service.property("StatusText").starts_with("awake since 20")
        });
        wait_until_parked(&service);
        assert_eq!(service.process(), Some(keeper), "it is another process");
        assert_eq!(service.property("ActiveState"), "active");
        knock(&socket);
    }
    wait_until_parked(&service);
    let status = output(Command::new("systemctl").args(["status", "--no-pager", &service.unit]));
    assert!(status.contains("Status: \"asleep since 20"), "{status}");
    let list = output(Command::new("wasm-sock").args(["list"]));
    let line = list.lines().find(|line| line.starts_with("parked "));
    assert!(line.is_some_and(|line| line.contains("asleep")), "{list}");
    service.assert_never_failed();
    systemctl(&["stop", &service.unit]);
    assert!(service.is_asleep());
    socket.assert_open();
    knock(&socket);
}

#[test]
fn a_killed_keeper_or_host_costs_no_later_client() {
    let (service, socket) = parked("parked-killed", "30s");
    knock(&socket);
    let keeper = service.process();
    // The host alone, as the kernel does for want of memory (OOMPolicy=continue). The box has no memory controller.
    let host = host(&service);
    output(Command::new("kill").args(["-KILL", &host]));
    eventually("the status tells of it", || {
        service
            .property("StatusText")
            .contains("; the last host was killed by signal 9")
    });
    knock(&socket);
    assert_eq!(service.process(), keeper);
    systemctl(&["kill", "-s", "KILL", "--kill-who=main", &service.unit]);
    eventually("it was started again", || service.property("NRestarts") == "1");
    knock(&socket);
    socket.assert_open();
}

#[test]
fn the_watchdog_lets_a_keeper_sleep_and_ends_a_host_that_hangs() {
    let (service, socket) = parked("parked-watched", "2s");
    service.drop_in("watchdog", "[Service]\nWatchdogSec=700ms\n");
    knock(&socket);
    let keeper = service.process();
    // Awake for longer than the watchdog's time, then asleep.
    wait_until_parked(&service);
    sleep(Duration::from_millis(1500));
    assert_eq!(
        service.process(),
        keeper,
        "the watchdog has ended a keeper that is asleep"
    );
    knock(&socket);
    let host = host(&service);
    output(Command::new("kill").args(["-STOP", &host]));
    eventually("it was started again", || service.property("NRestarts") == "1");
    assert_ne!(service.process(), keeper);
    assert!(
        !Path::new(&format!("/proc/{host}")).exists(),
        "the host that hangs is still there"
    );
    knock(&socket);
}

#[test]
fn an_enabled_keeper_is_there_before_the_first_client() {
    install();
    install_guest("parked-early.cwasm", "hello");
    let service = Service::of_template("parked-early", "");
    let socket = service.listen("wasm-sock@parked-early.socket", "");
    let example = fs::read_to_string(checkout().join("units/examples/park.conf")).unwrap();
    service.drop_in("park", &example);
    systemctl(&["enable", "--now", &service.unit]);
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(processes(&service).len(), 1, "a host runs, and no client has come");
    let keeper = service.process();
    knock(&socket);
    assert_eq!(service.process(), keeper);
    let wanted = systemctl(&["show", "-P", "WantedBy", &service.unit]);
    assert!(wanted.contains("multi-user.target"), "{wanted}");
    systemctl(&["disable", "--now", &service.unit]);
}
