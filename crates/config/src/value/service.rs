//! The values of the settings that units are made of, and of those of the log.

use toml::de::DeValue;

use super::{Reading, string};
use crate::error::quoted;
use crate::{Listen, Logged, Process};

/// Each takes a unit and a descriptor.
pub(crate) const MAX_ADDRESSES: usize = 100;
/// Bytes of the name of a network interface, without the NUL (netdevice(7)).
const MAX_INTERFACE: usize = 15;
/// Linux takes 32; systemd-sysusers, as useradd(8), makes names of at most 31.
const MAX_USER: usize = 31;

pub(crate) fn listen(value: &DeValue<'_>) -> Reading<Listen> {
    Listen::parse(&string(value)?)
}

pub(crate) fn process(value: &DeValue<'_>) -> Reading<Process> {
    match string(value)?.as_str() {
        "own" => Ok(Process::Own),
        "shared" => Ok(Process::Shared),
        "connection" => Ok(Process::Connection),
        other => Err(format!(
            "cannot be {} (allowed: \"own\", \"shared\", \"connection\")",
            quoted(other)
        )),
    }
}

pub(crate) fn logged(value: &DeValue<'_>) -> Reading<Logged> {
    match string(value)?.as_str() {
        "all" => Ok(Logged::All),
        "failures" => Ok(Logged::Failures),
        "none" => Ok(Logged::None),
        other => Err(format!(
            "cannot be {} (allowed: \"all\", \"failures\", \"none\")",
            quoted(other)
        )),
    }
}

/// A user or a group: a name or a number. systemd looks it up when it makes the socket.
pub(crate) fn user(value: &DeValue<'_>) -> Reading<Option<String>> {
    let name = string(value)?;
    let may_be_in = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$@".contains(&byte);
    if (1..=MAX_USER).contains(&name.len()) && name.bytes().all(may_be_in) && !name.starts_with('-') {
        return Ok(Some(name));
    }
    Err(format!(
        "cannot be {} (allowed: a user's or group's name, or its number)",
        quoted(&name)
    ))
}

/// An access mode: octal, as in chmod(1).
pub(crate) fn mode(value: &DeValue<'_>) -> Reading<Option<u32>> {
    const ALLOWED: &str = "(allowed: an octal number in quotes, \"0600\" to \"0777\" and the like)";
    let text = match value {
        DeValue::Integer(number) if number.radix() == 8 => number.as_str().to_owned(),
        DeValue::Integer(number) => return Err(format!("{number} is not octal {ALLOWED}")),
        other => string(other)?,
    };
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if octal && mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(format!("cannot be {} {ALLOWED}", quoted(&text))),
    }
}

pub(crate) fn interface(value: &DeValue<'_>) -> Reading<Option<String>> {
    let name = string(value)?;
    let may_be_in = |byte: u8| byte.is_ascii_graphic() && !b"/:%\\\"'".contains(&byte);
    if (1..=MAX_INTERFACE).contains(&name.len()) && name.bytes().all(may_be_in) && name != "." && name != ".." {
        return Ok(Some(name));
    }
    let name = quoted(&name);
    Err(format!(
        "cannot be {name} (allowed: a network interface as `ip link` shows it, such as \"eth0\")"
    ))
}

/// An absolute path that a unit file can have.
pub(crate) fn unit_path(value: &DeValue<'_>) -> Reading<String> {
    let path = string(value)?;
    if !path.starts_with('/') || path.contains(char::is_control) || path.ends_with(['/', '\\']) || path != path.trim()
    {
        return Err(format!(
            "cannot be {} (allowed: an absolute path such as \"/run/hello\")",
            quoted(&path)
        ));
    }
    Ok(path)
}

/// Calendar words. Only systemd can tell whether it understands them; what cannot stand in a unit file, and what is
/// cron's, is refused here.
pub(crate) fn calendar(value: &DeValue<'_>) -> Reading<String> {
    let event = string(value)?;
    let event = event.trim();
    let words: Vec<&str> = event.split_whitespace().collect();
    let of_cron = |word: &&str| {
        word.bytes()
            .all(|byte| byte.is_ascii_digit() || b"*/,-".contains(&byte))
    };
    if words.len() == 5 && words.iter().all(of_cron) {
        let hour = words[1].parse().unwrap_or(3_u8).min(23);
        let minute = words[0].parse().unwrap_or(0_u8).min(59);
        return Err(format!(
            "{} is cron's way (write systemd's: \"*-*-* {hour:02}:{minute:02}\"; see systemd.time(7))",
            quoted(event)
        ));
    }
    if event.is_empty() || !event.bytes().all(|byte| matches!(byte, b' '..=b'~')) || event.ends_with('\\') {
        return Err(format!(
            "cannot be {} (allowed: \"daily\", \"Mon *-*-* 03:00\" and others of systemd.time(7))",
            quoted(event)
        ));
    }
    Ok(event.to_owned())
}

/// The target of a request in origin form (RFC 9112, section 3.2.1).
pub(crate) fn request_path(value: &DeValue<'_>) -> Reading<String> {
    let path = string(value)?;
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(path);
    }
    let path = quoted(&path);
    Err(format!(
        "cannot be {path} (allowed: a path as in a URL, starting with /; others as %20)"
    ))
}
