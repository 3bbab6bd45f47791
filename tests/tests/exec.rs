//! `wasm-sock exec`: a handler runs once, without a client, exactly as it is served.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use harness::{BOTH, Kind, World, eventually, wasm, wasm_sock};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const MIB: usize = 1024 * 1024;

fn exec(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(wasm_sock());
    command.arg("exec").args(arguments);
    command.env("CONFIGURATION_DIRECTORY", world.path("config"));
    command.env("STATE_DIRECTORY", world.path("state"));
    command.env("CACHE_DIRECTORY", world.path("cache"));
    command.env_remove("JOURNAL_STREAM").stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("run wasm-sock exec");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn piped(mut command: Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("run wasm-sock exec")
}

#[test]
fn the_guest_gets_the_input_and_its_output_and_exit_code_are_the_commands() {
    for kind in BOTH {
        let world = World::new(kind);
        world.echo("echo");
        let input = world.path("run/input");
        fs::write(&input, "from a file").unwrap();
        let file = input.to_str().unwrap();
        assert_eq!(
            output(exec(&world, &["echo", "--input", file])),
            (0, "from a file".into(), "".into())
        );
        let mut command = exec(&world, &["echo"]);
        command.stdin(File::open(&input).unwrap());
        assert_eq!(output(command), (0, "from a file".into(), "".into()));
        assert_eq!(output(exec(&world, &["echo"])), (0, "".into(), "".into()));
        let to = world.path("run/output");
        let to = to.to_str().unwrap();
        assert_eq!(
            output(exec(&world, &["echo", "--input", file, "--output", to])),
            (0, "".into(), "".into())
        );
        assert_eq!(fs::read_to_string(to).unwrap(), "from a file");
    }
}

#[test]
fn exit_codes_are_kept_and_the_guests_standard_error_is_passed_on() {
    let world = World::new(Kind::P1);
    for (handler, part, code) in [("seven", "exit 7", 7), ("most", "exit 255", 255), ("trap", "trap", 134)] {
        world.actor(handler, part, "");
        let (ended, _, _) = output(exec(&world, &[handler]));
        assert_eq!(ended, code, "{part}");
    }
    world.actor("log", "log 3", "");
    let (code, _, stderr) = output(exec(&world, &["log"]));
    assert_eq!((code, stderr.lines().count()), (0, 3), "{stderr}");
    assert!(!stderr.contains("wasm-sock"), "the guest's words alone: {stderr}");
}

#[test]
fn limits_and_grants_are_those_of_the_configuration() {
    let world = World::new(Kind::P1);
    world.actor("spin", "spin", "cpu-time = \"100ms\"");
    let (code, _, stderr) = output(exec(&world, &["spin"]));
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.contains("cpu-time"), "{stderr}");
    world.actor("env", "env", "env = { COLOUR = \"blue\" }");
    let (_, stdout, _) = output(exec(&world, &["env"]));
    assert!(
        stdout.contains("COLOUR=blue") && stdout.contains("WASM_SOCK_NAME=env"),
        "{stdout}"
    );
}

