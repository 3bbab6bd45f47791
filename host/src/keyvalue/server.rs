//! A store of a server that speaks the protocol of Redis (RESP2): Redis, Valkey, and others.
//!
//! `wasm-sock-egress` makes the connections: this process needs no socket, no name lookup and no TLS. There is one for
//! each thread and store, which all guests of the thread share. What is atomic is so at the server: `INCRBY`, `MSET`,
//! and scripts for what has no command.
//!
//! What a guest has sent is never sent again: it may have been done. A connection that has ended is noticed before it
//! is used.

use super::failure::Failure;
use crate::config::{KeyValue, RedisAddress, RedisServer};
use crate::egress::{Ask, Connected, Egress};
use crate::journal::RateLimited;
use crate::sync::lock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, RedisError, Value, cmd, pipe};
use std::collections::HashMap;
use std::fmt::Display;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wasm_sock_store::{MOST_KEY, MOST_VALUE, Observed, StoreError};

/// How long a connection may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Adds to a number, and gives a new one its time of expiry.
const INCREMENT: &str = "local there = redis.call('EXISTS', KEYS[1]) \
    local sum = redis.call('INCRBY', KEYS[1], ARGV[1]) \
    if there == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return sum";

/// Sets a value if the one that is there is `ARGV[2]`; `ARGV[3]` is how long it lives in milliseconds, or empty.
const SWAP: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end \
    if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[1]) \
    else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) end return 1";

/// How many keys the server looks at for one answer, and how many answers without a key are asked for at a time.
const SCANNED: usize = 1000;
const MOST_EMPTY: usize = 100;

/// A store of a server.
pub struct Server {
    handler: Arc<str>,
    store: String,
    settings: RedisServer,
    /// The time that what is set lives.
    lifetime: Option<u64>,
    prefix: String,
    egress: Option<Arc<Egress>>,
    /// The connections, one for each thread.
    connections: Mutex<HashMap<ThreadId, Live>>,
    /// Held while one is made.
    connecting: tokio::sync::Mutex<()>,
    problems: RateLimited,
}

struct Live {
    connection: MultiplexedConnection,
    /// Ends with the connection.
    driver: JoinHandle<()>,
}

