//! The secrets of handlers: whether systemd will find their credentials, and who else can read them.

use rustix::process::geteuid;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_sock_config::{Config, Environment, HandlerConfig, credential_name};
use wasm_sock_units::{CREDENTIAL_STORES, ENCRYPTED_CREDENTIAL_STORES, service_name};

/// What is known of a credential.
enum Credential {
    /// It is in this file.
    At(PathBuf),
    /// Nowhere.
    Missing,
    /// This user may not look into a store.
    Unknown,
}

/// Secrets that are missing, and those that all users can read.
pub fn warnings(config: &Config, environment: &Environment<'_>) -> Vec<String> {
    let handlers = config.handlers.iter();
    handlers
        .flat_map(|(name, handler)| of_handler(name, handler, environment))
        .collect()
}

/// The warnings about one handler.
pub fn of_handler(name: &str, handler: &HandlerConfig, environment: &Environment<'_>) -> Vec<String> {
    let Some(first) = environment.credential_store() else {
        return Vec::new();
    };
    let stores = stores(&first, environment.user_manager);
    let mut units = None;
    let mut warnings = Vec::new();
    for secret in &handler.secrets {
        let credential = credential_name(name, secret);
        let path = match find(&credential, &stores) {
            Credential::Unknown => continue,
            Credential::At(path) => path,
            Credential::Missing => {
                let units = units.get_or_insert_with(|| units_of(name, handler));
                if !is_set_in(units, &credential) {
                    let file = first.join(&credential);
                    warnings.push(format!(
                        "{name}: secret {secret:?}: there is no credential {credential} (put it into {}, mode 0600; \
                         encrypted: systemd-creds encrypt FILE {}.encrypted/{credential}, and `systemctl \
                         daemon-reload`)",
                        file.display(),
                        first.display(),
                    ));
                }
                continue;
            }
        };
        if is_public(&path) {
            warnings.push(format!(
                "{name}: secret {secret:?}: all users can read {0} (chmod 0600 {0})",
                path.display()
            ));
        }
    }
    warnings
}

/// Where systemd, or the generator, looks.
fn stores(first: &Path, is_user: bool) -> Vec<PathBuf> {
    let encrypted = first.with_extension("encrypted");
    let systems = CREDENTIAL_STORES.iter().chain(&ENCRYPTED_CREDENTIAL_STORES);
    let systems = systems.map(PathBuf::from).filter(|_| !is_user);
    [first.to_owned(), encrypted].into_iter().chain(systems).collect()
}

fn find(credential: &str, stores: &[PathBuf]) -> Credential {
    let mut found = Credential::Missing;
    for store in stores {
        let path = store.join(credential);
        match fs::metadata(&path) {
            Ok(_) => return Credential::At(path),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found = Credential::Unknown,
            Err(_) => {}
        }
    }
    found
}

/// Can every user open the file? An encrypted one tells nothing.
fn is_public(path: &Path) -> bool {
    const OTHERS: u32 = 0o007;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.mode() & OTHERS);
    let is_encrypted = folder.extension().is_some_and(|extension| extension == "encrypted");
    !is_encrypted && mode(path) & 0o4 != 0 && mode(folder) & 0o1 != 0
}

/// The text of the handler's service and its drop-ins; empty if no service manager answers.
fn units_of(name: &str, handler: &HandlerConfig) -> String {
    let mut systemctl = Command::new("systemctl");
    if !geteuid().is_root() {
        systemctl.arg("--user");
    }
    let output = systemctl
        .args(["cat", "--", &service_name(name, handler.process)])
        .output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

/// Does a unit name the credential with its content (`SetCredential=`) or its file? What the generator makes names
/// neither. (A unit writes `%` as `%%`.)
fn is_set_in(units: &str, credential: &str) -> bool {
    const SETTINGS: [&str; 4] = [
        "SetCredential",
        "SetCredentialEncrypted",
        "LoadCredential",
        "LoadCredentialEncrypted",
    ];
    units.lines().any(|line| {
        line.split_once('=').is_some_and(|(setting, value)| {
            let named = value.trim_start().split_once(':');
            SETTINGS.contains(&setting.trim_end())
                && named.is_some_and(|(name, _)| name.replace("%%", "%") == credential)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_unit_may_have_the_credential_itself() {
        for line in [
            "SetCredential=a.b:x",
            "LoadCredentialEncrypted=a.b:/etc/a",
            "SetCredentialEncrypted=a.b: \\",
        ] {
            assert!(is_set_in(&format!("[Service]\n{line}\n"), "a.b"), "{line}");
        }
        assert!(is_set_in("[Service]\nSetCredential=a%%20b.c:x\n", "a%20b.c"));
        for line in [
            "LoadCredential=a.b",
            "SetCredential=a.bc:x",
            "# SetCredential=a.b:x",
            "Environment=a.b:x",
        ] {
            assert!(!is_set_in(&format!("[Service]\n{line}\n"), "a.b"), "{line}");
        }
    }

    #[test]
    fn a_credential_that_is_missing_or_public_is_told() {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().join(".config/credstore");
        fs::create_dir_all(&store).unwrap();
        let folder = home.path().to_owned();
        let variable = |name: &str| (name == "HOME").then(|| folder.clone().into_os_string());
        let environment = Environment {
            user_manager: true,
            variable: &variable,
        };
        let handler = HandlerConfig {
            secrets: vec!["token".into()],
            ..HandlerConfig::default()
        };
        let warnings = || of_handler("no-such-handler", &handler, &environment).join("\n");
        assert!(warnings().contains("there is no credential no-such-handler.token (put it into "));
        let file = store.join("no-such-handler.token");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(warnings().contains("all users can read "), "{}", warnings());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(warnings(), "");
    }
}
