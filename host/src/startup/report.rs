//! Log lines about the configuration.

use crate::config::{ConfigError, ConfigErrors};
use crate::journal::{self, Level};

/// Logs the mistakes in the configuration.
pub fn mistakes(mistakes: Vec<ConfigError>) {
    for line in ConfigErrors(mistakes).to_string().lines() {
        journal::log(Level::Error, line);
    }
}

/// Logs that the kernel lacks what `require-sandbox` requires.
pub fn required(missing: &str) {
    let message = format_args!("{missing}, and `require-sandbox` is set");
    journal::log(Level::Error, message);
}
