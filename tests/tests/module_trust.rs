//! Modules that are not run, each with the reason and what to do. None takes its socket down.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;

use harness::{Address, BOTH, Host, Kind, World, each_kind, make_foreign, run_in};

/// Each of these modules, a file of this content and extension, resets its clients, and the log
/// tells each of its words.
fn are_refused(kind: Kind, extension: &str, modules: &[(&[u8], &[&str])]) {
    let world = World::new(kind);
    let addresses: Vec<Address> = (0..modules.len())
        .map(|number| {
            let name = format!("guest{number}");
            let file = world.module(&format!("{name}.{extension}"));
            fs::write(file, modules[number].0).unwrap();
            world.tcp(&name)
        })
        .collect();
    let mut host = world.start(&[]);
    // At once, because a file that was just written may be waited for.
    thread::scope(|scope| {
        for address in &addresses {
            scope.spawn(|| {
                for _ in 0..10 {
                    address.knock().expect_reset_after("");
                }
            });
        }
    });
    for (number, (_, words)) in modules.iter().enumerate() {
        tells_once(&host, &format!("guest{number}: "), words);
    }
    host.expect_leave();
}

fn is_refused(kind: Kind, extension: &str, content: &[u8], words: &[&str]) {
    are_refused(kind, extension, &[(content, words)]);
}

fn is_reset(world: &World, address: &Address, words: &[&str]) {
    let mut host = world.start(&[]);
    for _ in 0..10 {
        address.knock().expect_reset_after("");
    }
    tells_once(&host, "guest: ", words);
    host.expect_leave();
}

/// One line, about this handler, has all of the words.
fn tells_once(host: &Host, handler: &str, words: &[&str]) {
    host.log.expect(words[0]);
    let lines = host.log.lines();
    let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
    let about: Vec<&String> = lines.iter().filter(|line| line.contains(handler)).collect();
    let told = about.iter().copied().filter(has_all).count();
    assert_eq!(told, 1, "lines with {words:?}, among {about:#?}");
}

fn compiled(kind: Kind) -> Vec<u8> {
    let world = World::new(kind);
    fs::read(world.install("hello", "hello")).unwrap()
}

fn of_another_version(kind: Kind) -> Vec<u8> {
    let mut artifact = compiled(kind);
    // The engine's section: its format, the length of the version, the version.
    let version = artifact.windows(4).position(|bytes| bytes == b"\0\x0248");
    let version = version.expect("the artifact names Wasmtime 48") + 2;
    artifact[version..version + 2].copy_from_slice(b"47");
    artifact
}

each_kind! { BOTH: a_garbage_cwasm_is_refused_with_the_command_that_makes_it_anew }
fn a_garbage_cwasm_is_refused_with_the_command_that_makes_it_anew(kind: Kind) {
    let words: &[&str] = &["cannot be used", ".cwasm", "`wasm-sock compile"];
    are_refused(kind, "cwasm", &[(b"garbage", words), (b"", words)]);
}

each_kind! { BOTH: a_truncated_cwasm_is_refused_wherever_it_was_cut }
fn a_truncated_cwasm_is_refused_wherever_it_was_cut(kind: Kind) {
    let whole = compiled(kind);
    let words: &[&str] = &["cannot be used", "`wasm-sock compile"];
    let lengths = [1, 64, 70, 1000, whole.len() / 2, whole.len() - 1];
    let modules = lengths.map(|length| (&whole[..length], words));
    are_refused(kind, "cwasm", &modules);
}

each_kind! { BOTH: a_cwasm_of_another_version_is_refused_with_the_command_that_makes_it_anew }
fn a_cwasm_of_another_version_is_refused_with_the_command_that_makes_it_anew(kind: Kind) {
    let words = ["cannot be used", "version", "`wasm-sock compile"];
    is_refused(kind, "cwasm", &of_another_version(kind), &words);
}

