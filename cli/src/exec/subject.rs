//! What is to be run: a configured handler, or a module file.

use super::Exec;
use crate::{CommandError, absolute, host_program, module_kind};
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, Environment, valid_handler_name};

/// What is to be run.
#[derive(Debug)]
pub struct Subject {
    /// The handler's name; for a file, that of the file.
    pub handler: String,
    /// `None`: a configured handler.
    file: Option<PathBuf>,
    config: Option<PathBuf>,
    is_user: bool,
}

/// The exit code when there is no module that could be run: `EX_CONFIG`, as the host has it.
const NO_MODULE: u8 = 78;

impl Subject {
    /// # Errors
    /// When there is no such file, or it is no name that a handler can have.
    pub fn find(exec: &Exec) -> Result<Self, CommandError> {
        let path = Path::new(&exec.name);
        let is_module = path
            .extension()
            .is_some_and(|extension| extension == "wasm" || extension == "cwasm");
        let file = match is_module || exec.name.contains('/') {
            true => Some(absolute(path.to_owned())?),
            false => None,
        };
        if let Some(file) = &file
            && !file.is_file()
        {
            return Err(CommandError::Failed(format!("{}: no such file", file.display())));
        }
        let handler = match &file {
            Some(file) => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            None => exec.name.clone(),
        };
        if !valid_handler_name(&handler) {
            return Err(CommandError::Failed(format!(
                "{handler:?}: not a name that a handler can have (`wasm-sock list` prints the names)"
            )));
        }
        Ok(Self {
            handler,
            file,
            config: exec.config.clone().map(absolute).transpose()?,
            is_user: exec.user,
        })
    }

    /// The arguments of the host that choose it.
    pub fn host_arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        match (&self.file, &self.config) {
            (Some(file), _) => vec!["--module".to_owned(), path(file)],
            (None, Some(config)) => {
                let config = path(config);
                vec![
                    "--config".to_owned(),
                    config,
                    "--handler".to_owned(),
                    self.handler.clone(),
                ]
            }
            (None, None) => vec!["--handler".to_owned(), self.handler.clone()],
        }
    }

    /// Variables of the host, so that it finds the same configuration, and the secrets where people keep them.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let users = self.searched();
        let folder = |path: PathBuf| path.parent().map(|folder| folder.as_os_str().to_owned());
        let config = users.main_file().filter(|_| self.is_user).and_then(folder);
        let state = Some(users.modules_directory())
            .filter(|_| self.is_user)
            .and_then(folder);
        // A service has its own credentials.
        let is_service = env::var_os("CREDENTIALS_DIRECTORY").is_some();
        let secrets = users.credential_store().filter(|_| !is_service);
        let variables = [
            ("CONFIGURATION_DIRECTORY", config),
            ("STATE_DIRECTORY", state),
            ("CREDENTIALS_DIRECTORY", secrets.map(PathBuf::into_os_string)),
        ];
        variables
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// Does it answer HTTP requests?
    ///
    /// # Errors
    /// When the configuration is invalid, or the module cannot be served.
    pub fn is_http(&self) -> Result<bool, CommandError> {
        if let Some(wasm) = self.source()
            && let Some(is_http) = module_kind::is_http(&wasm)
        {
            return Ok(is_http);
        }
        let (is_http, error) = match &self.file {
            Some(file) => {
                let module = host_program::describe_module(file)?;
                (module.is_http, module.error)
            }
            None => {
                let names = BTreeSet::from([self.handler.clone()]);
                let environment = self.environment();
                let handlers = host_program::describe_handlers_in(self.config.as_deref(), &names, environment)?;
                let handler = handlers.into_iter().next();
                handler.map_or((false, None), |handler| (handler.is_http, handler.error))
            }
        };
        match error {
            None => Ok(is_http),
            Some(error) => {
                eprintln!("wasm-sock: {}: {error}", self.handler);
                Err(CommandError::Reported(NO_MODULE))
            }
        }
    }

    /// The `.wasm`, which need not be compiled to tell what it is.
    fn source(&self) -> Option<PathBuf> {
        let module = match &self.file {
            Some(file) => file.clone(),
            None => {
                let names = BTreeSet::from([&*self.handler]);
                // What is wrong with it, the host says.
                let (config, _) = Config::load_for(&names, self.config.as_deref(), &self.searched()).ok()?;
                let module = config.handler(&self.handler).module.clone();
                module.unwrap_or_else(|| config.host.modules.join(format!("{}.wasm", self.handler)))
            }
        };
        Some(module.with_extension("wasm"))
    }

    fn searched(&self) -> Environment<'static> {
        match self.is_user {
            true => Environment {
                user_manager: true,
                variable: &|name| env::var_os(name).filter(|_| !name.ends_with("_DIRECTORY")),
            },
            false => Environment::current(geteuid().is_root()),
        }
    }
}