#[test]
fn a_hundred_megabytes_go_both_ways_at_once() {
    let world = World::new(Kind::P1);
    world.echo("echo");
    world.configure("[handler.echo]\ntimeout = \"10min\"\ncpu-time = \"10min\"\n");
    let mut child = piped(exec(&world, &["echo"]));
    let block: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    let (mut input, sent) = (child.stdin.take().unwrap(), block.clone());
    let sending = thread::spawn(move || (0..100).all(|_| input.write_all(&sent).is_ok()));
    let mut output = child.stdout.take().unwrap();
    let mut came = vec![0; MIB];
    for at in 0..100 {
        output.read_exact(&mut came).expect("as much as was sent");
        assert!(came == block, "near MiB {at}");
    }
    assert_eq!(output.read(&mut came).unwrap(), 0);
    assert!(sending.join().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_guest_that_ends_early_ends_the_command_although_input_is_left() {
    let world = World::new(Kind::P1);
    world.actor("seven", "exit 7", "");
    let mut child = piped(exec(&world, &["seven"]));
    // Kept open, and never written to.
    let _input = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let mut command = exec(&world, &["seven"]);
    command.stdin(File::open("/dev/zero").unwrap());
    assert_eq!(output(command).0, 7);
}

#[test]
fn a_reader_that_has_enough_ends_the_guest() {
    let world = World::new(Kind::P1);
    world.actor("flood", "flood", "timeout = \"10min\"\ncpu-time = \"10min\"");
    let mut child = piped(exec(&world, &["flood"]));
    let mut some = [0; 1000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    child.wait().expect("it ends");
}

#[test]
fn an_interrupted_command_leaves_no_host_behind() {
    let world = World::new(Kind::P1);
    world.actor("spin", "spin", "timeout = \"10min\"\ncpu-time = \"10min\"");
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = piped(exec(&world, &["spin"]));
        let pid = child.id();
        let hosts = || children(pid);
        eventually("the host runs", || hosts().iter().any(|host| is_running_guest(*host)));
        let hosts = hosts();
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        eventually("the host is gone", || {
            hosts.iter().all(|host| test_kill_process(*host).is_err())
        });
    }
}

/// The child processes, from proc(5).
fn children(pid: u32) -> Vec<Pid> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

fn is_running_guest(host: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", host.as_raw_nonzero())).unwrap_or_default();
    // Time in user mode, in hundredths of a second (proc(5)): it computes.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    fields
        .get(11)
        .and_then(|ticks| ticks.parse().ok())
        .is_some_and(|ticks: u64| ticks > 2)
}

#[test]
fn an_http_handler_gets_a_request_and_its_status_is_the_exit_code() {
    let world = World::new(Kind::P2);
    world.install("web", "http-hello");
    assert_eq!(
        output(exec(&world, &["web"])),
        (0, "Hello, stranger!\n".into(), "".into())
    );
    let (code, stdout, _) = output(exec(&world, &["web", "--path", "/?name=Ada"]));
    assert_eq!((code, stdout.as_str()), (0, "Hello, Ada!\n"));
    let (code, stdout, stderr) = output(exec(&world, &["web", "--path", "/door"]));
    assert_eq!((code, stdout.as_str()), (1, "There is only /.\n"));
    assert!(stderr.contains("404 Not Found"), "{stderr}");
    let (code, _, stderr) = output(exec(&world, &["web", "--method", "PUT"]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("405"), "{stderr}");
}

#[test]
fn a_module_that_is_not_installed_runs_by_its_path() {
    for (kind, guest) in [(Kind::P1, "echo"), (Kind::P2, "echo")] {
        let world = World::new(kind);
        let mut child = piped(exec(&world, &[wasm(kind, guest).to_str().unwrap()]));
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello");
    }
    let world = World::new(Kind::P2);
    let (code, stdout, _) = output(exec(&world, &[wasm(Kind::P2, "http-hello").to_str().unwrap()]));
    assert_eq!((code, stdout.as_str()), (0, "Hello, stranger!\n"));
}

#[test]
fn what_cannot_run_is_told() {
    let world = World::new(Kind::P1);
    for (arguments, code, words) in [
        (&["nothing"][..], 78, "nothing"),
        (&["./nothing.wasm"], 1, "no such file"),
        (&["a:b"], 1, "not a name that a handler can have"),
        (&["echo", "--input", "/nowhere"], 1, "cannot read /nowhere"),
        (&["echo", "--output", "/nowhere/x"], 1, "cannot write /nowhere/x"),
        (&["echo", "--path", "x"], 1, "does not begin with"),
        (&[], 2, "NAME|FILE"),
    ] {
        world.echo("echo");
        let (ended, _, stderr) = output(exec(&world, arguments));
        assert_eq!(ended, code, "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(words) && stderr.starts_with("wasm-sock: "),
            "{arguments:?}: {stderr}"
        );
    }
}
