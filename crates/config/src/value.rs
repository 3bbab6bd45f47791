//! Parses and checks the value of each setting: ranges, units, types, with error messages that say what is allowed.

mod service;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::error::quoted;
use super::quantity::{parse_duration, parse_idle_timeout, parse_size};
use super::{Access, ForwardedFor, LEAST_KEYVALUE_QUOTA, Outbound, Reload, StoreAddress, WhenIdle};

pub(super) use service::{
    MAX_ADDRESSES, calendar, interface, listen, logged, mode, process, request_path, unit_path, user,
};

/// A setting, or what is wrong with it and what is allowed.
pub(super) type Reading<T> = Result<T, String>;

/// One page of WebAssembly memory; less cannot be given.
const MIN_MEMORY: u64 = 64 << 10;
/// The end of a 32-bit address space; more cannot be addressed.
const MAX_MEMORY: u64 = 4 << 30;
/// hyper panics when it is given less to read a head into.
const MIN_HEAD: u32 = 8 << 10;
/// Far more than any browser or proxy sends. What is read of a head is kept until all of it is
/// there, and no guest runs yet whose memory could be charged for it.
const MAX_HEAD: u32 = 1 << 20;
/// Less is not enough for the start-up code of many languages.
const MIN_STACK: u32 = 64 << 10;
/// Each guest reserves its stack, and may use it in addition to its `memory`.
const MAX_STACK: u32 = 16 << 20;
/// No UDP datagram has more than 64 KiB, and no Unix one more than fits the buffers of its sockets.
const MAX_DATAGRAM: u32 = 1 << 20;

pub(super) fn wrong_type(expected: &str, found: &DeValue<'_>) -> String {
    let article = match found {
        DeValue::Integer(_) | DeValue::Array(_) => "an",
        _ => "a",
    };
    format!("expected {expected}, found {article} {}", found.type_str())
}

pub(super) fn duration(value: &DeValue<'_>) -> Reading<Duration> {
    parse_duration(&quantity("a duration such as \"30s\"", value)?)
}

/// For `idle-timeout` and `keep-alive`, where zero has a meaning.
pub(super) fn idle_timeout(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    parse_idle_timeout(&quantity("a duration such as \"30s\"", value)?)
}

/// For `timeout` and `cpu-time`, where zero would leave no time to do anything.
pub(super) fn time_limit(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    more_than_zero(value, "no guest can run")
}

/// For `head-timeout`, where zero would refuse every request.
pub(super) fn head_timeout(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    more_than_zero(value, "no client can send a request")
}

/// For the time-outs of `outbound`, where zero would refuse every answer.
pub(super) fn answer_timeout(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    more_than_zero(value, "no server can answer")
}

/// For `idle-connection-timeout`, where zero would end every connection.
pub(super) fn idle_connection_timeout(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    more_than_zero(value, "no connection can be served")
}

fn more_than_zero(value: &DeValue<'_>, impossible: &str) -> Reading<Option<Duration>> {
    match idle_timeout(value)? {
        Some(Duration::ZERO) => Err(format!(
            "{impossible} in 0s (allowed: more, or \"infinity\" for no limit)"
        )),
        limit => Ok(limit),
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Reading<u64> {
    parse_size(&quantity("a size such as \"64MiB\"", value)?)
}

/// A size of at least a byte, or `infinity` for no bound (`None`).
pub(super) fn size_bound(value: &DeValue<'_>) -> Reading<Option<u64>> {
    match value {
        DeValue::String(text) if text == "infinity" => Ok(None),
        _ => match size(value).map_err(|error| format!("{error}; or \"infinity\""))? {
            0 => Err("cannot be 0 bytes (allowed: more, or \"infinity\")".to_owned()),
            bytes => Ok(Some(bytes)),
        },
    }
}

/// For `max-memory`, whose default depends on the machine.
pub(super) fn max_memory(value: &DeValue<'_>) -> Reading<Option<u64>> {
    Ok(Some(size_bound(value)?.unwrap_or(u64::MAX)))
}

pub(super) fn memory(value: &DeValue<'_>) -> Reading<u64> {
    let bytes = size(value)?;
    if (MIN_MEMORY..=MAX_MEMORY).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("cannot be {bytes} bytes (allowed: 64KiB to 4GiB)"))
    }
}

