//! The baseline for key-value stores: a native program that gets or sets a key as often as it is asked to, one after
//! the other (a line `1 get-often STORE KEY COUNT`, as the guest `keyvalue-actor` is asked). `$STORE` is a file of
//! crates/store, or the address of a Redis server; with `$BLOCKING` the client waits in the system call, and not in an
//! event loop as a server's would.

use redis::aio::MultiplexedConnection;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::time::Duration;
use wasm_sock_store::{Change, Database, Patience, What};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const QUOTA: u64 = 64 << 20;

enum Store {
    Embedded(Database),
    Redis(MultiplexedConnection),
    Blocking(redis::Connection),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // SAFETY: the process that starts this one passes a socket that listens as descriptor 3 (`sd_listen_fds(3)`).
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    let address = std::env::var("STORE")?;
    let mut store = if address.starts_with("redis:") {
        let client = redis::Client::open(address)?;
        match std::env::var_os("BLOCKING") {
            None => Store::Redis(client.get_multiplexed_async_connection().await?),
            Some(_) => Store::Blocking(client.get_connection()?),
        }
    } else {
        let patience = Patience::Wait(Duration::from_secs(5));
        Store::Embedded(Database::open_or_make(address.as_ref(), QUOTA, patience)?)
    };
    for connection in listener.incoming() {
        let connection = connection?;
        let mut answers = connection.try_clone()?;
        for line in BufReader::new(connection).lines() {
            let line = line?;
            let words: Vec<&str> = line.split(' ').collect();
            let [_, command, name, key, count] = words[..] else {
                return Err(format!("what is {line:?}?").into());
            };
            for index in 0..count.parse()? {
                store.act(command, name, key, index).await?;
            }
            answers.write_all(b"done\n")?;
        }
    }
    Ok(())
}

impl Store {
    async fn act(&mut self, command: &str, store: &str, key: &str, index: u32) -> Result<()> {
        match (self, command) {
            (Self::Embedded(database), "get-often") => {
                database.get(store, key)?.ok_or("nothing is there")?;
            }
            (Self::Embedded(database), "set-often") => {
                let change = Change {
                    store: store.to_owned(),
                    lifetime: None,
                    what: What::Set(vec![(key.to_owned(), numbered(index).to_vec())]),
                };
                for result in database.commit(&[change]) {
                    result?;
                }
            }
            (Self::Redis(server), "get-often") => {
                let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(server).await?;
                value.ok_or("nothing is there")?;
            }
            (Self::Blocking(server), "get-often") => {
                let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query(server)?;
                value.ok_or("nothing is there")?;
            }
            _ => return Err(format!("what is {command}?").into()),
        }
        Ok(())
    }
}

/// As the guest sets it: SQLite does not write what is there already.
fn numbered(index: u32) -> [u8; 100] {
    let mut value = [b'x'; 100];
    value[..4].copy_from_slice(&index.to_le_bytes());
    value
}
