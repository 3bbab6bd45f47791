//! Reads lines, does what each says with the database that its first argument names, and answers with a line:
//! `add N` adds N numbers, each in a transaction of its own; `sum` counts them; `pair N` moves one from one account to
//! the other, N times; `balance` is what both have together; `begin` leaves a transaction open; `spin` never ends.

use rusqlite::{Connection, TransactionBehavior};
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

/// How long another guest's transactions are waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS number (id INTEGER PRIMARY KEY, of TEXT);
    CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, money INTEGER) WITHOUT ROWID;
    INSERT OR IGNORE INTO account VALUES ('a', 500), ('b', 500);";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let patience = match arguments.get(1).map(String::as_str) {
        Some("impatient") => Duration::ZERO,
        _ => PATIENCE,
    };
    let mut database = open(&arguments[0], patience);
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split(' ').collect();
        // A database that could not be opened may be there now.
        let answer = match &mut database {
            Ok(database) => act(database, &words).unwrap_or_else(|error| format!("error: {error}")),
            Err(error) => format!("error: {error}"),
        };
        if database.is_err() {
            database = open(&arguments[0], patience);
        }
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn open(path: &str, patience: Duration) -> rusqlite::Result<Connection> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(patience)?;
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.commit()?;
    Ok(database)
}

fn act(database: &mut Connection, words: &[&str]) -> rusqlite::Result<String> {
    let times = words.get(1).and_then(|times| times.parse().ok()).unwrap_or(1);
    match words {
        ["add", ..] => {
            for _ in 0..times {
                let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
                transaction.execute("INSERT INTO number (of) VALUES ('rust')", [])?;
                transaction.commit()?;
            }
            Ok("done".to_owned())
        }
        ["pair", ..] => {
            for _ in 0..times {
                let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
                transaction.execute("UPDATE account SET money = money - 1 WHERE name = 'a'", [])?;
                transaction.execute("UPDATE account SET money = money + 1 WHERE name = 'b'", [])?;
                transaction.commit()?;
            }
            Ok("done".to_owned())
        }
        ["sum"] => number(database, "SELECT count(*) FROM number"),
        ["balance"] => number(database, "SELECT sum(money) FROM account"),
        ["begin"] => {
            database.execute_batch("BEGIN IMMEDIATE; INSERT INTO number (of) VALUES ('lost')")?;
            // Written to the file before the transaction has ended, as a large one is.
            database.cache_flush()?;
            Ok("begun".to_owned())
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        _ => Ok(format!("what is {words:?}?")),
    }
}

fn number(database: &Connection, query: &str) -> rusqlite::Result<String> {
    let number: i64 = database.query_row(query, [], |row| row.get(0))?;
    Ok(number.to_string())
}
