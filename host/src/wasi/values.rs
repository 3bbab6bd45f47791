//! The values of `config` and the secrets of a handler.
//!
//! A file is read when a guest asks for its value, and kept for later guests: a handler that was granted a secret and
//! does not use it reads none. Files can be read because the sandbox allows each by its path
//! ([`add_needs`]).

use crate::config::{ConfigValue, HandlerConfig, credential_name};
use crate::journal::RateLimited;
use crate::sandbox::{self, Needs, OUTDATED_REASON};
use crate::sync::lock;
use std::borrow::Cow;
use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// The largest value in bytes: as much as all credentials of a service may have together (systemd.exec(5)).
const MOST: usize = 1 << 20;

/// Files of `/proc` and `/sys` have no size before they are read.
const AT_LEAST: usize = 4096;

/// The values of one handler that were read from files.
#[derive(Default)]
pub struct Values {
    read: Mutex<Vec<(String, Arc<str>)>>,
    /// Warns of values that cannot be read.
    pub warnings: RateLimited,
}

/// Why there is no value. The text is for the log: it names files, of which a guest must not learn.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("config: {key}: cannot read {}: {why}", path.display())]
    File { key: String, path: PathBuf, why: String },
    #[error(
        "secret {secret:?}: the service has no credential {name} (put it into /etc/credstore/{name}, or set \
         LoadCredential={name}:FILE in a drop-in, and restart the service; without systemd, $CREDENTIALS_DIRECTORY is \
         its folder)"
    )]
    Missing { secret: String, name: String },
    #[error("secret {secret:?}: cannot read the credential {name}: {why}")]
    Secret { secret: String, name: String, why: String },
}

impl Values {
    /// The value of a key; `None`: there is no such key.
    ///
    /// # Errors
    /// When the key was granted and its value cannot be read.
    pub fn get(&self, handler: &str, config: &HandlerConfig, key: &str) -> Result<Option<Arc<str>>, Unreadable> {
        if let Some((_, value)) = config.config.iter().find(|(name, _)| name == key) {
            return self.value(key, value).map(Some);
        }
        match config.secrets.iter().any(|secret| secret == key) {
            true => self.secret(handler, key).map(Some),
            false => Ok(None),
        }
    }

    /// All values of `config`. Not the secrets: a guest has to ask for each of them by its name, and so does not print
    /// them together with the rest.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn all(&self, config: &HandlerConfig) -> Result<Vec<(String, Arc<str>)>, Unreadable> {
        let values = config.config.iter();
        values
            .map(|(key, value)| Ok((key.clone(), self.value(key, value)?)))
            .collect()
    }

    /// `text` without those of the secrets of `config` that guests have asked for.
    pub fn hide<'a>(&self, config: &HandlerConfig, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        if config.secrets.is_empty() {
            return shown;
        }
        for (key, value) in lock(&self.read).iter() {
            if config.secrets.contains(key) && !value.is_empty() && shown.contains(&**value) {
                shown = shown.replace(&**value, "[secret]").into();
            }
        }
        shown
    }

    fn value(&self, key: &str, value: &ConfigValue) -> Result<Arc<str>, Unreadable> {
        match value {
            ConfigValue::Text(text) => Ok(text.clone()),
            ConfigValue::File(path) => self.once(key, path).map_err(|error| Unreadable::File {
                key: key.to_owned(),
                path: path.clone(),
                why: reason(path, &error),
            }),
        }
    }

    fn secret(&self, handler: &str, secret: &str) -> Result<Arc<str>, Unreadable> {
        let (secret, name) = (secret.to_owned(), credential_name(handler, secret));
        let Some(path) = credentials().map(|folder| folder.join(&name)) else {
            return Err(Unreadable::Missing { secret, name });
        };
        self.once(&secret, &path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unreadable::Missing {
                secret: secret.clone(),
                name,
            },
            _ => Unreadable::Secret {
                secret: secret.clone(),
                name,
                why: reason(&path, &error),
            },
        })
    }

    /// The text in a file, which is read once. What cannot be read is tried again.
    fn once(&self, key: &str, path: &Path) -> io::Result<Arc<str>> {
        let mut read = lock(&self.read);
        if let Some((_, value)) = read.iter().find(|(name, _)| name == key) {
            return Ok(value.clone());
        }
        let value = text(path)?;
        read.push((key.to_owned(), value.clone()));
        Ok(value)
    }
}

/// What was read may be a secret, and is not left behind in freed memory.
impl Drop for Values {
    fn drop(&mut self) {
        for (_, value) in lock(&self.read).iter_mut() {
            // Each guest that may still have it keeps these values, too.
            if let Some(value) = Arc::get_mut(value) {
                value.zeroize();
            }
        }
    }
}

/// Adds the files that a handler's guests may ask for.
pub fn add_needs(name: &str, handler: &HandlerConfig, needs: &mut Needs) {
    for (_, value) in &handler.config {
        if let ConfigValue::File(path) = value {
            needs.add_file(path);
        }
    }
    for secret in &handler.secrets {
        // Without credentials, the name says so to `--print-sandbox`, and to a reload, which hands over to a host that
        // may have them.
        let folder = credentials().unwrap_or_else(|| Path::new("$CREDENTIALS_DIRECTORY").to_owned());
        needs.add_file(&folder.join(credential_name(name, secret)));
    }
}

/// The folder of the service's credentials (`$CREDENTIALS_DIRECTORY`, systemd.exec(5)).
fn credentials() -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?);
    folder.is_absolute().then_some(folder)
}

fn reason(path: &Path, error: &io::Error) -> String {
    match sandbox::refuses(path, error) {
        true => OUTDATED_REASON.to_owned(),
        false => error.to_string(),
    }
}

/// The text in a file, without the newline at its end, which editors and `echo` leave there.
fn text(path: &Path) -> io::Result<Arc<str>> {
    let bytes = bytes(path)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes);
    text.map(Arc::from).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// The content of a regular file, read into one buffer that is never moved.
fn bytes(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a FIFO would wait for a process that writes to it.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > MOST {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    let mut bytes = Zeroizing::new(vec![0; size.saturating_add(1).max(AT_LEAST)]);
    let mut length = 0;
    loop {
        let room = &mut bytes[length..];
        if room.is_empty() {
            return Err(io::Error::other("it has changed while it was read"));
        }
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