pub(super) fn keyvalue_quota(value: &DeValue<'_>) -> Reading<u64> {
    match size(value)? {
        bytes if bytes < LEAST_KEYVALUE_QUOTA => Err(format!("cannot be {bytes} bytes (allowed: 64KiB or more)")),
        bytes => Ok(bytes),
    }
}

/// Where a key-value store is. The text may contain a password, and is not repeated.
pub(super) fn store_address(value: &DeValue<'_>) -> Reading<StoreAddress> {
    StoreAddress::parse(&string(value)?).ok_or_else(|| {
        "is no place of a store (allowed: \"embedded\", \"redis://USER:PASSWORD@HOST:6379/0\", \
         \"rediss://HOST\" for TLS, \"redis+unix:///run/valkey.sock?db=0\")"
            .to_owned()
    })
}

/// For how long an entry lives, where zero would store nothing.
pub(super) fn lifetime(value: &DeValue<'_>) -> Reading<Option<Duration>> {
    more_than_zero(value, "nothing can be stored")
}

pub(super) fn max_head(value: &DeValue<'_>) -> Reading<u32> {
    size_within(value, MIN_HEAD..=MAX_HEAD, "8KiB to 1MiB")
}

pub(super) fn max_datagram(value: &DeValue<'_>) -> Reading<u32> {
    size_within(value, 1..=MAX_DATAGRAM, "1B to 1MiB")
}

pub(super) fn stack(value: &DeValue<'_>) -> Reading<u32> {
    size_within(value, MIN_STACK..=MAX_STACK, "64KiB to 16MiB")
}

fn size_within(value: &DeValue<'_>, range: RangeInclusive<u32>, allowed: &str) -> Reading<u32> {
    let bytes = size(value)?;
    match u32::try_from(bytes) {
        Ok(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!("cannot be {bytes} bytes (allowed: {allowed})")),
    }
}

/// For `max-connections`, `reuse` and `concurrency`, where zero would let nothing through.
pub(super) fn count(value: &DeValue<'_>) -> Reading<u32> {
    let DeValue::Integer(number) = value else {
        return Err(wrong_type("a whole number", value));
    };
    match u32::from_str_radix(number.as_str(), number.radix()) {
        Ok(count) if count >= 1 => Ok(count),
        _ => Err(format!("cannot be {number} (allowed: 1 to {})", u32::MAX)),
    }
}

/// A count, or `infinity` for no bound (`None`).
pub(super) fn bound(value: &DeValue<'_>) -> Reading<Option<u32>> {
    match value {
        DeValue::String(text) if text == "infinity" => Ok(None),
        DeValue::String(_) => Err(wrong_type("a whole number or \"infinity\"", value)),
        _ => count(value).map(Some),
    }
}

/// A duration or size comes as a string or, as in a unit file, as a bare number.
fn quantity(expected: &str, value: &DeValue<'_>) -> Reading<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| format!("expected {expected}, found {number}")),
        other => Err(wrong_type(expected, other)),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Reading<bool> {
    match value {
        DeValue::Boolean(yes) => Ok(*yes),
        _ => Err(wrong_type("true or false", value)),
    }
}

/// A string that can be passed to the guest or to the kernel, for which NUL ends a string.
pub(super) fn string(value: &DeValue<'_>) -> Reading<String> {
    match value {
        DeValue::String(text) if text.contains('\0') => Err(format!("{} must not contain NUL", quoted(text))),
        DeValue::String(text) => Ok(text.to_string()),
        // The usual slip: PORT = 80.
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            Err(wrong_type("a string", value) + " (write it in quotes)")
        }
        other => Err(wrong_type("a string", other)),
    }
}

