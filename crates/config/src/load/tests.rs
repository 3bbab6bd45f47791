//! What is read for units.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::tests::World;

/// The handlers whose units are known, and the errors.
fn for_units(world: &World) -> (Vec<String>, String) {
    let (config, errors) = world.in_environment(|environment| Config::load_for_units(None, environment));
    let errors = match errors.is_empty() {
        true => String::new(),
        false => world.without_folder(&ConfigErrors(errors)),
    };
    (config.handlers.into_keys().collect(), errors)
}

#[test]
fn a_mistake_that_concerns_all_handlers_leaves_them_their_units() {
    let world = World::new(&[
        ("wasm-sock.toml", "[host]\nidle-timeout = 30s\n[defaults]\nmemroy = 1\n"),
        ("handlers.d/a.toml", "[handler.a]\nlisten = '80'\nmemory = 1"),
        ("handlers.d/b.toml", "[handler.b]\nlisten = '0'"),
        ("handlers.d/c.toml", "[handler.other]\nlisten = '81'"),
    ]);
    let (handlers, errors) = for_units(&world);
    assert_eq!(handlers, ["a"]);
    for mistake in [
        "wasm-sock.toml:2:16: ",
        "wasm-sock.toml:4:1: ",
        "handlers.d/a.toml:3:10: ",
        "handlers.d/b.toml:2:10: ",
    ] {
        assert!(errors.contains(mistake), "{mistake} in:\n{errors}");
    }
}

#[test]
fn a_syntax_error_in_the_main_file_concerns_the_handlers_in_it() {
    let world = World::new(&[
        (
            "wasm-sock.toml",
            "[handler.a]\nlisten = '80'\n[handler.b\nsocket.mode = '0600'\n",
        ),
        ("handlers.d/c.toml", "[handler.c]\nlisten = '81'"),
    ]);
    assert_eq!(for_units(&world).0, ["c"]);
}

#[test]
fn a_fifo_neither_blocks_nor_means_the_defaults() {
    let world = World::new(&[("handlers.d/a.toml", "[handler.a]\nlisten = '80'")]);
    let fifo = world.path("handlers.d/fifo.toml");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let started = Instant::now();
    let (handlers, errors) = for_units(&world);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(handlers, ["a"]);
    assert_eq!(
        errors,
        "handlers.d/fifo.toml: cannot read it: it is a FIFO (check the file and its file system)"
    );
    assert!(world.errors().contains("it is a FIFO"));
}

#[test]
fn two_handlers_of_one_address_are_told_and_the_first_has_it() {
    let world = World::new(&[
        ("wasm-sock.toml", "[handler.b]\nlisten = ['82', '127.0.0.1:80']"),
        ("handlers.d/a.toml", "\n[handler.a]\nlisten = '80'"),
        ("handlers.d/c.toml", "[handler.c]\nlisten = '80'\nenabled = false"),
    ]);
    let told = "wasm-sock.toml:1:10: listen: \"127.0.0.1:80\" is taken by handler \"a\" (FOLDER/handlers.d/a.toml:2:10) \
                with \"80\" (remove one)";
    assert_eq!(world.errors(), told.replace("FOLDER/", ""));
    let (config, errors) = world.in_environment(|environment| Config::load_for_units(None, environment));
    assert!(errors.is_empty(), "{errors:?}");
    let clashes: Vec<_> = config
        .clashes()
        .iter()
        .map(|clash| (clash.handler, clash.winner))
        .collect();
    assert_eq!(clashes, [("b", "a")]);
}

#[test]
fn a_file_that_is_removed_while_it_is_about_to_be_read_is_gone() {
    let world = World::new(&[("handlers.d/a.toml", "[handler.a]\nlisten = '80'")]);
    let listed = |folder: &Path| Ok(vec![folder.join("a.toml"), folder.join("removed.toml")]);
    let Read { config, errors, .. } = world.in_environment(|environment| Config::read(None, environment, listed));
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(config.handlers.into_keys().collect::<Vec<_>>(), ["a"]);
}
