//! What `install` and `uninstall` share: where things are, systemd's manager, and changes that happen wholly or not
//! at all.
//!
//! `STATE/install/` (`/var/lib/wasm-sock`, or a user's `~/.local/state/wasm-sock`) has:
//!
//! ```text
//!   lock                  held while a command changes anything
//!   pending/              the change that is under way
//!     record.json           what will be installed. Its rename to installed/NAME.json commits the change
//!     undo.json             how to take the change back, if record.json is still here
//!     …                     new files before they get their names, and the former ones
//!   installed/NAME.json   what `install` wrote for handler NAME
//!   removing/NAME.json    the same, while `uninstall` removes it
//! ```
//!
//! A command that is killed leaves `pending/` or `removing/`. A process that watches over it takes back the first, and
//! finishes the second ([`guard`]); the next command does, if that is killed, too ([`store::Store::open`]).

pub mod cache;
pub mod change;
pub mod durable;
pub mod guard;
pub mod interrupt;
pub mod lock;
pub mod program;
pub mod record;
pub mod removal;
pub mod scope;
pub mod store;
pub mod systemd;
