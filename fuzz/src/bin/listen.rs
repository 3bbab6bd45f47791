//! `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`, a line each: as many names as sockets, or the reason
//! why not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasm_sock_activation::{ListenVariables, handler_name};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n').map(str::to_owned);
    let environment = ListenVariables {
        listen_fds: lines.next(),
        listen_pid: lines.next(),
        listen_fdnames: lines.next(),
        pid: 1,
    };
    match environment.names() {
        Ok(names) => {
            let count = environment.listen_fds.and_then(|count| count.parse().ok());
            assert_eq!(Some(names.len()), count);
            for name in names {
                assert!(name.contains(handler_name(&name)), "{name:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