impl Server {
    pub fn new(
        handler: Arc<str>,
        store: &KeyValue,
        settings: &RedisServer,
        egress: Option<Arc<Egress>>,
    ) -> Arc<Self> {
        let default_prefix = || format!("{handler}:{}:", store.name);
        Arc::new(Self {
            prefix: store.prefix.clone().unwrap_or_else(default_prefix),
            handler: handler.clone(),
            store: store.name.clone(),
            settings: settings.clone(),
            lifetime: store
                .lifetime
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            egress,
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            problems: RateLimited::default(),
        })
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.ask(cmd("GET").arg(self.key(key)?)).await
    }

    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(cmd("MGET").arg(self.keys(keys)?)).await
    }

    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        self.ask(cmd("EXISTS").arg(self.key(key)?)).await
    }

    pub async fn set(&self, entries: &[(String, Vec<u8>)]) -> Result<(), Failure> {
        let mut all = pipe();
        all.atomic();
        for (key, value) in entries {
            if value.len() > MOST_VALUE {
                return Err(StoreError::ValueTooLarge.into());
            }
            let set = all.cmd("SET").arg(self.key(key)?).arg(value);
            if let Some(lifetime) = self.lifetime {
                set.arg("PX").arg(lifetime);
            }
            set.ignore();
        }
        match entries {
            [] => Ok(()),
            [(key, value)] => self.ask(&self.set_one(key, value)?).await,
            _ => {
                let mut connection = self.connection().await?;
                let sent = timeout(PATIENCE, all.query_async(&mut connection)).await;
                self.answered(sent)
            }
        }
    }

    fn set_one(&self, key: &str, value: &[u8]) -> Result<Cmd, Failure> {
        let mut set = cmd("SET");
        set.arg(self.key(key)?).arg(value);
        if let Some(lifetime) = self.lifetime {
            set.arg("PX").arg(lifetime);
        }
        Ok(set)
    }

    pub async fn delete(&self, keys: &[String]) -> Result<(), Failure> {
        if keys.is_empty() {
            return Ok(());
        }
        self.ask::<i64>(cmd("DEL").arg(self.keys(keys)?)).await.map(drop)
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, Failure> {
        let key = self.key(key)?;
        match self.lifetime {
            None => self.ask(cmd("INCRBY").arg(key).arg(delta)).await,
            Some(lifetime) => {
                let script = |cmd: &mut Cmd| cmd.arg(INCREMENT).arg(1).arg(key).arg(delta).arg(lifetime).clone();
                self.ask(&script(&mut cmd("EVAL"))).await
            }
        }
    }

    pub async fn observe(&self, key: &str) -> Result<Observed, Failure> {
        Ok(Observed::of(self.get(key).await?.as_deref()))
    }

    /// Sets a value, unless another than the observed one is there, which is returned. The value is read first, because
    /// only its digest is known; that it has not changed since, the server checks in the same step.
    pub async fn swap(&self, key: &str, observed: Observed, value: &[u8]) -> Result<Option<Observed>, Failure> {
        if value.len() > MOST_VALUE {
            return Err(StoreError::ValueTooLarge.into());
        }
        let current = self.get(key).await?;
        let now = Observed::of(current.as_deref());
        if now != observed {
            return Ok(Some(now));
        }
        let is_set = match current {
            None => {
                let mut set = self.set_one(key, value)?;
                self.ask::<Option<String>>(set.arg("NX")).await?.is_some()
            }
            Some(current) => {
                let lifetime = self.lifetime.map_or_else(String::new, |time| time.to_string());
                let mut swap = cmd("EVAL");
                swap.arg(SWAP)
                    .arg(1)
                    .arg(self.key(key)?)
                    .arg(value)
                    .arg(current)
                    .arg(lifetime);
                self.ask(&swap).await?
            }
        };
        match is_set {
            true => Ok(None),
            false => self.observe(key).await.map(Some),
        }
    }

    /// Some keys, and the cursor for more (`SCAN`): a key may come twice while others are set.
    pub async fn scan(&self, cursor: u64) -> Result<(Vec<String>, Option<u64>), Failure> {
        let mut cursor = cursor;
        for _ in 0..MOST_EMPTY {
            let mut scan = cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(pattern(&self.prefix))
                .arg("COUNT")
                .arg(SCANNED);
            let (next, found): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            let own = found.into_iter().filter_map(|key| {
                let key = String::from_utf8(key).ok()?;
                key.strip_prefix(&self.prefix).map(str::to_owned)
            });
            let keys: Vec<String> = own.collect();
            cursor = next;
            if next == 0 {
                return Ok((keys, None));
            }
            if !keys.is_empty() {
                return Ok((keys, Some(next)));
            }
        }
        Ok((Vec::new(), Some(cursor)))
    }

    fn key(&self, key: &str) -> Result<String, Failure> {
        match key.len() > MOST_KEY {
            true => Err(StoreError::KeyTooLong.into()),
            false => Ok(format!("{}{key}", self.prefix)),
        }
    }

    fn keys(&self, keys: &[String]) -> Result<Vec<String>, Failure> {
        keys.iter().map(|key| self.key(key)).collect()
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let mut connection = self.connection().await?;
        let answer = timeout(PATIENCE, command.query_async(&mut connection)).await;
        self.answered(answer)
    }

    fn answered<T>(&self, answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>) -> Result<T, Failure> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_of_the_connection(&error) => Err(self.lost(&error)),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(self.lost(&format_args!("no answer for {} s", PATIENCE.as_secs()))),
        }
    }

    /// Gives up the connection of this thread.
    fn lost(&self, why: &dyn Display) -> Failure {
        if let Some(live) = lock(&self.connections).remove(&thread::current().id()) {
            live.driver.abort();
        }
        self.unreachable(why)
    }

    fn unreachable(&self, why: &dyn Display) -> Failure {
        let store = &self.store;
        self.problems.warn(
            &self.handler,
            format_args!("keyvalue: the server of store {store:?}: {why}"),
        );
        Failure::Unavailable("the server of the store cannot be reached".to_owned())
    }

    /// The connection of this thread, which is made if there is none.
    async fn connection(&self) -> Result<MultiplexedConnection, Failure> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let connected = timeout(PATIENCE, self.connect()).await;
        let live = connected
            .unwrap_or_else(|_| Err("timed out".to_owned()))
            .map_err(|why| self.unreachable(&why))?;
        let connection = live.connection.clone();
        lock(&self.connections).insert(thread::current().id(), live);
        Ok(connection)
    }

    fn live(&self) -> Option<MultiplexedConnection> {
        let mut connections = lock(&self.connections);
        let id = thread::current().id();
        let live = connections.get(&id)?;
        if live.driver.is_finished() {
            connections.remove(&id);
            return None;
        }
        Some(live.connection.clone())
    }

    async fn connect(&self) -> Result<Live, String> {
        let egress = self
            .egress
            .as_ref()
            .ok_or("there is no way out (see LimitNOFILE= in the service)")?;
        let ask = Ask::Store {
            name: self.store.clone(),
        };
        let connected = egress.connect(&self.handler, ask, PATIENCE).await;
        let Connected { fd, .. } = connected.map_err(|failure| failure.to_string())?;
        let mut info = RedisConnectionInfo::default()
            .set_db(self.settings.database.into())
            .set_skip_set_lib_name();
        if let Some(user) = &self.settings.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.settings.password {
            info = info.set_password(password.reveal());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let failed = |error: &dyn Display| error.to_string();
        let is_tls = matches!(self.settings.address, RedisAddress::Tcp { tls: true, .. });
        let greeting_failed = |error: RedisError| match is_tls && is_of_the_connection(&error) {
            true => format!("{error} (if it asks for a certificate: `tls-certificate`)"),
            false => error.to_string(),
        };
        // What egress speaks TLS for comes as a Unix socket.
        let (mut connection, driver) = match self.settings.address {
            RedisAddress::Tcp { tls: false, .. } => {
                let stream = tokio::net::TcpStream::from_std(TcpStream::from(fd)).map_err(|e| failed(&e))?;
                let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
                let (connection, driver) = made.map_err(greeting_failed)?;
                (connection, tokio::spawn(driver))
            }
            RedisAddress::Tcp { tls: true, .. } | RedisAddress::Unix(_) => {
                let stream = tokio::net::UnixStream::from_std(UnixStream::from(fd)).map_err(|e| failed(&e))?;
                let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
                let (connection, driver) = made.map_err(greeting_failed)?;
                (connection, tokio::spawn(driver))
            }
        };
        // TLS 1.3: our handshake is over before the server finds that it was shown no certificate.
        if is_tls
            && let Err(error) = cmd("PING").query_async::<Value>(&mut connection).await
            && is_of_the_connection(&error)
        {
            return Err(greeting_failed(error));
        }
        Ok(Live { connection, driver })
    }
}

/// Has the connection failed, and not the command?
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// What the server says to a command.
fn told(error: &RedisError) -> Failure {
    let text = error.detail().unwrap_or_default();
    if text.contains("not an integer") {
        return StoreError::NotANumber.into();
    }
    if text.contains("overflow") {
        return StoreError::OutOfRange.into();
    }
    Failure::Unavailable(format!("the server of the store says: {error}"))
}

/// A pattern (`KEYS`) for what begins with this text.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "*"
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(pattern("a*b:[c]:"), "a\\*b:\\[c\\]:*");
        assert_eq!(pattern(""), "*");
    }
}
