//! The JSON schemas (draft 7) of the configuration, for editors: they complete keys, show what each means, and mark
//! mistakes. What a schema refuses, the configuration's own parser refuses; it refuses more.

use serde_json::{Map, Value, json};
use wasm_sock_config::settings::{DEFAULTS, HANDLER, HANDLER_NAME, HOST, Kind, Setting};

/// The file of the schema of `handlers.d/NAME.toml`.
pub const DROP_IN: &str = "handler.schema.json";

/// The schema of `wasm-sock.toml`, and of `handlers.d/NAME.toml`, by the names of their files.
pub fn all() -> [(&'static str, Value); 2] {
    let main = table(HOST, &[]).described("The process: when it exits, folders, limits of all handlers together.");
    let defaults = table(DEFAULTS, &[]).described("Settings of every handler, unless its own table says otherwise.");
    [
        (
            "wasm-sock.schema.json",
            file(
                "wasm-sock.toml",
                json!({ "host": main, "defaults": defaults, "handler": handlers() }),
            ),
        ),
        (DROP_IN, file("handlers.d/NAME.toml", json!({ "handler": handlers() }))),
    ]
}

fn file(name: &str, properties: Value) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": format!("wasm-sock: {name}"),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// `[handler.NAME]`
fn handlers() -> Value {
    let settings: Vec<&Setting> = HANDLER.iter().chain(DEFAULTS).collect();
    let mut handler = table(settings, &[]);
    handler["dependencies"] = json!({ "tls-certificate": ["tls-key"], "tls-key": ["tls-certificate"] });
    json!({
        "type": "object",
        "description": "The handlers by their names. The name of a socket is the name of its handler.",
        "propertyNames": { "pattern": HANDLER_NAME },
        "additionalProperties": handler,
    })
}

fn table<'a>(settings: impl IntoIterator<Item = &'a Setting>, required: &[&str]) -> Value {
    let property = |setting: &'a Setting| (setting.key.to_owned(), property(setting));
    let properties: Map<String, Value> = settings.into_iter().map(property).collect();
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn property(setting: &Setting) -> Value {
    let mut property = kind(&setting.kind).described(setting.meaning);
    if let Some(default) = setting.default.and_then(json_of) {
        property["default"] = default;
    }
    property
}

/// A default, which is written in TOML.
fn json_of(default: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {default}").parse().ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

trait Described {
    fn described(self, text: &str) -> Self;
}

impl Described for Value {
    fn described(mut self, text: &str) -> Self {
        self["description"] = text.into();
        self
    }
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Count { infinity } => {
            let count = json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX });
            or_infinity(vec![count], *infinity)
        }
        Kind::Time { zero, infinity } => or_infinity(quantity(&TIME_UNITS, u64::from(!zero), u64::MAX), *infinity),
        Kind::Size { least, most, infinity } => or_infinity(quantity(&SIZE_UNITS, *least, *most), *infinity),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Text { pattern: "", .. } => json!({ "type": "string" }),
        Kind::Text { pattern, .. } => json!({ "type": "string", "pattern": pattern }),
        // 0o660 in TOML is a number like others.
        Kind::Mode => json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-7]{1,}$" },
            { "type": "integer", "minimum": 0, "maximum": 0o7777 },
        ] }),
        Kind::List(element) => json!({ "type": "array", "items": self::kind(element) }),
        Kind::OneOrMore(element) => {
            let element = self::kind(element);
            json!({ "anyOf": [element, { "type": "array", "items": element }] })
        }
        Kind::Table(settings, required) => table(*settings, required),
        Kind::Names("", value) => json!({ "type": "object", "additionalProperties": self::kind(value) }),
        Kind::Names(pattern, value) => json!({
            "type": "object",
            "propertyNames": { "pattern": pattern },
            "additionalProperties": self::kind(value),
        }),
        Kind::Either(one, other) => json!({ "anyOf": [self::kind(one), self::kind(other)] }),
    }
}

fn or_infinity(mut alternatives: Vec<Value>, infinity: bool) -> Value {
    if infinity {
        alternatives.insert(0, json!({ "const": "infinity" }));
    }
    match <[Value; 1]>::try_from(alternatives) {
        Ok([only]) => only,
        Err(alternatives) => json!({ "anyOf": alternatives }),
    }
}

/// A string with units, or a number of the unit that goes without saying. A string can be checked for being more than
/// zero, but not for any other range.
fn quantity(units: &[&str], least: u64, most: u64) -> Vec<Value> {
    let pattern = format!(r"^\s*([0-9]+(\s*({})\s*|\s+|$))+$", units.join("|"));
    let mut text = json!({ "type": "string", "pattern": pattern });
    if least > 0 {
        text["allOf"] = json!([{ "pattern": "[1-9]" }]);
    }
    let mut number = json!({ "type": "integer", "minimum": least });
    if most < u64::MAX {
        number["maximum"] = most.into();
    }
    vec![text, number]
}

/// As in systemd.time(7), but for months and years. The longest that fits is tried first.
const TIME_UNITS: [&str; 12] = [
    "usec",
    "us",
    "\u{b5}s",
    "msec",
    "ms",
    "minutes?",
    "min",
    "m",
    "s(ec(onds?)?)?",
    "h(r|ours?)?",
    "d(ays?)?",
    "w(eeks?)?",
];
const SIZE_UNITS: [&str; 3] = ["[KMGT]iB", "[KMGT]", "B"];
