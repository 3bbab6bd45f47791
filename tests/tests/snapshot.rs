//! A large configuration is read once, and what was found out is kept; only the time it takes shows that.

use harness::{Address, Kind, World, eventually};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Handlers beside the one that is asked.
const OTHERS: usize = 40;

/// What was changed this very moment is not kept.
const SETTLED: Duration = Duration::from_millis(700);

/// A world with many handlers, of which `actor` does this.
fn world(arguments: &str) -> (World, Address) {
    let world = World::new(Kind::P1);
    world.install("actor", "actor");
    configure(&world, arguments);
    let address = world.tcp("actor");
    (world, address)
}

fn configure(world: &World, arguments: &str) {
    let mut text = format!("[handler.actor]\nargs = {arguments}\nenv = {{ COLOUR = \"vermilion\" }}\n");
    for index in 0..OTHERS {
        text += &format!("[handler.other{index}]\nmodule = \"actor.cwasm\"\n");
    }
    fs::write(world.path("config/wasm-sock.toml"), text).expect("configure");
}

fn snapshot(world: &World) -> Option<PathBuf> {
    let entries = fs::read_dir(world.path("cache")).expect("list the cache");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found = paths.filter(|path| path.display().to_string().contains("/configuration-"));
    let path = found.next();
    assert!(found.next().is_none(), "two snapshots");
    path
}

/// What a fresh host answers.
fn answer(world: &World, address: &Address) -> String {
    let host = world.start(&[]);
    let answer = address.knock().text();
    assert!(!answer.is_empty(), "no answer: {}", host.log.text());
    answer
}

/// The same once there is a snapshot, and that snapshot.
fn settled(world: &World, address: &Address) -> (String, PathBuf) {
    sleep(SETTLED);
    let first = answer(world, address);
    let path = snapshot(world).expect("a snapshot");
    let second = answer(world, address);
    assert_eq!(first, second, "with the snapshot");
    (second, path)
}

#[test]
fn the_next_start_serves_what_the_configuration_says() {
    let (world, address) = world("[\"version\"]");
    let (answer, path) = settled(&world, &address);
    assert!(answer.starts_with("version"), "{answer}");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    drop(world.start(&[]));
    let after = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(before, after, "it is written once");
}

#[test]
fn a_configuration_that_is_changed_or_broken_is_noticed_at_the_next_start() {
    let (world, address) = world("[\"version\"]");
    settled(&world, &address);
    configure(&world, "[\"env\"]");
    let answered = answer(&world, &address);
    assert!(answered.contains("COLOUR=vermilion"), "{answered}");
    configure(&world, "[\"version\"]");
    settled(&world, &address);

    let drop_in = world.path("config/handlers.d/more.toml");
    fs::write(&drop_in, "[handler.actor]\n").unwrap();
    let host = world.start(&[]);
    let line = host.log.expect("defined twice");
    assert!(line.contains("more.toml"), "{line}");
    drop(host);
    fs::remove_file(drop_in).unwrap();

    configure(&world, "1");
    let host = world.start(&[]);
    host.log.expect("args: expected an array");
    drop(host);

    configure(&world, "[\"version\"]");
    settled(&world, &address);
    fs::remove_file(world.path("config/wasm-sock.toml")).unwrap();
    let _host = world.start(&[]);
    assert_eq!(address.knock().text(), "", "it is told to do nothing");
}

#[test]
fn a_snapshot_that_is_damaged_is_passed_over() {
    let (world, address) = world("[\"version\"]");
    let (_, path) = settled(&world, &address);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&b""[..], b"nonsense", &whole[..whole.len() - 1], &flipped] {
        fs::write(&path, damaged).unwrap();
        assert!(answer(&world, &address).starts_with("version"));
        eventually("it is made anew", || {
            fs::read(&path).unwrap().len() > damaged.len().min(8)
        });
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(answer(&world, &address).starts_with("version"));
}

/// The snapshot of a configuration in which the variable has another value: nothing but who may have written
/// it tells it from the right one.
fn forged(snapshot: &[u8]) -> Vec<u8> {
    // Its last 8 bytes are a checksum of the others (host/src/snapshot.rs), and no secret.
    let mut forged = snapshot[..snapshot.len() - 8].to_vec();
    let (right, wrong) = (b"vermilion", b"turquoise");
    let starts = 0..forged.len() - right.len();
    let found: Vec<usize> = starts.filter(|at| forged[*at..].starts_with(right)).collect();
    assert_eq!(found.len(), 1, "what is in the snapshot has another form now");
    forged[found[0]..][..wrong.len()].copy_from_slice(wrong);
    let mut hasher = DefaultHasher::new();
    hasher.write(&forged);
    forged.extend(hasher.finish().to_le_bytes());
    forged
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Does a host believe a forged snapshot, once `spoil` was done to the snapshot and its folder?
fn is_believed(spoil: impl Fn(&Path, &Path)) -> bool {
    let (world, address) = world("[\"env\"]");
    sleep(SETTLED);
    let right = answer(&world, &address);
    assert!(right.contains("COLOUR=vermilion\n"), "{right}");
    let path = snapshot(&world).expect("a snapshot");
    fs::write(&path, forged(&fs::read(&path).unwrap())).unwrap();
    chmod(&path, 0o600);
    spoil(&path, &world.path("cache"));
    let answered = answer(&world, &address);
    let is_believed = answered.contains("COLOUR=turquoise\n");
    assert_ne!(is_believed, answered.contains("COLOUR=vermilion\n"), "{answered}");
    is_believed
}

#[test]
fn a_snapshot_that_others_may_have_written_is_passed_over() {
    assert!(is_believed(|_, _| ()), "nothing is wrong with the forgery");
    for mode in [0o620, 0o602] {
        let believed = is_believed(|snapshot, _| chmod(snapshot, mode));
        assert!(!believed, "a snapshot of mode {mode:o}");
    }
    for mode in [0o720, 0o702] {
        let believed = is_believed(|_, folder| chmod(folder, mode));
        assert!(!believed, "a folder of mode {mode:o}");
    }
}

#[test]
fn a_snapshot_of_another_user_is_passed_over() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("only root can give a file away");
    }
    let give_away = |path: &Path| chown(path, Some(4242), None).unwrap();
    assert!(!is_believed(|snapshot, _| give_away(snapshot)));
    assert!(!is_believed(|_, folder| give_away(folder)));
}

#[test]
fn a_module_that_came_later_is_served_in_spite_of_a_snapshot() {
    let (world, address) = world("[\"version\"]");
    settled(&world, &address);
    let (module, elsewhere) = (world.module("actor.cwasm"), world.path("run/actor.cwasm"));
    fs::rename(&module, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &module).unwrap();
    assert!(answer(&world, &address).starts_with("version"));
}