each_kind! { BOTH: a_cwasm_for_another_processor_is_refused_with_the_command_that_makes_it_anew }
fn a_cwasm_for_another_processor_is_refused_with_the_command_that_makes_it_anew(kind: Kind) {
    let mut artifact = compiled(kind);
    let [theirs, ours] = make_foreign(&mut artifact);
    let reason = format!("cannot be used: it was compiled for {theirs}, and this machine is {ours} (");
    let words = [reason.as_str(), "compile it again with `wasm-sock compile"];
    is_refused(kind, "cwasm", &artifact, &words);
    // And so say the commands.
    let world = World::new(kind);
    let file = world.module("guest.cwasm");
    fs::write(&file, artifact).unwrap();
    let folders = ["CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"];
    let paths = ["config", "state", "cache"].map(|name| world.path(name));
    let environment: Vec<_> = folders.into_iter().zip(paths.iter().map(PathBuf::as_path)).collect();
    for arguments in [&["check"][..], &["inspect", file.to_str().unwrap()]] {
        let output = run_in(Path::new("/"), arguments, &environment);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}

each_kind! { BOTH: a_cwasm_that_is_really_a_wasm_is_refused }
fn a_cwasm_that_is_really_a_wasm_is_refused(kind: Kind) {
    let wasm = fs::read(harness::wasm(kind, "hello")).unwrap();
    is_refused(kind, "cwasm", &wasm, &["cannot be used"]);
}

/// Installs a good module, spoils who may write it, and expects `words`.
fn is_distrusted(spoil: impl Fn(&World, &Path), words: &[&str]) {
    for kind in BOTH {
        let world = World::new(kind);
        let file = world.install("guest", "hello");
        let address = world.tcp("guest");
        spoil(&world, &file);
        is_reset(&world, &address, words);
        // With the .wasm beside it, it is passed over with a warning.
        let wasm = world.install_wasm("guest", "hello");
        set_older(&wasm);
        // The .wasm came last, and would be preferred; now the other one was changed last.
        fs::set_permissions(&file, fs::metadata(&file).unwrap().permissions()).unwrap();
        let host = world.start(&[]);
        assert!(address.knock().text().starts_with("Hello"));
        tells_once(&host, "guest: ", &[words, &["guest.wasm instead"]].concat());
    }
}

fn set_older(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_cwasm_that_everybody_may_write_is_refused() {
    let words = ["is not loaded", "guest.cwasm", "`chmod go-w"];
    is_distrusted(|_, file| chmod(file, 0o666), &words);
    is_distrusted(|_, file| chmod(file, 0o664), &words);
}

#[test]
fn a_cwasm_in_a_folder_that_everybody_may_write_is_refused() {
    let words = ["is not loaded", "guest.cwasm", "`chmod go-w"];
    is_distrusted(|world, _| chmod(&world.module(""), 0o777), &words);
    is_distrusted(|world, _| chmod(&world.path("state"), 0o777), &words);
}

#[test]
fn a_cwasm_in_a_sticky_folder_of_everybody_is_loaded() {
    let world = World::new(Kind::P1);
    world.install("guest", "hello");
    let address = world.tcp("guest");
    chmod(&world.module(""), 0o1777);
    let _host = world.start(&[]);
    assert!(address.knock().text().starts_with("Hello"));
}

#[test]
fn a_cwasm_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("only root can give a file away");
    }
    let words = ["is not loaded", "user 4242", "`chown root"];
    is_distrusted(|_, file| chown(file, Some(4242), None).unwrap(), &words);
}

#[test]
fn a_symbolic_link_does_not_hide_where_a_cwasm_lies() {
    let words = ["is not loaded", "`chmod go-w"];
    let spoil = |world: &World, file: &Path| {
        let open = world.path("open");
        fs::create_dir_all(&open).unwrap();
        chmod(&open, 0o777);
        fs::rename(file, open.join("real.cwasm")).unwrap();
        std::os::unix::fs::symlink(open.join("real.cwasm"), file).unwrap();
    };
    is_distrusted(spoil, &words);
}

