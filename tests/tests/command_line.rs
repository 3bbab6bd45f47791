//! What a person types.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::{Kind, World, copy_program, each_kind, run, run_in, wasm, wasm_sock};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command ends with this code, and its standard error has these words.
fn expect(output: &Output, code: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// As with `2>&1 | head`.
#[test]
fn a_standard_error_that_was_closed_ends_no_command_by_a_signal() {
    for (arguments, code) in [
        (vec!["dance"], 2),
        (vec!["host", "extra"], 2),
        (vec!["status", "--user", "none"], 1),
        (vec!["compile", "/none.wasm"], 1),
        (vec!["inspect", "/none.wasm"], 1),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = Command::new(wasm_sock()).args(&arguments).stderr(writer).status();
        assert_eq!(status.unwrap().code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
    for (arguments, word) in [
        (vec![], "Usage: wasm-sock <COMMAND>"),
        (vec!["dance"], "\"dance\""),
        (vec!["--verbose"], "--verbose"),
        (vec!["host", "--modul", "x"], "--modul"),
        (vec!["host", "--module"], "--module"),
        (vec!["host", "--idle-timeout", "soon"], "\"soon\""),
        (vec!["host", "--module", "a", "--config", "b"], "one of them"),
        (vec!["host", "extra"], "extra"),
        (vec!["check", "extra"], "extra"),
        (vec!["inspect"], "<FILE>"),
        (vec!["chek"], "did you mean \"check\"?"),
        (vec!["help", "dance"], "there are host, check, inspect, compile"),
        (vec!["compile"], "usage: wasm-sock compile"),
        (vec!["compile", "a.wasm", "b.wasm"], "b.wasm"),
        (vec!["compile", "--fast", "a.wasm"], "--fast"),
        (vec!["compile", "a.cwasm"], "already a .cwasm"),
    ] {
        let output = run(&arguments);
        expect(&output, 2, &["wasm-sock: ", word]);
        assert_eq!(stdout(&output), "");
    }
}

/// In 80 columns, as it is where the terminal tells no width.
const HELP: &str = "\
wasm-sock: inetd for WebAssembly. systemd holds the sockets; when a client
connects, it starts `wasm-sock host`, which gives each connection a fresh,
sandboxed guest and exits when idle.

Usage: wasm-sock <COMMAND>

Commands:
  host         Serve the sockets that systemd passed (systemd starts this)
  check        Validate configuration, modules, directories and socket units
  inspect      Print what a module is, what it imports, and what that needs
  compile      Compile a module ahead of time: make the .cwasm that `host` loads
  run          Serve a module without systemd, and show what it does
  new          Make a project that builds to a module
  install      Make a module a service
  uninstall    Remove a service that was installed
  push         Store a module in an OCI registry
  export       Write what runs it elsewhere: container, Kubernetes, Nomad, Spin
  serve        Serve the handlers that listen, without systemd: in a container
  list         Print the handlers: addresses, state, counters
  status       Print all there is to tell of a handler
  logs         Print the log of a handler
  exec         Run a handler once, without a client
  kv           Read and change what the guests of a handler have stored
  metrics      Print the counters of all handlers for Prometheus
  reload       Have a running host read its configuration again
  completions  Print what makes a shell complete commands and names of handlers
  version      Print the version
  help         Print this, or the help of a command

Options:
  -h, --help     Print help
  -V, --version  Print version

Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 bad configuration or no sockets.

Examples:
  wasm-sock check
  wasm-sock help host
";

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [["help"], ["--help"], ["-h"]] {
        let output = run(&arguments);
        expect(&output, 0, &[]);
        assert_eq!(stdout(&output), HELP);
    }
    for arguments in [["version"], ["--version"], ["-V"]] {
        let output = run(&arguments);
        expect(&output, 0, &[]);
        assert_eq!(stdout(&output), format!("wasm-sock {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_help_of_each_verb_fits_a_screen_and_has_two_examples() {
    for (verb, words) in [
        (
            "host",
            &[
                "--module <FILE>",
                "--idle-timeout <TIME>",
                "[default: 30s]",
                "--print-sandbox",
            ][..],
        ),
        (
            "run",
            &[
                "(FOLDER) [default: .]",
                "--watch",
                "--listen <ADDRESS>",
                "[default: 127.0.0.1:7000]",
                "--name <NAME>",
                "--config-value <KEY=VALUE>",
            ],
        ),
        ("new", &["<NAME>", "assemblyscript", "datagram", "[default: stream;"]),
        ("uninstall", &["<NAME>", "--purge"]),
        ("list", &["--json", "--user"]),
        ("status", &["<NAME>", "--json"]),
        ("logs", &["--follow", "--since", "--failed"]),
        ("metrics", &["--textfile <FILE>", "--openmetrics"]),
        ("reload", &["--pid <PID>", "exit code is 78"]),
        (
            "exec",
            &["<NAME|FILE>", "--input <FILE>", "The exit code is the guest's"],
        ),
        ("push", &["oci://"]),
        ("serve", &["[NAME]"]),
        ("completions", &["bash, zsh, fish"]),
        ("check", &["--config <FILE>", "handlers.d/*.toml", "Nothing is served"]),
        ("inspect", &["<FILE>", ".cwasm"]),
        (
            "compile",
            &["<FILE.wasm>", "--output <FILE.cwasm>", "[default: beside the .wasm]"],
        ),
    ] {
        let output = run(&["help", verb]);
        expect(&output, 0, &[]);
        let said = stdout(&output);
        for arguments in [[verb, "--help"], [verb, "-h"]] {
            assert_eq!(stdout(&run(&arguments)), said);
        }
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() <= 24, "{said}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{said}");
        let (_, examples) = said.split_once("\nExamples:\n").expect("examples");
        let is_example = |line: &str| line.contains(&format!("wasm-sock {verb}"));
        assert!(
            examples.lines().count() == 2 && examples.lines().all(is_example),
            "{said}"
        );
        assert!(HELP.contains(&format!("\n  {verb:11}  {}\n", lines[0])), "{said}");
        for word in words.iter().copied().chain([&*format!("Usage: wasm-sock {verb}")]) {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }
}

/// `host` and `compile` are in the table of verbs for their help only: they parse their arguments themselves.
#[test]
fn what_help_says_of_host_and_compile_they_understand() {
    for verb in ["host", "compile"] {
        let said = stdout(&run(&["help", verb]));
        let (options, _examples) = said.split_once("\nExamples:\n").expect("examples");
        let words = options.split_whitespace().map(|word| word.trim_end_matches(','));
        let options = words.filter(|word| word.starts_with("--") && *word != "--help");
        let options: BTreeSet<&str> = options.collect();
        assert!(!options.is_empty(), "{said}");
        for option in options {
            let output = run(&[verb, option]);
            let said = stderr(&output);
            assert!(!said.contains("invalid option"), "{verb} {option}: {said}");
        }
    }
}

/// `bin/wasm-sock` below the world's folder, with its other programs in `folder`.
fn installed(world: &World, folder: Option<&str>) -> PathBuf {
    let program = world.path("bin/wasm-sock");
    fs::create_dir_all(world.path("bin")).unwrap();
    copy_program(&wasm_sock(), &program);
    if let Some(folder) = folder {
        let folder = world.path(folder);
        fs::create_dir_all(&folder).unwrap();
        for sibling in ["wasm-sock-compile", "wasm-sock-cli"] {
            copy_program(&wasm_sock().with_file_name(sibling), &folder.join(sibling));
        }
    }
    program
}

#[test]
fn the_other_programs_are_found_beside_wasm_sock_and_where_they_are_installed() {
    for folder in ["bin", "lib/wasm-sock"] {
        let world = World::new(Kind::P1);
        let program = installed(&world, Some(folder));
        let module = world.path("run/hello.wasm");
        fs::copy(wasm(Kind::P1, "hello"), &module).unwrap();
        for verb in ["compile", "inspect"] {
            let output = Command::new(&program)
                .args([verb.as_ref(), module.as_os_str()])
                .output()
                .unwrap();
            expect(&output, 0, &[]);
        }
        assert!(module.with_extension("cwasm").exists());
        // It finds the host by itself, too.
        let commands = world.path(folder).join("wasm-sock-cli");
        let mut inspect = Command::new(commands);
        inspect.env_clear().args(["inspect".as_ref(), module.as_os_str()]);
        expect(&inspect.output().unwrap(), 0, &[]);
    }
}

#[test]
fn a_missing_program_is_told_with_where_it_belongs() {
    let world = World::new(Kind::P1);
    let program = installed(&world, None);
    for (verb, name) in [
        ("check", "wasm-sock-cli"),
        ("help", "wasm-sock-cli"),
        ("compile", "wasm-sock-compile"),
    ] {
        let output = Command::new(&program).arg(verb).output().unwrap();
        let beside = world.path("bin").join(name).display().to_string();
        let installed = world.path("lib/wasm-sock").join(name).display().to_string();
        expect(
            &output,
            1,
            &["wasm-sock: cannot run", &beside, &installed, "install it"],
        );
    }
}

#[test]
fn inspect_tells_what_a_module_is_and_what_it_would_have_to_be_granted() {
    for (kind, guest, words) in [
        (
            Kind::P1,
            "gopher",
            &[
                "core module (WASI 0.1); reads and writes bytes",
                "wasi_snapshot_preview1.path_open",
                "dirs, to open files",
            ][..],
        ),
        (
            Kind::P2,
            "gopher",
            &[
                "command (WASI 0.2)",
                "wasi:filesystem/preopens@0.2",
                "dirs, to open files",
            ],
        ),
        (
            Kind::P2,
            "actor",
            &["wasi:sockets/tcp@0.2", "allow-outbound, to connect", "args and env"],
        ),
        (Kind::P2, "http-hello", &["HTTP (WASI 0.2); answers requests"]),
        (Kind::P3, "http-actor", &["HTTP (WASI 0.3); answers requests"]),
    ] {
        let output = run(&["inspect", wasm(kind, guest).to_str().unwrap()]);
        expect(&output, 0, &[]);
        for word in words {
            assert!(
                stdout(&output).contains(word),
                "{word:?} is not in: {}",
                stdout(&output)
            );
        }
    }
}

#[test]
fn inspect_names_what_nobody_provides() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("odd.wasm");
    fs::write(
        &module,
        r#"(module (import "env" "magic" (func)) (func (export "_start")))"#,
    )
    .unwrap();
    expect(
        &run(&["inspect", module.to_str().unwrap()]),
        1,
        &["odd.wasm", "not a WebAssembly module"],
    );
    // The same in binary: an import of env.magic, and `_start`.
    let binary = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x01\x03env\x05magic\0\0\x03\x02\x01\0\
        \x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";
    fs::write(&module, binary).unwrap();
    let output = run(&["inspect", module.to_str().unwrap()]);
    expect(&output, 1, &["env.magic", "not part of WASI 0.1"]);
    assert!(stdout(&output).contains("env.magic"), "{}", stdout(&output));
}

#[test]
fn host_without_a_service_manager_tells_how_it_is_started() {
    expect(
        &run(&["host"]),
        78,
        &["wasm-sock: no sockets", "systemd-socket-activate"],
    );
}

fn check(world: &World) -> Output {
    let (config, state, cache) = (world.path("config"), world.path("state"), world.path("cache"));
    let environment = [
        ("CONFIGURATION_DIRECTORY", config.as_path()),
        ("STATE_DIRECTORY", state.as_path()),
        ("CACHE_DIRECTORY", cache.as_path()),
    ];
    run_in(Path::new("/"), &["check"], &environment)
}

#[test]
fn check_prints_one_line_for_each_handler() {
    for (kind, guest) in [(Kind::P1, "core module (WASI 0.1)"), (Kind::P2, "command (WASI 0.2)")] {
        let world = World::new(kind);
        world.install("hello", "hello");
        world.install_wasm("source", "hello");
        fs::create_dir(world.path("data")).unwrap();
        let host = world.path("data");
        world.configure(&format!(
            "[host]\nidle-timeout = \"5s\"\n[defaults]\nmemory = \"32MiB\"\n\
             [handler.full]\nmodule = \"hello.cwasm\"\ntimeout = \"infinity\"\ncpu-time = \"2s\"\n\
             max-connections = 7\nenv = {{ TOKEN = \"very secret\" }}\n\
             allow-outbound = [\"example.org:443\", \"192.0.2.1:80\"]\n\
             dirs = [{{ host = {host:?}, guest = \"/data\", access = \"read-write\" }}]\n"
        ));
        let output = check(&world);
        expect(&output, 0, &[]);
        let said = stdout(&output);
        let row = |name: &str| {
            let line = said.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("no line for {name}: {said}"))
        };
        for word in ["HANDLER", "GUEST", "MODULE", "LIMITS", "GRANTED"] {
            assert!(row("HANDLER").contains(word), "{said}");
        }
        let data = format!("{} as /data (read-write)", host.display());
        for word in [
            guest,
            "hello.cwasm",
            "memory 32MiB, timeout infinity, cpu-time 2s, 7 connections, 64 per source, ",
            "idle 600s, output infinity, datagram 65535, 1000000 table elements, log 1000 ",
            &data,
            "connect to example.org:443",
            "connect to 192.0.2.1:80",
            "env TOKEN",
        ] {
            assert!(row("full ").contains(word), "{word:?} is not in: {said}");
        }
        assert!(row("hello ").contains(guest), "{said}");
        assert!(row("hello ").ends_with("the connection only"), "{said}");
        assert!(row("source ").contains("source.wasm"), "{said}");
        assert!(
            said.contains("wasm-sock.toml")
                && said.contains("idle-timeout 5s")
                && said.contains("stack 512KiB, max-memory the machine's, max-connections infinity"),
            "{said}"
        );
        assert!(!said.contains("very secret"), "{said}");
    }
}

#[test]
fn check_lists_everything_that_would_go_wrong_and_ends_with_1() {
    let world = World::new(Kind::P1);
    world.install("good", "hello");
    fs::write(world.module("garbage.cwasm"), "garbage").unwrap();
    fs::write(world.module("library.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let open = world.install("open", "hello");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    world.configure(
        "[handler.missing]\nmodule = \"nowhere.wasm\"\n\
         [handler.good]\ndirs = [{ host = \"/does/not/exist\", guest = \"/data\" }]\n",
    );
    let output = check(&world);
    let words = [
        "5 problems",
        "garbage: ",
        "cannot be used",
        "library: ",
        "`_start`",
        "missing: ",
        "nowhere.wasm",
        "good: dirs: /does/not/exist",
        "open: ",
        "`chmod go-w",
    ];
    expect(&output, 1, &words);
    assert!(stdout(&output).contains("\ngood "), "{}", stdout(&output));
}

#[test]
fn check_warns_of_more_memory_than_there_is_and_ends_with_0() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    let warned = || {
        let output = check(&world);
        expect(&output, 0, &[]);
        let said = stdout(&output);
        let warning = said.lines().find(|line| line.starts_with("warning: "));
        warning.map(str::to_owned)
    };
    assert_eq!(warned(), None, "without any configuration all is well");
    world.configure("[defaults]\nmemory = \"4GiB\"\nmax-connections = 4096\n");
    assert_eq!(warned(), None, "a host never takes more than there is");
    world.configure("[host]\nmax-memory = \"infinity\"\n");
    let warning = warned().expect("a warning");
    for word in ["16TiB", "hello 4096 × 4GiB", "`max-memory`"] {
        assert!(warning.contains(word), "{word:?} is not in: {warning}");
    }
}

#[test]
fn check_knows_the_limits_of_the_services() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.configure("[host]\nmax-memory = \"2GiB\"\n");
    let systemctl = "#!/bin/sh\ncase \"$*\" in\n\
        *Triggers*) printf 'Id=hello.socket\\nFileDescriptorName=hello\\n\
        Triggers=wasm-sock.service\\nListen=7000 (Stream)\\n' ;;\n\
        *wasm-sock.service) printf 'MemoryMax=1073741824\\nLimitNOFILESoft=100\\n' ;;\nesac\n";
    let folder = world.path("run");
    fs::write(folder.join("systemctl"), systemctl).unwrap();
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("systemctl"), permissions).unwrap();
    let (config, state) = (world.path("config"), world.path("state"));
    let environment = [
        ("CONFIGURATION_DIRECTORY", config.as_path()),
        ("STATE_DIRECTORY", state.as_path()),
        ("PATH", folder.as_path()),
    ];
    let output = run_in(Path::new("/"), &["check"], &environment);
    expect(&output, 0, &[]);
    let said = stdout(&output);
    for word in [
        "warning: wasm-sock.service: guests may have 2GiB (hello 256 × 64MiB), MemoryMax= is 1GiB",
        "warning: wasm-sock.service: connections may need 281 descriptors, LimitNOFILE= is 100",
    ] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn check_without_any_configuration_tells_where_modules_go() {
    let world = World::new(Kind::P1);
    let output = check(&world);
    expect(&output, 0, &[]);
    let said = stdout(&output);
    assert!(said.contains("the defaults apply"), "{said}");
    let modules = world.path("state/modules").display().to_string();
    assert!(said.contains(&format!("put NAME.wasm into {modules}")), "{said}");
}

#[test]
fn a_bad_configuration_ends_with_78_and_tells_all_mistakes_with_their_places() {
    let world = World::new(Kind::P1);
    world.configure("[host]\nidle-timeout = 1.5\n[defaults]\nmemry = \"1MiB\"\n[handlr.a]\n");
    let dropped = world.path("config/handlers.d/a.toml");
    fs::write(
        &dropped,
        "[handler.a]\ncpu-time = \"0\"\nargs = \"x\"\n[host]\n[handler.b]\n",
    )
    .unwrap();
    let words = [
        "wasm-sock.toml:2:16: ",
        "wasm-sock.toml:4:1: ",
        "did you mean \"memory\"?",
        "wasm-sock.toml:5:2: ",
        "did you mean \"handler\"?",
        "a.toml:2:12: ",
        "a.toml:3:8: ",
        "a.toml:4:2: [host] belongs in wasm-sock.toml",
        "a.toml:5:10: handler \"b\" is in the file of handler \"a\"",
        "move it to handlers.d/b.toml, or to wasm-sock.toml",
    ];
    expect(&check(&world), 78, &words);
    let file = world.path("config/wasm-sock.toml");
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    expect(&output, 78, &words);
    let output = run(&["check", "--config", "/does/not/exist.toml"]);
    expect(&output, 78, &["/does/not/exist.toml", "no such file"]);
}

each_kind! { BOTH: compile_makes_the_cwasm_beside_the_wasm_or_where_it_is_told_to }
fn compile_makes_the_cwasm_beside_the_wasm_or_where_it_is_told_to(kind: Kind) {
    let world = World::new(kind);
    let folder = world.path("run");
    fs::copy(wasm(kind, "hello"), folder.join("hello.wasm")).unwrap();
    expect(&run_in(&folder, &["compile", "hello.wasm"], &[]), 0, &[]);
    let made = folder.join("hello.cwasm");
    let mode = fs::metadata(&made).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    let elsewhere = world.module("hello.cwasm");
    let arguments = ["compile", "hello.wasm", "-o", elsewhere.to_str().unwrap()];
    expect(&run_in(&folder, &arguments, &[]), 0, &[]);
    assert_eq!(fs::read(&made).unwrap(), fs::read(&elsewhere).unwrap());
    let address = world.tcp("hello");
    let _host = world.start(&[]);
    assert!(address.knock().text().starts_with("Hello"));
}

#[test]
fn compile_tells_what_is_wrong_and_leaves_nothing_behind() {
    let world = World::new(Kind::P1);
    let folder = world.path("run");
    fs::write(folder.join("garbage.wasm"), "garbage").unwrap();
    fs::write(folder.join("damaged.wasm"), b"\0asm\x01\0\0\0\x01").unwrap();
    fs::copy(wasm(Kind::P1, "hello"), folder.join("hello.wasm")).unwrap();
    let before = fs::read_dir(&folder).unwrap().count();
    for (arguments, words) in [
        (vec!["missing.wasm"], ["missing.wasm", "No such file"]),
        (vec!["garbage.wasm"], ["garbage.wasm", "not a WebAssembly module"]),
        (vec!["damaged.wasm"], ["damaged.wasm", "cannot compile"]),
        (
            vec!["hello.wasm", "-o", "no/folder/x.cwasm"],
            ["no/folder/x.cwasm", "No such file"],
        ),
    ] {
        let arguments = [vec!["compile"], arguments].concat();
        let output = run_in(&folder, &arguments, &[]);
        expect(&output, 1, &words);
        assert!(stderr(&output).starts_with("wasm-sock: "), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), before);
}
