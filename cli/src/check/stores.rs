//! Embedded stores: whether the service has a folder for them, and whether it may write there.

use super::units::{ServiceState, service_state};
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use wasm_sock_config::{Config, Environment, HandlerConfig};
use wasm_sock_units::service_name;

/// Handlers that cannot use their embedded stores.
pub fn warnings(config: &Config, environment: &Environment<'_>) -> Vec<String> {
    let handlers = config.handlers.iter().filter(|(_, handler)| handler.enabled);
    handlers
        .filter_map(|(name, handler)| of_handler(name, handler, environment))
        .collect()
}

/// The warning about one handler.
pub fn of_handler(name: &str, handler: &HandlerConfig, environment: &Environment<'_>) -> Option<String> {
    if !handler.has_embedded_store() {
        return None;
    }
    let service = service_name(name, handler.process);
    let state = service_state(&service);
    if let Some(why) = without_folder(&service, state.as_ref()) {
        return Some(format!("{name}: keyvalue: {why}"));
    }
    let Some(folder) = environment.state_directory() else {
        return Some(format!(
            "{name}: keyvalue: there is no folder for the embedded store (set $HOME, or $STATE_DIRECTORY)"
        ));
    };
    // Before the first start of a service, systemd has not made the folder for its user.
    let is_own = environment.user_manager || (state.is_none() && !folder.exists());
    let user = match is_own {
        true => geteuid().as_raw(),
        false => owner(&folder)?,
    };
    let why = not_writable(&folder, name, user)?;
    Some(format!("{name}: keyvalue: {why}"))
}

/// Does a service lack a folder? Of one that systemd does not know, nothing is known.
fn without_folder(service: &str, state: Option<&ServiceState>) -> Option<String> {
    let ServiceState {
        directories,
        environment,
    } = state?;
    let is_set = |variable: &str| variable.trim_start_matches('"').starts_with("STATE_DIRECTORY=");
    if !directories.is_empty() || environment.split(' ').any(is_set) {
        return None;
    }
    Some(format!(
        "{service} has no folder for the embedded store (StateDirectory=wasm-sock/state in [Service])"
    ))
}

/// Why a host of this user could not write the store of a handler, if it could not.
fn not_writable(state: &Path, handler: &str, user: u32) -> Option<String> {
    let folder = state.join(handler);
    let paths = [folder.join("keyvalue.sqlite"), folder];
    // Root opens what belongs to others, and then they cannot: it is the owner that counts.
    if let Some(path) = paths.iter().find(|path| owner(path).is_some_and(|owner| owner != user)) {
        return Some(format!(
            "{0} does not belong to the user of the service (chown -R --reference={1} {2})",
            path.display(),
            state.display(),
            paths[1].display()
        ));
    }
    // What is not there is made in the first folder above that is.
    let there = paths.iter().map(std::path::PathBuf::as_path).chain(state.ancestors());
    let there = there.into_iter().find(|path| path.exists())?;
    let may_owner = fs::metadata(there).is_ok_and(|found| found.mode() & 0o200 != 0);
    let may_user = user != geteuid().as_raw() || access(there, Access::WRITE_OK).is_ok();
    (!may_owner || !may_user).then(|| {
        format!(
            "{} cannot be written (chmod u+w, or a file system that is writable)",
            there.display()
        )
    })
}

fn owner(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use wasm_sock_config::{KeyValue, StoreAddress};

    fn handler() -> HandlerConfig {
        let store = KeyValue {
            name: "default".into(),
            at: StoreAddress::Embedded,
            lifetime: None,
            prefix: None,
        };
        HandlerConfig {
            keyvalue: vec![store],
            ..HandlerConfig::default()
        }
    }

    /// What is told of a handler that no service manager knows.
    fn told(handler: &HandlerConfig, state: Option<&Path>) -> Option<String> {
        let variable = |name: &str| match name {
            "STATE_DIRECTORY" => state.map(|state| state.as_os_str().to_owned()),
            _ => None,
        };
        let environment = Environment {
            user_manager: true,
            variable: &variable,
        };
        of_handler("no-such-handler", handler, &environment)
    }

    #[test]
    fn a_store_without_a_folder_is_told() {
        let warning = told(&handler(), None).expect("a warning");
        assert!(
            warning.starts_with("no-such-handler: keyvalue: there is no folder"),
            "{warning}"
        );
        assert_eq!(told(&HandlerConfig::default(), None), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(told(&handler(), Some(folder.path())), None);
    }

    #[test]
    fn a_service_needs_a_state_directory_or_the_variable() {
        let state = |directories: &str, environment: &str| ServiceState {
            directories: directories.into(),
            environment: environment.into(),
        };
        let without = |state| without_folder("a.service", Some(&state));
        let warning = without(state("", "A=1 XSTATE_DIRECTORY=/x")).expect("a warning");
        assert!(warning.contains("a.service has no folder"), "{warning}");
        assert_eq!(without(state("wasm-sock/state", "")), None);
        assert_eq!(without(state("", "A=1 STATE_DIRECTORY=/srv/it")), None);
        assert_eq!(without_folder("a.service", None), None);
    }

    #[test]
    fn a_folder_that_the_user_of_the_service_cannot_write_is_told() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("a");
        let user = geteuid().as_raw();
        assert_eq!(not_writable(state.path(), "a", user), None, "it will be made");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("keyvalue.sqlite"), "x").unwrap();
        assert_eq!(not_writable(state.path(), "a", user), None);
        let why = not_writable(state.path(), "a", user + 1).expect("another user's");
        assert!(why.contains("keyvalue.sqlite does not belong to the user"), "{why}");
        assert!(why.contains("chown -R --reference="), "{why}");
        fs::set_permissions(folder.join("keyvalue.sqlite"), fs::Permissions::from_mode(0o400)).unwrap();
        let why = not_writable(state.path(), "a", user).expect("read-only");
        assert!(why.contains("keyvalue.sqlite cannot be written"), "{why}");
    }
}
