//! The handler's file `handlers.d/NAME.toml` in its folder: read by the configuration's parser before it is there, with
//! the rights that it should have; and other files of the name.

use super::checks::{folders, units as known};
use super::module::Module;
use super::plan::Request;
use crate::installation::durable;
use crate::installation::scope::{Places, Scope};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, Environment, HandlerConfig, Location};

/// `handlers.d/NAME.toml`
pub fn path(places: &Places, name: &str) -> PathBuf {
    places.configuration.join("handlers.d").join(format!("{name}.toml"))
}

/// Reads the new settings as the host will, from a copy beside the main file. Also returns all mistakes in them; then
/// the settings are those that can be read.
/// # Errors
/// Those of the file system.
pub fn read(request: &Request<'_>, text: &str, file: &Path) -> Result<(HandlerConfig, Vec<String>), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", request.folder.display());
    let (folder, name) = (request.folder.join("check"), request.name);
    let (main, copy) = (
        folder.join("wasm-sock.toml"),
        folder.join("handlers.d").join(format!("{name}.toml")),
    );
    durable::make_folder(&folder.join("handlers.d"), 0o700).map_err(failed)?;
    fs::write(&copy, text).map_err(failed)?;
    let real_main = request.scope.places.configuration.join("wasm-sock.toml");
    match real_main.exists() {
        true => symlink(&real_main, &main).map_err(failed)?,
        false => fs::write(&main, "").map_err(failed)?,
    }
    let load = |environment: &Environment<'_>| Config::load_for_units(Some(&main), environment);
    let (config, mistakes) = request.scope.with_environment(load);
    let concerns = |handler: &Option<String>| handler.as_deref().is_none_or(|handler| handler == name);
    let mistakes = mistakes.into_iter().filter(|mistake| concerns(&mistake.handler));
    let mistakes = mistakes.map(|mistake| {
        let excerpt = mistake
            .excerpt
            .as_ref()
            .map_or(String::new(), |excerpt| format!("\n{excerpt}"));
        let message = format!("{mistake}{excerpt}");
        let message = message.replace(&copy.display().to_string(), &file.display().to_string());
        message.replace(&main.display().to_string(), &real_main.display().to_string())
    });
    let mistakes = mistakes.collect();
    let mut handler = config.handler(name).into_owned();
    if let Some(Location { file: read, .. }) = &mut handler.location {
        *read = file.to_owned();
    }
    Ok((handler, mistakes))
}

/// Files of this name that `install` did not write.
pub fn strange(request: &Request<'_>, modules: &Path, module: Option<&Module>) -> Vec<String> {
    if request.arguments.yes || request.former.is_some() {
        return Vec::new();
    }
    let name = request.name;
    let file = path(&request.scope.places, name);
    let mut strange = Vec::new();
    if fs::symlink_metadata(&file).is_ok() {
        strange.push(format!(
            "{}: `install` did not write it (--yes changes it and keeps what is in it; or choose another --name)",
            file.display()
        ));
    }
    let is_replaced = module.is_none_or(|module| !module.files.is_empty());
    for form in ["wasm", "cwasm"] {
        let module = modules.join(format!("{name}.{form}"));
        if is_replaced && fs::symlink_metadata(&module).is_ok() {
            strange.push(format!(
                "{}: `install` did not write it (--yes replaces it; or choose another --name)",
                module.display()
            ));
        }
    }
    strange
}

/// Writes the new settings with the rights of the `former` file. New settings can be read by all; with variables, which
/// may be secrets, by the service's user: also when an update adds the first of them.
///
/// # Errors
/// Those of the file system.
pub fn stage(
    staged: &Path,
    file: &Path,
    text: &str,
    config: &HandlerConfig,
    former: Option<&HandlerConfig>,
    scope: &Scope,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", staged.display());
    let rights = fs::metadata(file).ok();
    let gets_secrets = !config.env.is_empty() && former.is_none_or(|former| former.env.is_empty());
    let mode = match (&rights, gets_secrets, scope.systemd.user) {
        (Some(former), false, _) => former.mode() & 0o7777,
        (None, false, _) => 0o644,
        (_, true, true) => 0o600,
        (_, true, false) => 0o640,
    };
    durable::write_new(staged, text.as_bytes(), mode).map_err(failed)?;
    if let Some(former) = &rights {
        chown(staged, Some(former.uid()), Some(former.gid())).map_err(failed)?;
    }
    if gets_secrets && !scope.systemd.user && rustix::process::geteuid().is_root() {
        let user = known::user_of(&scope.systemd, "wasm-sock.service")?.unwrap_or_default();
        let user = folders::User::find(&user.user, &user.group, "", &scope.systemd.interrupts)?;
        chown(staged, None, Some(user.group())).map_err(failed)?;
    }
    Ok(())
}
