//! The keys `config` and `secrets` of a handler.

use std::sync::Arc;

use toml::de::DeValue;

use super::{Checker, HandlerConfig, Key, Keys, Value, value};
use crate::error::quoted;
use crate::settings::{self, keys};
use crate::values::{ConfigValue, MAX_CREDENTIAL, credential_name, valid_secret_name};

/// The table in place of a string in `config`.
pub(super) const CONFIG_VALUE: Keys = &keys::<{ settings::CONFIG_FILE.len() }>(settings::CONFIG_FILE);

impl Checker<'_> {
    /// Reads `key` if it is one of these; returns whether it is.
    pub(super) fn values(&mut self, key: &Key<'_>, value: &Value<'_>, handler: &mut HandlerConfig) -> bool {
        match key.get_ref().as_ref() {
            "config" => handler.config = self.config(key, value),
            "secrets" => handler.secrets = self.secrets(key, value),
            _ => return false,
        }
        true
    }

    /// Reports a key that is a value of `config` and a secret: a guest asks for both in the same way.
    pub(super) fn ambiguous(&mut self, table: &Value<'_>, handler: &HandlerConfig) {
        let Some((key, value)) = table
            .get_ref()
            .as_table()
            .and_then(|table| table.get_key_value("secrets"))
        else {
            return;
        };
        let taken = |secret: &&String| handler.config.iter().any(|(name, _)| name == *secret);
        if let Some(secret) = handler.secrets.iter().find(taken) {
            let message = format!("{} is a key of \"config\", too (remove one)", quoted(secret));
            self.wrong(key, value, &message);
        }
    }

    fn config(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<(String, ConfigValue)> {
        let mut values = Vec::new();
        for (key, value) in self.table(key, value) {
            let read = match value.get_ref() {
                DeValue::Table(_) => self.config_file(key, value),
                _ => {
                    let mut text = None;
                    self.set(&mut text, key, value, |value| {
                        Ok(Some(ConfigValue::Text(Arc::from(value::string(value)?))))
                    });
                    text
                }
            };
            values.extend(read.map(|read| (key.get_ref().to_string(), read)));
        }
        values
    }

    /// `{ file = "/etc/motd" }`
    fn config_file(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<ConfigValue> {
        let mut file = None;
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "file" => self.set(&mut file, key, value, |value| value::absolute_path(value).map(Some)),
                _ => self.unknown(key, CONFIG_VALUE),
            }
        }
        if value.get_ref().as_table().is_some_and(|table| table.is_empty()) {
            self.wrong(key, value, "\"file\" is missing (as in { file = \"/etc/motd\" })");
        }
        file.map(ConfigValue::File)
    }

    fn secrets(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<String> {
        let handler = self.handler.clone().unwrap_or_default();
        let mut secrets: Vec<String> = Vec::new();
        for element in self.array(key, value) {
            let name = match value::string(element.get_ref()) {
                Ok(name) => name,
                Err(message) => {
                    self.wrong(key, element, &message);
                    continue;
                }
            };
            let room = MAX_CREDENTIAL.saturating_sub(credential_name(&handler, "").len());
            let mistake = match name {
                _ if !valid_secret_name(&name) => {
                    Some("cannot name a secret (allowed: 1 to 64 letters, digits, \"-\" and \"_\"; first a letter or a digit)".to_owned())
                }
                _ if name.len() > room => {
                    Some(format!("is too long beside the handler's name (allowed: {room} characters)"))
                }
                _ if secrets.contains(&name) => Some("is named twice (remove one)".to_owned()),
                _ => None,
            };
            match mistake {
                Some(mistake) => self.wrong(key, element, &format!("{} {mistake}", quoted(&name))),
                None => secrets.push(name),
            }
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::errors;
    use super::super::tests::{fresh, source};
    use super::super::{Role, check};
    use super::*;

    #[test]
    fn values_are_strings_or_files_and_secrets_are_names() {
        let mut config = fresh();
        let text = "[handler.a]\nsecrets = ['token', 'API_KEY']\n\
                    config = { greeting = 'hi', 'a.b' = '', motd = { file = '/etc/motd' } }";
        assert_eq!(check(&source(text), Role::Main, &mut config), []);
        let handler = &config.handlers["a"];
        assert_eq!(handler.secrets, ["token", "API_KEY"]);
        let text = |text: &str| ConfigValue::Text(text.into());
        let expected = [
            ("a.b".to_owned(), text("")),
            ("greeting".to_owned(), text("hi")),
            ("motd".to_owned(), ConfigValue::File("/etc/motd".into())),
        ];
        assert_eq!(handler.config, expected);
    }

    #[test]
    fn what_is_no_value_and_no_name_is_told_with_what_is_allowed() {
        let wrong = |lines: &str| errors(&format!("[handler.a]\n{lines}"));
        assert_eq!(
            wrong("config = { port = 80, motd = { file = 'motd' }, x = {}, y = { path = '/y' } }"),
            [
                "2:19: port: expected a string, found an integer (write it in quotes)",
                "2:39: file: \"motd\" must be an absolute path, starting with /",
                "2:53: x: \"file\" is missing (as in { file = \"/etc/motd\" })",
                "2:63: unknown key \"path\" (allowed: file)",
            ]
        );
        assert_eq!(
            wrong("secrets = ['a.b', 'a', 'a', 1]"),
            [
                "2:12: secrets: \"a.b\" cannot name a secret (allowed: 1 to 64 letters, digits, \"-\" and \"_\"; \
                 first a letter or a digit)",
                "2:24: secrets: \"a\" is named twice (remove one)",
                "2:29: secrets: expected a string, found an integer (write it in quotes)",
            ]
        );
        assert_eq!(
            wrong("secrets = 'token'"),
            ["2:11: secrets: expected an array, found a string (put it in brackets: [...])"]
        );
        assert_eq!(
            wrong("secrets = ['token']\nconfig = { token = 'x' }"),
            ["2:11: secrets: \"token\" is a key of \"config\", too (remove one)"]
        );
        let long = "h".repeat(250);
        assert_eq!(
            errors(&format!("[handler.{long}]\nsecrets = ['abcd', 'abcde']")),
            ["2:20: secrets: \"abcde\" is too long beside the handler's name (allowed: 4 characters)"]
        );
    }
}