#[test]
fn a_symbolic_link_of_somebody_else_is_not_followed_to_a_cwasm() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("only root can give a file away");
    }
    let words = ["is not loaded", "symbolic link of user 4242", "`chown -h root"];
    let spoil = |world: &World, file: &Path| {
        let real = world.path("real.cwasm");
        fs::rename(file, &real).unwrap();
        // By way of a second link, which is fine.
        let second = world.path("second.cwasm");
        std::os::unix::fs::symlink(&real, &second).unwrap();
        std::os::unix::fs::symlink(&second, file).unwrap();
        std::os::unix::fs::lchown(file, Some(4242), None).unwrap();
    };
    is_distrusted(spoil, &words);
}

each_kind! { BOTH: a_broken_cwasm_with_the_wasm_beside_it_works_and_warns }
fn a_broken_cwasm_with_the_wasm_beside_it_works_and_warns(kind: Kind) {
    let mut foreign = compiled(kind);
    make_foreign(&mut foreign);
    for content in [b"garbage".to_vec(), of_another_version(kind), foreign] {
        let world = World::new(kind);
        set_older(&world.install_wasm("guest", "hello"));
        fs::write(world.module("guest.cwasm"), content).unwrap();
        let address = world.tcp("guest");
        let host = world.start(&[]);
        for _ in 0..10 {
            assert!(address.knock().text().starts_with("Hello"));
        }
        tells_once(&host, "guest: ", &["cannot be used", "guest.wasm instead"]);
    }
}

#[test]
fn a_wasm_that_is_none_is_told_as_such() {
    let words: &[&str] = &["is not a WebAssembly module", ".wasm"];
    let modules: [(&[u8], _); 3] = [(b"", words), (b"garbage", words), (b"\0as", words)];
    are_refused(Kind::P1, "wasm", &modules);
}

each_kind! { BOTH: a_wasm_that_is_damaged_is_told_with_what_the_compiler_says }
fn a_wasm_that_is_damaged_is_told_with_what_the_compiler_says(kind: Kind) {
    let wasm = fs::read(harness::wasm(kind, "hello")).unwrap();
    let half = &wasm[..wasm.len() / 2];
    is_refused(kind, "wasm", half, &["cannot compile", "guest0.wasm"]);
}

#[test]
fn a_library_is_no_program() {
    let core = b"\0asm\x01\0\0\0";
    is_refused(Kind::P1, "wasm", core, &["`_start`", "guest0.wasm", "library"]);
    let component = b"\0asm\x0d\0\x01\0";
    is_refused(Kind::P2, "wasm", component, &["wasi:cli/run", "library"]);
}

#[test]
fn an_import_that_nobody_provides_is_named() {
    let core = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\0\0\
        \x02\x0c\x01\x03env\x04nope\0\0\
        \x03\x02\x01\0\
        \x07\x0a\x01\x06_start\0\x01\
        \x0a\x04\x01\x02\0\x0b";
    is_refused(Kind::P1, "wasm", core, &["env.nope", "wasm32-wasip1"]);
    let import = b"\x07\x03\x01\x42\0\x0a\x14\x01\0\x0fa:b/c@1.0.0-rc1\x05\0";
    let component = [COMPONENT, import, &exporting("wasi:cli/run@0.2.0", 1)].concat();
    is_refused(Kind::P2, "wasm", &component, &["a:b/c@1.0.0-rc1"]);
}

#[test]
fn a_guest_of_a_kind_that_is_not_served_is_told_what_is() {
    for name in ["wasi:messaging/handler@0.2.0", "wasi:cli/run@0.4.0"] {
        let component = [COMPONENT, &exporting(name, 0)].concat();
        is_refused(Kind::P2, "wasm", &component, &[name, "wasi:cli/run and"]);
    }
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The sections of a component that make an empty instance, which is the `index`th, and export
/// it as `name`.
fn exporting(name: &str, index: u8) -> Vec<u8> {
    let length = name.len() as u8;
    let instance = b"\x05\x03\x01\x01\0";
    let head = [0x0b, length + 6, 1, 0, length];
    let tail = [5, index, 0];
    [instance, &head[..], name.as_bytes(), &tail].concat()
}
