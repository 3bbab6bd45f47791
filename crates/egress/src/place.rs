//! Where `wasm-sock-egress` listens.

use std::env;
use std::path::PathBuf;

/// The environment variable with the path of the socket.
pub const VARIABLE: &str = "WASM_SOCK_EGRESS";

/// Below the directory for run-time files of the system, or of the user.
const NAME: &str = "wasm-sock/egress";

/// The path of the socket: `$WASM_SOCK_EGRESS`; else below `$XDG_RUNTIME_DIR`, which a user's service manager sets for
/// its services (`user@.service(5)`), or `/run` for root and the services of the system.
pub fn socket_path(is_root: bool) -> PathBuf {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return path.into();
    }
    let of_user = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty() && !is_root);
    of_user.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join(NAME)
}
