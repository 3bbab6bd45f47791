//! The handler's file: `handlers.d/NAME.toml`, made or changed so that people's comments and settings stay.

use super::arguments::Install;
use crate::settings::{Directory, Setting, Variable};
use std::path::Path;
use std::str::FromStr;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

const HEADER: &str = "\
# Made by `wasm-sock install`. You may change it: the next install keeps what it
# is not told to change. All settings: man wasm-sock.toml
";

/// The text of the handler's file with what the command line sets. `former` is its text so far; a new one names the
/// `schema` in its first line, where editors look for it.
///
/// # Errors
/// When the former text is not TOML, or a table is something else there; the configuration's parser has more to say.
pub fn changed(
    former: Option<&str>,
    handler: &str,
    arguments: &Install,
    schema: Option<&Path>,
) -> Result<String, String> {
    let header = || {
        let schema = schema.map(|path| format!("#:schema {}\n", path.display()));
        format!("{}{HEADER}", schema.unwrap_or_default())
    };
    let mut document: DocumentMut = match former {
        Some(text) => text.parse().map_err(|_| "it is not valid TOML".to_owned())?,
        None => header().parse().unwrap_or_default(),
    };
    let table = handler_table(&mut document, handler)?;
    if !arguments.listen.is_empty() {
        let list = addresses(table.get("listen"), &arguments.listen);
        set(table, "listen", list);
    }
    if let Some(process) = arguments.process {
        set(table, "process", process.name().into());
    }
    for (key, list) in [
        ("args", &arguments.arg),
        ("allow-outbound", &arguments.allow_outbound),
        ("schedule", &arguments.schedule),
    ] {
        if !list.is_empty() {
            set(table, key, Array::from_iter(list).into());
        }
    }
    for Variable { name, value } in &arguments.env {
        set(subtable(table, "env")?, name, value.as_str().into());
    }
    for directory in &arguments.dir {
        grant(table, directory)?;
    }
    for Setting { keys, value } in &arguments.set {
        let value = Value::from_str(value).map_err(|error| error.to_string())?;
        set_below(table, keys, value)?;
    }
    Ok(document.to_string())
}

/// `[handler.NAME]`, made if it is missing.
fn handler_table<'a>(document: &'a mut DocumentMut, handler: &str) -> Result<&'a mut dyn TableLike, String> {
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    // A comment without a table is the document's end.
    let comment = document.trailing().as_str().unwrap_or_default().to_owned();
    let is_empty = document.as_table().is_empty();
    let handlers = document.entry("handler").or_insert_with(implicit);
    let handlers = handlers.as_table_like_mut().ok_or("\"handler\" is no table in it")?;
    if handlers.get(handler).is_none() {
        let mut table = Table::new();
        if is_empty {
            table.decor_mut().set_prefix(comment);
        }
        handlers.insert(handler, Item::Table(table));
        if is_empty {
            document.set_trailing("");
        }
    }
    let table = document
        .get_mut("handler")
        .and_then(|handlers| handlers.get_mut(handler));
    let table = table.and_then(Item::as_table_like_mut);
    table.ok_or_else(|| format!("\"handler.{handler}\" is no table in it"))
}

/// A table in a table, made if it is missing.
fn subtable<'a>(table: &'a mut (dyn TableLike + '_), key: &str) -> Result<&'a mut dyn TableLike, String> {
    let item = table
        .entry(key)
        .or_insert_with(|| Item::Value(InlineTable::new().into()));
    item.as_table_like_mut()
        .ok_or_else(|| format!("{key:?} is no table in it"))
}

/// Sets a value in a table, in a table in that, and so on.
fn set_below(table: &mut dyn TableLike, keys: &[String], value: Value) -> Result<(), String> {
    match keys {
        [] => {}
        [key] => set(table, key, value),
        [key, rest @ ..] => set_below(subtable(table, key)?, rest, value)?,
    }
    Ok(())
}

/// Sets a value; the comment behind the former one stays.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(former)) => {
            *value.decor_mut() = former.decor().clone();
            *former = value;
        }
        _ => {
            // Between braces, the space behind the last value would be before a comma.
            if let Some((_, Item::Value(last))) = table.iter_mut().last()
                && let Some(suffix) = last.decor().suffix().and_then(|suffix| suffix.as_str())
                && suffix.trim().is_empty()
            {
                last.decor_mut().set_suffix("");
            }
            table.insert(key, Item::Value(value));
        }
    }
}

/// The new list of addresses. Those that stay keep their order, because the first one's unit has the shortest name:
/// a socket whose unit stays the same is not touched.
fn addresses(former: Option<&Item>, new: &[String]) -> Value {
    let former: Vec<&str> = match former {
        Some(Item::Value(Value::Array(array))) => array.iter().filter_map(Value::as_str).collect(),
        Some(Item::Value(value)) => value.as_str().into_iter().collect(),
        _ => Vec::new(),
    };
    let stay = former
        .iter()
        .copied()
        .filter(|address| new.iter().any(|new| new == address));
    let come = new
        .iter()
        .map(String::as_str)
        .filter(|address| !former.contains(address));
    Array::from_iter(stay.chain(come)).into()
}

/// Grants a folder. One that the guest knows by the same name is replaced.
fn grant(table: &mut dyn TableLike, directory: &Directory) -> Result<(), String> {
    let item = table.entry("dirs").or_insert_with(|| Item::Value(Array::new().into()));
    let fill = |entry: &mut dyn TableLike| {
        set(entry, "host", directory.host.as_str().into());
        set(entry, "guest", directory.guest.as_str().into());
        if let Some(access) = directory.access {
            set(entry, "access", access.into());
        }
    };
    let is_same = |entry: &dyn TableLike| entry.get("guest").and_then(Item::as_str) == Some(&directory.guest);
    match item {
        Item::Value(Value::Array(array)) => {
            for entry in array.iter_mut().filter_map(Value::as_inline_table_mut) {
                if is_same(entry) {
                    fill(entry);
                    return Ok(());
                }
            }
            let mut entry = InlineTable::new();
            fill(&mut entry);
            array.push(entry);
        }
        // [[handler.NAME.dirs]]
        Item::ArrayOfTables(array) => {
            if let Some(entry) = array.iter_mut().find(|entry| is_same(*entry)) {
                fill(entry);
                return Ok(());
            }
            let mut entry = Table::new();
            fill(&mut entry);
            array.push(entry);
        }
        _ => return Err("\"dirs\" is no array in it".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
