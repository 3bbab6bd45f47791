//! The credentials of services: `LoadCredential=` of systemd.exec(5) for the `secrets` of a handler.
//!
//! Each service that may run a handler gets its credentials: systemd reads the files as root and passes copies that
//! only the service's user can read. Without a path, systemd searches its credential stores, and starts a service
//! without a credential that it does not find: the guest that asks for it then gets an error, and all others work.
//!
//! A user's manager would search stores of the system, too, and start nothing if it may not look into one of them
//! (`/etc/credstore` and `/etc/credstore.encrypted` are root's alone). So a user's services get what is there by its path,
//! and no line for what is not.

use std::path::Path;

use wasm_sock_config::{HandlerConfig, Process, credential_name};

use crate::{Installation, Unit, escape, exec_name, service_name, value};

/// Where systemd searches for credentials. Those that systemd itself was booted with are in the last.
pub const CREDENTIAL_STORES: [&str; 5] = [
    "/etc/credstore",
    "/run/credstore",
    "/usr/local/lib/credstore",
    "/usr/lib/credstore",
    "/run/credentials/@system",
];

/// The same for encrypted ones.
pub const ENCRYPTED_CREDENTIAL_STORES: [&str; 5] = [
    "/etc/credstore.encrypted",
    "/run/credstore.encrypted",
    "/usr/local/lib/credstore.encrypted",
    "/usr/lib/credstore.encrypted",
    "/run/credentials/@encrypted",
];

/// Drop-ins of the shipped services. None for `process = "connection"`, whose services are generated, but for that of
/// scheduled runs.
pub(crate) fn units(handler: &str, config: &HandlerConfig, installation: Installation<'_>) -> Vec<Unit> {
    if config.secrets.is_empty() {
        return Vec::new();
    }
    let lines = lines(handler, config, installation);
    if lines.is_empty() {
        return Vec::new();
    }
    let text = format!("# Made by wasm-sock-generator: `secrets` of the handler.\n\n[Service]\n{lines}");
    let drop_in = |service: &str, name: &str| Unit {
        name: format!("{service}.d/{name}.conf"),
        text: text.clone(),
        wanted_by: None,
    };
    let service = service_name(handler, config.process);
    let mut units = vec![drop_in(&exec_name(handler), "secrets")];
    match config.process {
        Process::Own => units.push(drop_in(&service, "secrets")),
        // Other handlers have theirs.
        Process::Shared => units.push(drop_in(&service, &format!("secrets-{}", escape(handler)))),
        Process::Connection => {}
    }
    units
}

/// The settings of `[Service]` for all secrets of a handler.
pub(crate) fn lines(handler: &str, config: &HandlerConfig, installation: Installation<'_>) -> String {
    let names = config.secrets.iter().map(|secret| credential_name(handler, secret));
    let lines = names.filter_map(|name| match installation.is_user {
        true => line_of_user(&name, installation.config_home?),
        false => Some(line(&name)),
    });
    lines.collect()
}

fn line(name: &str) -> String {
    let setting = if is_encrypted(name) {
        "LoadCredentialEncrypted"
    } else {
        "LoadCredential"
    };
    format!("{setting}={}\n", value(name))
}

fn is_encrypted(name: &str) -> bool {
    let mut stores = ENCRYPTED_CREDENTIAL_STORES.iter();
    stores.any(|store| Path::new(store).join(name).exists())
}

