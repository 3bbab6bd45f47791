//! The version 0.2.0-draft.

use crate::bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
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
        ("get-often", [key, count]) => often(count, |_| bucket.get(key).map(drop)),
        ("set-often", [key, count]) => often(count, |index| bucket.set(key, &numbered(index))),
        _ => Err(format!("what is {command:?} with {arguments:?}?")),
    }
}

/// Does the same again and again: for the benchmark.
fn often(count: &str, act: impl Fn(u32) -> Result<(), store::Error>) -> Answer {
    let count = count.parse().map_err(|_| "no number".to_owned())?;
    (0..count).try_for_each(act).map(done).map_err(told)
}

/// 100 bytes that differ each time: SQLite does not write what is there already.
fn numbered(index: u32) -> [u8; 100] {
    let mut value = [b'x'; 100];
    value[..4].copy_from_slice(&index.to_le_bytes());
    value
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
        let part = bucket.list_keys(cursor).map_err(told)?;
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
    let told = found.into_iter().map(|found| match found {
        Some((key, value)) => format!("{key}{}", text(Some(value))),
        None => text(None),
    });
    Ok(told.collect::<Vec<_>>().join(" "))
}
