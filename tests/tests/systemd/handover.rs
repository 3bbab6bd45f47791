//! Addresses are added and removed while the service runs, and no client notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::handlers::Handler;
use harness::systemctl::{output, property, systemctl};
use harness::{Address, PATIENCE, eventually};

fn address(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

/// Clients that connect to ports again and again, and what went wrong.
struct Load {
    stop: AtomicBool,
    served: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

impl Load {
    /// Eight clients at these ports, and one with a connection that stays open for three seconds, while `change` is
    /// made. Returns how many connections were served.
    fn during(ports: &[u16], change: impl FnOnce(&Load)) -> usize {
        let load = Load {
            stop: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            lost: Mutex::default(),
        };
        thread::scope(|scope| {
            for client in 0..8 {
                let (load, port) = (&load, ports[client % ports.len()]);
                scope.spawn(move || {
                    while !load.stop.load(Relaxed) {
                        load.count(port, exchange(port, Duration::ZERO));
                        thread::sleep(Duration::from_millis(5));
                    }
                });
            }
            eventually("the load was there", || load.served.load(Relaxed) > 100);
            let long = scope.spawn(|| load.count(ports[0], exchange(ports[0], Duration::from_secs(3))));
            change(&load);
            let _ = long.join();
            load.stop.store(true, Relaxed);
        });
        let lost = load.lost.into_inner().unwrap();
        assert!(
            lost.is_empty(),
            "{} clients were lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
        load.served.into_inner()
    }

    fn count(&self, port: u16, result: std::io::Result<String>) {
        match result {
            Ok(answer) if answer == "hello\n" => _ = self.served.fetch_add(1, Relaxed),
            other => self.lost.lock().unwrap().push(format!("{port}: {other:?}")),
        }
    }

    /// Waits until further clients have been served.
    fn goes_on(&self) {
        let before = self.served.load(Relaxed);
        eventually("clients were served", || self.served.load(Relaxed) > before + 50);
    }
}

/// Sends half a line, waits, sends the rest, and takes all that comes back.
fn exchange(port: u16, wait: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hel")?;
    if wait > Duration::ZERO {
        let mut echo = [0; 3];
        stream.read_exact(&mut echo)?;
        thread::sleep(wait);
        stream.write_all(b"lo\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        return Ok(String::from_utf8_lossy(&echo).into_owned() + &rest);
    }
    stream.write_all(b"lo\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_port_is_added_to_a_running_shared_service_and_no_client_is_lost() {
    let _shared = crate::shared();
    let units = ["wasm-sock@hone.socket", "wasm-sock@htwo.socket"];
    let _one = Handler::new("hone", "listen = '24200'\nprocess = 'shared'");
    let _two = Handler::started("htwo", "listen = '24201'\nprocess = 'shared'", &units);
    let mut third = None;
    let served = Load::during(&[24_200, 24_201], |load| {
        assert_eq!(property("wasm-sock.service", "ActiveState"), "active");
        let before = property("wasm-sock.service", "MainPID");
        let unit = "wasm-sock@hthird.socket";
        third = Some(Handler::started(
            "hthird",
            "listen = '24202'\nprocess = 'shared'",
            &[unit],
        ));
        address(24_202).ask("first try\n").expect_whole("first try\n");
        assert_ne!(
            property("wasm-sock.service", "MainPID"),
            before,
            "the service was handed over"
        );
        load.goes_on();
        // Taken away again: the running service lets go of it, too.
        systemctl(&["stop", unit]);
        assert!(address(24_202).try_connect().is_err(), "the port is still open");
        load.goes_on();
    });
    eprintln!("{served} connections, none lost");
    for unit in units {
        assert_eq!(property(unit, "ActiveState"), "active");
    }
}

#[test]
fn an_address_is_added_to_a_handler_that_runs_and_removed_and_no_client_is_lost() {
    let unit = "wasm-sock@hown.socket";
    let handler = Handler::started("hown", "listen = '24203'", &[unit]);
    Load::during(&[24_203], |load| {
        let second = "wasm-sock@hown:24204.socket";
        handler.configure("listen = ['24203', '24204']");
        systemctl(&["daemon-reload"]);
        systemctl(&["start", second]);
        address(24_204).ask("first try\n").expect_whole("first try\n");
        load.goes_on();
        systemctl(&["stop", second]);
        assert!(address(24_204).try_connect().is_err(), "the port is still open");
        handler.configure("listen = '24203'");
        systemctl(&["daemon-reload"]);
        load.goes_on();
    });
    assert_eq!(property(unit, "ActiveState"), "active");
}

/// The service runs all the time: it is the keeper that gives way to another.
#[test]
fn an_address_is_added_to_a_parked_handler_and_removed_and_no_client_is_lost() {
    let unit = "wasm-sock@hpark.socket";
    let folder = "/etc/systemd/system/wasm-sock@hpark.service.d";
    std::fs::create_dir_all(folder).unwrap();
    let start = "[Service]\nExecStart=\nExecStart=/usr/bin/wasm-sock host --idle-timeout 5ms --when-idle park\n";
    std::fs::write(format!("{folder}/park.conf"), start).unwrap();
    let handler = Handler::started("hpark", "listen = '24230'", &[unit]);
    Load::during(&[24_230], |load| {
        let before = property("wasm-sock@hpark.service", "MainPID");
        let second = "wasm-sock@hpark:24231.socket";
        handler.configure("listen = ['24230', '24231']");
        systemctl(&["daemon-reload"]);
        systemctl(&["start", second]);
        address(24_231).ask("first try\n").expect_whole("first try\n");
        assert_ne!(
            property("wasm-sock@hpark.service", "MainPID"),
            before,
            "it is the same keeper"
        );
        load.goes_on();
        systemctl(&["stop", second]);
        assert!(address(24_231).try_connect().is_err(), "the port is still open");
        load.goes_on();
    });
    assert_eq!(property(unit, "ActiveState"), "active");
}

#[test]
fn starting_the_first_address_again_starts_those_that_were_added() {
    let unit = "wasm-sock@hagain.socket";
    let handler = Handler::started("hagain", "listen = '24205'", &[unit]);
    address(24_205).ask("x\n").expect_whole("x\n");
    handler.configure("listen = ['24205', '24206']");
    systemctl(&["daemon-reload"]);
    systemctl(&["start", unit]);
    eventually("the second address was answered", || {
        address(24_206).try_connect().is_ok()
    });
    // And stopping it stops all.
    systemctl(&["stop", unit]);
    assert!(address(24_206).try_connect().is_err());
}

/// Hosts that leave at once, again and again, just when sockets are added: none is refused because its service
/// happens to be starting, running or stopping.
#[test]
fn sockets_are_added_and_removed_at_any_moment_of_a_services_life() {
    let unit = "wasm-sock@hhasty.socket";
    let lines = "listen = ['24207', '24208']";
    let folder = "/etc/systemd/system/wasm-sock@hhasty.service.d";
    std::fs::create_dir_all(folder).unwrap();
    let start = "[Service]\nExecStart=\nExecStart=/usr/bin/wasm-sock host --idle-timeout 5ms\n";
    std::fs::write(format!("{folder}/idle.conf"), start).unwrap();
    let _handler = Handler::started("hhasty", lines, &[unit]);
    let second = "wasm-sock@hhasty:24208.socket";
    let start = Instant::now();
    let mut rounds = 0;
    let served = Load::during(&[24_207], |_| {
        while start.elapsed() < Duration::from_secs(8) {
            systemctl(&["stop", second]);
            systemctl(&["start", second]);
            address(24_208).ask("x\n").expect_whole("x\n");
            rounds += 1;
        }
    });
    assert!(rounds >= 3, "{rounds} rounds");
    eprintln!("{rounds} rounds, {served} connections, none lost");
}

#[test]
fn hand_overs_of_services_that_do_not_run_leave_nothing_in_the_journal() {
    let _handler = Handler::started("hquiet", "listen = '24209'", &["wasm-sock@hquiet.socket"]);
    output(std::process::Command::new("journalctl").arg("--sync"));
    let journal = ["-q", "-o", "cat", "-u", "wasm-sock-handover@hquiet.service"];
    assert_eq!(output(std::process::Command::new("journalctl").args(journal)), "");
}
