//! The version 0.2.0-draft2.

use crate::bindings::wasi::keyvalue0_2_0_draft2::{atomics, batch, store};
use crate::{Answer, owned, sized, text};

pub fn act(command: &str, store: &str, arguments: &[&str]) -> Answer {
    let bucket = store::open(store).map_err(told)?;
    match (command, arguments) {
        ("open", []) => Ok("opened".to_owned()),
        ("get", [key]) => bucket.get(key).map(text).map_err(told),
        ("size", [key]) => bucket
            .get(key)
            .map(|value| value.map_or(0, |v| v.len()).to_string())
            .map_err(told),
        ("set", [key, value]) => bucket.set(key, value.as_bytes()).map(done).map_err(told),
        ("set-size", [key, size]) => bucket.set(key, &sized(size)).map(done).map_err(told),
        ("delete", [key]) => bucket.delete(key).map(done).map_err(told),
        ("exists", [key]) => bucket.exists(key).map(|there| there.to_string()).map_err(told),
        ("list", []) => list(&bucket),
        ("increment", [key, delta]) => {
            let delta = delta.parse().map_err(|_| "no number".to_owned())?;
            atomics::increment(&bucket, key, delta)
                .map(|sum| sum.to_string())
                .map_err(told)
        }
        ("set-many", pairs) => batch::set_many(&bucket, &crate::pairs(pairs)).map(done).map_err(told),
        ("delete-many", keys) => batch::delete_many(&bucket, &owned(keys)).map(done).map_err(told),
        ("get-many", keys) => get_many(&bucket, keys),
        ("add", [key, delta]) => add(&bucket, key, delta),
        ("late", [key]) => late(&bucket, key),
        _ => Err(format!("what is {command:?} with {arguments:?}?")),
    }
}

fn done(_: ()) -> String {
    "done".to_owned()
}

fn told(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no such store".to_owned(),
        store::Error::AccessDenied => "access denied".to_owned(),
        store::Error::Other(why) => why,
    }
}

/// All keys, whose number is told; all of them if they are few.
fn list(bucket: &store::Bucket) -> Answer {
    let (mut keys, mut cursor, mut parts) = (Vec::new(), None, 0);
    loop {
        let part = bucket.list_keys(cursor.as_deref()).map_err(told)?;
        keys.extend(part.keys);
        parts += 1;
        if part.cursor.is_none() {
            break;
        }
        cursor = part.cursor;
    }
    match keys.len() {
        0..20 => Ok(keys.join(" ")),
        count => {
            let is_sorted = keys.is_sorted_by(|one, next| one < next);
            Ok(format!("{count} keys in {parts} parts, sorted: {is_sorted}"))
        }
    }
}

fn get_many(bucket: &store::Bucket, keys: &[&str]) -> Answer {
    let found = batch::get_many(bucket, &owned(keys)).map_err(told)?;
    let told = found.into_iter().map(|(key, value)| match value {
        Some(value) => format!("{key}{}", text(Some(value))),
        None => text(None),
    });
    Ok(told.collect::<Vec<_>>().join(" "))
}

/// Adds to a number by compare-and-swap, until it succeeds. Tells the number of attempts.
fn add(bucket: &store::Bucket, key: &str, delta: &str) -> Answer {
    let delta: i64 = delta.parse().map_err(|_| "no number".to_owned())?;
    let mut cas = atomics::Cas::new(bucket, key).map_err(told)?;
    for attempt in 1.. {
        let value = cas.current().map_err(told)?.unwrap_or_default();
        let number: i64 = String::from_utf8_lossy(&value).parse().unwrap_or(0);
        match atomics::swap(cas, (number + delta).to_string().as_bytes()) {
            Ok(()) => return Ok(attempt.to_string()),
            Err(atomics::CasError::CasFailed(again)) => cas = again,
            Err(atomics::CasError::StoreError(error)) => return Err(told(error)),
        }
    }
    Err("never".to_owned())
}

/// Changes the value between observing it and swapping it.
fn late(bucket: &store::Bucket, key: &str) -> Answer {
    let cas = atomics::Cas::new(bucket, key).map_err(told)?;
    bucket.set(key, b"another").map_err(told)?;
    // Reading it now does not make the handle one of the new value.
    let _ = cas.current().map_err(told)?;
    match atomics::swap(cas, b"lost") {
        Ok(()) => Ok("swapped".to_owned()),
        Err(atomics::CasError::CasFailed(again)) => {
            atomics::swap(again, b"second").map_err(|_| "the second, too".to_owned())?;
            Ok("failed, then swapped".to_owned())
        }
        Err(atomics::CasError::StoreError(error)) => Err(told(error)),
    }
}
