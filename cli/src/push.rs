//! `wasm-sock push`: stores a module in an OCI registry.

use crate::project::{Profile, Project};
use crate::registry::{self, Reference};
use crate::{CommandError, print};
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments of `wasm-sock push`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = "\
Prints the address with the digest, which `wasm-sock install` takes. The same
module has the same digest each time ($SOURCE_DATE_EPOCH changes its date).
Passwords are those of `docker login` or `podman login`. A registry at 127.0.0.1
is spoken to by plain HTTP, all others by TLS, with the system's roots.

Examples:
  wasm-sock push hello.wasm oci://ghcr.io/me/hello:1.0
  wasm-sock push . oci://127.0.0.1:5000/hello")]
pub struct Push {
    /// The module (a .wasm), or a project
    #[arg(value_name = "FILE|FOLDER")]
    source: PathBuf,
    /// Where to: oci://HOST/NAME[:TAG]
    #[arg(value_name = "ADDRESS")]
    to: String,
}

/// Pushes a module.
///
/// # Errors
/// When it cannot be built or read, or the registry does not take it.
pub fn run(push: &Push) -> Result<(), CommandError> {
    let reference: Reference = push.to.parse().map_err(CommandError::Failed)?;
    if reference.digest.is_some() {
        let why = format!("{reference}: the digest follows from the module (leave it out)");
        return Err(CommandError::Failed(why));
    }
    let path = module(&push.source)?;
    let failed = |why: String| CommandError::Failed(format!("{}: {why}", path.display()));
    let wasm = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    if !wasm.starts_with(b"\0asm") {
        let why = "not a WebAssembly module (a .cwasm is for one machine: push the .wasm)";
        return Err(failed(why.to_owned()));
    }
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let created = created().map_err(CommandError::Failed)?;
    let digest = registry::push(&reference, &wasm, &title, created.as_deref()).map_err(CommandError::Failed)?;
    let pinned = reference.pinned(digest);
    eprintln!(
        "wasm-sock: pushed {} to {reference}; wasm-sock install takes:",
        path.display()
    );
    print(&format!("{pinned}\n"))
}

fn module(source: &Path) -> Result<PathBuf, CommandError> {
    match source.is_dir() {
        true => Project::find(source, None)?.build(Profile::Release),
        false => Ok(source.to_owned()),
    }
}

/// `$SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>), as RFC 3339.
fn created() -> Result<Option<String>, String> {
    let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    let time = seconds.parse().ok().and_then(date);
    time.map(Some)
        .ok_or_else(|| format!("$SOURCE_DATE_EPOCH: {seconds:?} is no number of seconds since 1970"))
}

/// A time in seconds since 1970, in UTC; `None` from the year 10000 on.
fn date(seconds: u64) -> Option<String> {
    let (days, second) = (i64::try_from(seconds / 86_400).ok()?, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years that begin in March, in eras of 400.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year < 10_000).then(|| {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(seconds).as_deref(), Some(expected));
        }
        assert_eq!(date(253_402_300_800), None);
        assert_eq!(date(u64::MAX), None);
    }
}