pub(super) fn environment_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let name = quoted(name);
        return Err(format!(
            "env: {name} is no variable's name (allowed: at least one character, no \"=\", no NUL)"
        ));
    }
    Ok(())
}

pub(super) fn module(value: &DeValue<'_>) -> Reading<PathBuf> {
    let path = string(value)?;
    if path.is_empty() {
        return Err("the path is empty (leave the key out for NAME.wasm)".into());
    }
    Ok(PathBuf::from(path))
}

pub(super) fn absolute_path(value: &DeValue<'_>) -> Reading<PathBuf> {
    let path = string(value)?;
    if !path.starts_with('/') {
        let path = quoted(&path);
        return Err(format!("{path} must be an absolute path, starting with /"));
    }
    Ok(PathBuf::from(path))
}

/// The name that a guest sees a folder under: an absolute path, or one that is relative to where the guest
/// is, which WASI leaves to the guest. A guest compares these names as text, so each has its plainest form,
/// and none has `..` in it, which could never be opened.
pub(super) fn guest_path(value: &DeValue<'_>) -> Reading<String> {
    let path = string(value)?;
    let climbs = Path::new(&path).components().any(|part| part == Component::ParentDir);
    if path.is_empty() || climbs {
        return Err(format!(
            "cannot be {} (allowed: \".\", or a path without \"..\" such as \"/data\" or \"data\")",
            quoted(&path)
        ));
    }
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let plain = names.collect::<Vec<_>>().join("/");
    Ok(match (path.starts_with('/'), plain.is_empty()) {
        (true, _) => format!("/{plain}"),
        (false, true) => ".".to_owned(),
        (false, false) => plain,
    })
}

pub(super) fn access(value: &DeValue<'_>) -> Reading<Access> {
    match string(value)?.as_str() {
        "read-only" => Ok(Access::ReadOnly),
        "read-write" => Ok(Access::ReadWrite),
        other => Err(format!(
            "cannot be {} (allowed: \"read-only\", \"read-write\")",
            quoted(other)
        )),
    }
}

pub(super) fn forwarded_for(value: &DeValue<'_>) -> Reading<ForwardedFor> {
    match string(value)?.as_str() {
        "set" => Ok(ForwardedFor::Set),
        "trust" => Ok(ForwardedFor::Trust),
        "off" => Ok(ForwardedFor::Off),
        other => Err(format!(
            "cannot be {} (allowed: \"set\", \"trust\", \"off\")",
            quoted(other)
        )),
    }
}

pub(super) fn reload(value: &DeValue<'_>) -> Reading<Reload> {
    match string(value)?.as_str() {
        "in-place" => Ok(Reload::InPlace),
        "hand-over" => Ok(Reload::HandOver),
        other => Err(format!(
            "cannot be {} (allowed: \"in-place\", \"hand-over\")",
            quoted(other)
        )),
    }
}

pub(super) fn when_idle(value: &DeValue<'_>) -> Reading<WhenIdle> {
    let name = string(value)?;
    WhenIdle::named(&name).ok_or_else(|| format!("cannot be {} (allowed: \"exit\", \"park\")", quoted(&name)))
}

pub(super) fn outbound(value: &DeValue<'_>) -> Reading<Outbound> {
    let text = string(value)?;
    Outbound::parse(&text).ok_or_else(|| {
        let text = quoted(&text);
        format!(
            "cannot be {text} (allowed: \"example.org:443\", \"192.0.2.1:80,8000-8010\", \
             \"10.0.0.0/8:5432\", \"[2001:db8::1]:443\", \"udp:192.0.2.1:53\", \
             \"https://api.example.org/v1/*\", \"GET,POST http://10.0.0.1:8080/hook\")"
        )
    })
}