/// For a file in the user's own stores.
fn line_of_user(name: &str, config_home: &Path) -> Option<String> {
    let stores = [
        ("LoadCredentialEncrypted", "credstore.encrypted"),
        ("LoadCredential", "credstore"),
    ];
    let files = stores.map(|(setting, store)| (setting, config_home.join(store).join(name)));
    let (setting, file) = files.into_iter().find(|(_, file)| file.exists())?;
    Some(format!("{setting}={}:{}\n", value(name), value(file.to_str()?)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wasm_sock_config::{Listen, Schedule};

    use super::*;
    use crate::units_of;

    fn config(process: Process) -> HandlerConfig {
        HandlerConfig {
            process,
            listen: vec![Listen::parse("7000").unwrap(), Listen::parse("7001").unwrap()],
            secrets: vec!["token".into(), "API_KEY".into()],
            ..HandlerConfig::default()
        }
    }

    fn system() -> Installation<'static> {
        Installation {
            prefix: Path::new("/usr"),
            is_user: false,
            config_home: None,
        }
    }

    /// The units that pass these secrets, and their lines about credentials.
    fn with_credentials(
        handler: &str,
        config: &HandlerConfig,
        installation: Installation<'_>,
    ) -> Vec<(String, String)> {
        let units = units_of(handler, config, installation).unwrap();
        let credentials = |unit: Unit| {
            let lines = unit.text.lines().filter(|line| line.contains("Credential"));
            (unit.name, lines.collect::<Vec<_>>().join("; "))
        };
        units
            .into_iter()
            .map(credentials)
            .filter(|(_, lines)| !lines.is_empty())
            .collect()
    }

    #[test]
    fn every_service_of_a_handler_gets_its_credentials() {
        let lines = "LoadCredential=a-b.token; LoadCredential=a-b.API_KEY";
        for (process, services) in [
            (Process::Own, &["wasm-sock@a\\x2db.service.d/secrets.conf"][..]),
            (Process::Shared, &["wasm-sock.service.d/secrets-a\\x2db.conf"]),
            (
                Process::Connection,
                &["wasm-sock-a\\x2db@.service", "wasm-sock-a\\x2db:7001@.service"],
            ),
        ] {
            let mut expected = vec!["wasm-sock-exec@a\\x2db.service.d/secrets.conf"];
            expected.extend(services);
            expected.sort_unstable();
            let mut found = with_credentials("a-b", &config(process), system());
            found.sort();
            assert!(found.iter().all(|(_, found)| found == lines), "{found:?}");
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, expected, "{process:?}");
        }
    }

    #[test]
    fn a_handler_whose_sockets_people_wrote_gets_them_and_one_that_is_disabled_does_not() {
        let mut config = HandlerConfig {
            listen: Vec::new(),
            schedule: Schedule::default(),
            ..config(Process::Own)
        };
        assert_eq!(with_credentials("a", &config, system()).len(), 2);
        config.enabled = false;
        assert!(with_credentials("a", &config, system()).is_empty());
    }

    #[test]
    fn what_systemd_would_expand_in_a_name_is_taken_literally() {
        let config = HandlerConfig {
            secrets: vec!["t".into()],
            ..config(Process::Own)
        };
        let found = with_credentials("100%\\n", &config, system());
        assert_eq!(found[0].1, "LoadCredential=100%%25%%5Cn.t");
    }

    #[test]
    fn the_files_of_a_user_are_named_by_their_paths() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().display();
        for (store, name) in [("credstore", "a.token"), ("credstore.encrypted", "a.API_KEY")] {
            fs::create_dir(home.path().join(store)).unwrap();
            fs::write(home.path().join(store).join(name), "x").unwrap();
        }
        let installation = Installation {
            is_user: true,
            config_home: Some(home.path()),
            ..system()
        };
        let found = with_credentials("a", &config(Process::Own), installation);
        let expected = format!(
            "LoadCredential=a.token:{path}/credstore/a.token; \
             LoadCredentialEncrypted=a.API_KEY:{path}/credstore.encrypted/a.API_KEY"
        );
        assert_eq!(found[0].1, expected);
        let nothing = tempfile::tempdir().unwrap();
        let installation = Installation {
            config_home: Some(nothing.path()),
            ..installation
        };
        // systemd would search stores of root's.
        assert!(with_credentials("a", &config(Process::Own), installation).is_empty());
    }
}
