//! Finds and reads the files of a configuration.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::quoted;
use super::schema::{self, Role};
use super::source::SourceFile;
use super::{Clash, Config, ConfigError, ConfigErrors, DROP_INS, Environment, locate};

/// What was read, with handlers that have mistakes.
struct Read {
    config: Config,
    errors: Vec<ConfigError>,
    /// Whether one of the errors leaves no handler that could be served.
    concerns_all: bool,
}

impl Read {
    /// Without the handlers that have mistakes.
    fn into_usable(mut self) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
        if self.concerns_all {
            return Err(ConfigErrors(self.errors));
        }
        let Config { handlers, broken, .. } = &mut self.config;
        handlers.retain(|name, _| !broken.contains_key(name));
        Ok((self.config, self.errors))
    }
}

impl Config {
    /// Finds, reads and checks the whole configuration.
    ///
    /// With `explicit` (`--config FILE`) that file must exist; otherwise `wasm-sock.toml` in the
    /// configuration directory (see [`Environment`]) is read if it exists. Then, either way, the
    /// `handlers.d/*.toml` beside it follow in the order of their names. Hidden files are skipped.
    ///
    /// # Errors
    /// All errors, in the order the files are read and by position within each.
    pub fn load(explicit: Option<&Path>, environment: &Environment<'_>) -> Result<Config, ConfigErrors> {
        let (config, mut errors) = Config::read(explicit, environment, locate::drop_ins).into_usable()?;
        errors.extend(config.clashes().iter().map(|clash| config.clash_error(clash)));
        match errors.is_empty() {
            true => Ok(config),
            false => Err(ConfigErrors(errors)),
        }
    }

    /// As [`Config::load`], for the handlers of these names: only their files in `handlers.d` are read. An error that
    /// concerns one handler disables only that one: it is [`broken`](Config::broken). Also returns these errors.
    ///
    /// # Errors
    /// All errors, when one of them concerns all handlers: it is outside of the `[handler.NAME]` tables of
    /// `wasm-sock.toml`.
    pub fn load_for(
        names: &BTreeSet<&str>,
        explicit: Option<&Path>,
        environment: &Environment<'_>,
    ) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
        Config::read(explicit, environment, |folder| Ok(locate::drop_ins_of(names, folder))).into_usable()
    }

    /// As [`Config::load_for`], when nothing can be done without these handlers.
    ///
    /// # Errors
    /// All errors but those that concern another handler.
    pub fn load_only(
        names: &BTreeSet<&str>,
        explicit: Option<&Path>,
        environment: &Environment<'_>,
    ) -> Result<Config, ConfigErrors> {
        let (config, mut errors) = Config::load_for(names, explicit, environment)?;
        errors.retain(|error| error.handler.as_deref().is_none_or(|name| names.contains(name)));
        match errors.is_empty() {
            true => Ok(config),
            false => Err(ConfigErrors(errors)),
        }
    }

    /// As [`Config::load`], for units: `handlers` has all handlers whose units are known, also those that are not
    /// served because of a mistake elsewhere, so that clients are told. Also returns all errors but clashes.
    pub fn load_for_units(explicit: Option<&Path>, environment: &Environment<'_>) -> (Config, Vec<ConfigError>) {
        let Read { mut config, errors, .. } = Config::read(explicit, environment, locate::drop_ins);
        config.handlers.retain(|_, handler| !handler.has_unit_mistake);
        (config, errors)
    }

    fn clash_error(&self, clash: &Clash<'_>) -> ConfigError {
        let location = |name: &str| self.handlers[name].location.clone();
        let at = location(clash.winner).map_or(String::new(), |location| format!(" ({location})"));
        let message = format!(
            "listen: {} is taken by handler {}{at} with {} (remove one)",
            quoted(&clash.listen.to_string()),
            quoted(clash.winner),
            quoted(&clash.winners.to_string())
        );
        let own = location(clash.handler);
        let mut error = ConfigError::whole_file(own.as_ref().map_or(Path::new(""), |own| &own.file), message);
        error.position = own.map(|own| own.position);
        error.handler = Some(clash.handler.to_owned());
        error
    }

    fn read(
        explicit: Option<&Path>,
        environment: &Environment<'_>,
        drop_ins: impl FnOnce(&Path) -> Result<Vec<PathBuf>, ConfigError>,
    ) -> Read {
        let mut config = Config::built_in(environment.modules_directory());
        let mut errors = Vec::new();
        let mut concerns_all = false;
        if let Some(main_file) = explicit.map(Path::to_owned).or_else(|| environment.main_file()) {
            match SourceFile::read(&main_file) {
                Ok(Some(source)) => errors.extend(config.apply(source, Role::Main)),
                Ok(None) if explicit.is_none() => {}
                Ok(None) => errors.push(ConfigError::missing(&main_file, "see --config")),
                Err(error) => errors.push(error),
            }
            let files = drop_ins(&main_file.with_file_name(DROP_INS)).unwrap_or_else(|error| {
                errors.push(error);
                Vec::new()
            });
            concerns_all = errors.iter().any(|error| error.handler.is_none());
            errors.extend(files.into_iter().flat_map(|file| config.apply_drop_in(&file)));
        }
        Read {
            config,
            errors,
            concerns_all,
        }
    }

    fn apply(&mut self, source: SourceFile, role: Role<'_>) -> Vec<ConfigError> {
        let errors = schema::check(&source, role, self);
        for name in errors.iter().filter_map(|error| error.handler.as_ref()) {
            self.broken(name, &source.path);
        }
        self.files.push(source.path);
        errors
    }

    /// Reads `handlers.d/NAME.toml`. Every error in it concerns handler `NAME`, which is then not served: without the
    /// file it would run with the defaults, which may grant it more.
    fn apply_drop_in(&mut self, file: &Path) -> Vec<ConfigError> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let mut errors = match SourceFile::read(file) {
            Ok(Some(source)) => self.apply(source, Role::DropIn(&name)),
            // It was listed a moment ago: it was removed since, or is a dangling symbolic link.
            Ok(None) if file.symlink_metadata().is_err() => Vec::new(),
            Ok(None) => vec![ConfigError::missing(file, "a dangling link? remove it")],
            Err(error) => vec![error],
        };
        for error in &mut errors {
            error.handler.get_or_insert_with(|| name.to_string());
            self.broken(&name, file);
        }
        errors
    }

    fn broken(&mut self, name: &str, file: &Path) {
        self.broken.entry(name.to_owned()).or_insert_with(|| file.to_owned());
    }
}
