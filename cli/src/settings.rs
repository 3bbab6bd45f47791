//! Settings of a handler on the command line: `--env`, `--dir`, `--secret` and `--set` of `install` and `run`.

use std::path::PathBuf;
use std::str::FromStr;
use toml_edit::{Key, Value};

/// `--env NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

/// `--dir HOST:GUEST[:ro|rw]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// An absolute path.
    pub host: String,
    pub guest: String,
    /// As in the setting `access`; `None`: not given.
    pub access: Option<&'static str>,
}

/// `--secret NAME=FILE`. A secret on the command line itself would be seen by all users (ps(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    /// An absolute path.
    pub file: PathBuf,
}

/// `--set KEY=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// More than one for a key in a table: `socket.mode`.
    pub keys: Vec<String>,
    /// The value in TOML.
    pub value: String,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("it has no \"=\" (as in GREETING=hello)")?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (paths, access) = match text.rsplit_once(':') {
            Some((paths, "ro")) => (paths, Some("read-only")),
            Some((paths, "rw")) => (paths, Some("read-write")),
            _ => (text, None),
        };
        let (host, guest) = paths
            .rsplit_once(':')
            .filter(|(host, guest)| !host.is_empty() && !guest.is_empty())
            .ok_or("it needs two paths: of this machine, and the guest's name for it (as in /srv/hello:/data)")?;
        let host = std::path::absolute(host).map_err(|error| error.to_string())?;
        let host = host.to_str().ok_or("it is not UTF-8")?.to_owned();
        let guest = guest.to_owned();
        Ok(Self { host, guest, access })
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text
            .split_once('=')
            .ok_or("it has no \"=\" (as in token=./token: the file that has it)")?;
        let file = std::path::absolute(file).map_err(|error| format!("{file}: {error}"))?;
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(format!("{}: it is no file", file.display())),
            Err(error) => return Err(format!("{}: {error} (write the secret into a file)", file.display())),
        }
        let name = name.to_owned();
        Ok(Self { name, file })
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (keys, value) = text.split_once('=').ok_or("it has no \"=\" (as in memory=128MiB)")?;
        let keys = Key::parse(keys.trim()).map_err(|_| format!("{keys:?} is no key (as in socket.mode=0600)"))?;
        let value = value.trim();
        // What is no value of TOML is text: `memory=128MiB` without quotes within quotes.
        let value = Value::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self {
            keys: keys.iter().map(|key| key.get().to_owned()).collect(),
            value: value.to_string(),
        })
    }
}
