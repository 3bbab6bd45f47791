//! A configuration file: whatever is in it, it is read, or all that is wrong with it is told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use wasm_sock_config::{Config, Environment, Listen, valid_handler_name};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/wasm-sock-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("make a folder");
    folder.join("wasm-sock.toml")
});

fuzz_target!(|text: &[u8]| {
    fs::write(&*FILE, text).expect("write the configuration");
    let environment = Environment {
        user_manager: false,
        variable: &|_| None,
    };
    match Config::load(Some(&FILE), &environment) {
        Ok(config) => expect_sense(&config),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});

/// What the rest of the host relies on.
fn expect_sense(config: &Config) {
    for (name, handler) in &config.handlers {
        assert!(valid_handler_name(name), "{name:?}");
        assert!((64 << 10..=4 << 30).contains(&handler.limits.memory));
        assert!(handler.limits.max_connections >= 1);
        for dir in &handler.dirs {
            assert!(dir.host.is_absolute(), "{:?}", dir.host);
        }
        for outbound in &handler.allow_outbound {
            assert!(!outbound.ports.is_empty() && !outbound.has_port(0));
        }
        for listen in &handler.listen {
            // Each becomes a line of a unit file.
            let address = listen.systemd_address();
            assert!(
                !address.contains(char::is_control) && address.trim() == address,
                "{address:?}"
            );
            let again = Listen::parse(&listen.canonical()).expect("it is understood again");
            assert_eq!((again.kind, &again.address), (listen.kind, &listen.address));
        }
    }
}
