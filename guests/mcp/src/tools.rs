//! The tools: what each is called, what it is for, its arguments, and what it does.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The most dice at a time.
const MAX_DICE: u32 = 100;

/// A tool's result, or what is wrong with its arguments.
type Outcome = Result<Value, String>;

struct Tool {
    name: &'static str,
    description: &'static str,
    /// JSON Schema of the arguments and of the result.
    schemas: fn() -> (Value, Value),
    call: fn(Value) -> Outcome,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "count_letters",
        description: "Counts how often a letter occurs in a text, in upper and in lower case.",
        schemas: || {
            let arguments = json!({
                "text": { "type": "string" },
                "letter": { "type": "string", "description": "one character" },
            });
            (
                object(arguments),
                object(json!({ "count": { "type": "integer" } })),
            )
        },
        call: count_letters,
    },
    Tool {
        name: "roll_dice",
        description: "Rolls dice. The numbers are random, unlike those that a model makes up.",
        schemas: || {
            let arguments = json!({
                "dice": { "type": "integer", "minimum": 1, "maximum": MAX_DICE },
                "sides": { "type": "integer", "minimum": 2, "maximum": 1000 },
            });
            let numbers = json!({ "type": "array", "items": { "type": "integer" } });
            (
                object(arguments),
                object(json!({ "numbers": numbers, "sum": { "type": "integer" } })),
            )
        },
        call: roll_dice,
    },
];

/// An object with all of these properties and no others.
fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
        .collect();
    json!({ "type": "object", "required": names, "properties": properties, "additionalProperties": false })
}

/// The descriptions that clients, and their models, choose from.
pub fn list() -> Vec<Value> {
    let described = TOOLS.iter().map(|tool| {
        let (arguments, result) = (tool.schemas)();
        json!({
            "name": tool.name,
            "description": tool.description,
            "inputSchema": arguments,
            "outputSchema": result,
        })
    });
    described.collect()
}

/// Calls a tool; `None`: there is no such tool.
pub fn call(name: &str, arguments: Value) -> Option<Outcome> {
    let tool = TOOLS.iter().find(|tool| tool.name == name)?;
    Some((tool.call)(arguments))
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| format!("The arguments are wrong: {error}."))
}

fn count_letters(arguments: Value) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        text: String,
        letter: char,
    }
    let Arguments { text, letter } = read(arguments)?;
    let wanted = letter.to_lowercase();
    let is_it = |found: &char| found.to_lowercase().eq(wanted.clone());
    Ok(json!({ "count": text.chars().filter(is_it).count() }))
}

fn roll_dice(arguments: Value) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        dice: u32,
        sides: u32,
    }
    let Arguments { dice, sides } = read(arguments)?;
    if !(1..=MAX_DICE).contains(&dice) || !(2..=1000).contains(&sides) {
        return Err(format!(
            "1 to {MAX_DICE} dice can be rolled, with 2 to 1000 sides."
        ));
    }
    let numbers: Vec<u32> = (0..dice).map(|_| fastrand::u32(1..=sides)).collect();
    Ok(json!({ "sum": numbers.iter().sum::<u32>(), "numbers": numbers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_in_both_cases() {
        let counted = |text: &str, letter: &str| {
            call("count_letters", json!({ "text": text, "letter": letter })).unwrap()
        };
        assert_eq!(counted("Strawberry", "r"), Ok(json!({ "count": 3 })));
        assert_eq!(
            counted("Äpfel und ähnliches", "ä"),
            Ok(json!({ "count": 2 }))
        );
        assert!(counted("x", "ab").is_err());
    }

    #[test]
    fn dice_are_fair_enough_and_few() {
        let rolled = call("roll_dice", json!({ "dice": 100, "sides": 6 }))
            .unwrap()
            .unwrap();
        let numbers: Vec<u64> = rolled["numbers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        assert!(numbers.len() == 100 && numbers.iter().all(|number| (1..=6).contains(number)));
        assert_eq!(rolled["sum"], numbers.iter().sum::<u64>());
        assert!((1..=6).all(|side| numbers.contains(&side)), "{numbers:?}");
        for (dice, sides) in [(0, 6), (101, 6), (1, 1), (1, 1001)] {
            let why = call("roll_dice", json!({ "dice": dice, "sides": sides }))
                .unwrap()
                .unwrap_err();
            assert!(why.contains("1 to 100 dice"), "{why}");
        }
    }

    #[test]
    fn what_no_schema_has_is_refused() {
        assert!(
            call("roll_dice", json!({ "dice": 1, "sides": 6, "more": 1 }))
                .unwrap()
                .is_err()
        );
        assert!(call("roll_dice", json!([])).unwrap().is_err());
        assert_eq!(call("rm", json!({})), None);
        for tool in list() {
            assert_eq!(tool["inputSchema"]["type"], "object");
        }
    }
}
