//! Opening the file, and making it.

use crate::{LEAST_QUOTA, PAGE, StoreError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `application_id` of the file (`sqlite3_file_control(3)` knows none of this number): "wsk1".
const APPLICATION: i32 = 0x7773_6b31;
/// `user_version` of the file: its format.
const VERSION: i32 = 1;

/// How often, and after which pause, another process is waited for that makes the same file: 5 s.
const ATTEMPTS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Statements that are kept prepared.
const STATEMENTS: usize = 16;

/// How long to wait for another process that has locked the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: [`StoreError::Busy`]. For threads that must not block.
    None,
    /// At most this long.
    Wait(Duration),
}

/// The file, opened. One thread uses it at a time.
pub struct Database {
    pub(crate) connection: Connection,
    pub(crate) file: PathBuf,
    quota: u64,
    /// The number of the file (inode).
    number: u64,
    /// Were the settings for changes made?
    is_writer: bool,
}

impl Database {
    /// Opens the file. `quota` is the most that it may grow to, in bytes.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not there; [`StoreError::Damaged`] and [`StoreError::Unknown`] when it is no
    /// store.
    pub fn open(file: &Path, quota: u64, patience: Patience) -> Result<Self, StoreError> {
        let mut database = Self::connect(file, quota, patience, OpenFlags::empty())?;
        database.version()?.ok_or(StoreError::Missing)?;
        database.number = number(file);
        Ok(database)
    }

    /// Opens the file, and makes it if it is not there. Waits for the disk.
    ///
    /// # Errors
    /// Those of [`Self::open`], and [`StoreError::DiskFull`].
    pub fn open_or_make(file: &Path, quota: u64, patience: Patience) -> Result<Self, StoreError> {
        let mut database = Self::connect(file, quota, patience, OpenFlags::SQLITE_OPEN_CREATE)?;
        if database.version()?.is_none() {
            database.make()?;
        }
        database.number = number(file);
        Ok(database)
    }

    fn connect(file: &Path, quota: u64, patience: Patience, create: OpenFlags) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let connection =
            Connection::open_with_flags(file, flags).map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::CannotOpen) if create.is_empty() && !file.exists() => StoreError::Missing,
                Some(ErrorCode::CannotOpen) => StoreError::Failed(format!("{} cannot be opened", file.display())),
                _ => error.into(),
            })?;
        let mut database = Self {
            connection,
            file: file.to_owned(),
            quota: quota.max(LEAST_QUOTA),
            number: 0,
            is_writer: false,
        };
        database.wait(patience)?;
        let connection = &database.connection;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Nothing that the file's schema says is executed, beside tables and indices.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        Ok(database)
    }

    /// Is it still the file of this name? An administrator may have moved it away.
    pub fn is_in_place(&self) -> bool {
        number(&self.file) == self.number
    }

    fn wait(&mut self, patience: Patience) -> Result<(), StoreError> {
        match patience {
            Patience::None => self.connection.busy_timeout(Duration::ZERO)?,
            Patience::Wait(most) => {
                // SQLite's own pauses grow to 100 ms, during which several others have their turn.
                let mut waited = Duration::ZERO;
                self.connection.busy_handler(Some(move |attempt: i32| {
                    if attempt == 0 {
                        waited = Duration::ZERO;
                    }
                    let pause = Duration::from_micros(100 << attempt.clamp(0, 5));
                    waited += pause;
                    std::thread::sleep(pause);
                    waited < most
                }))?;
            }
        }
        Ok(())
    }

    /// Is there a store of this version in the file? `None`: there is nothing in it.
    fn version(&self) -> Result<Option<()>, StoreError> {
        let number = |pragma| self.connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
        match (number("PRAGMA user_version")?, number("PRAGMA application_id")?) {
            (0, 0) => Ok(None),
            (VERSION, APPLICATION) => Ok(Some(())),
            (version, APPLICATION) => Err(StoreError::Unknown(format!("version {version}"))),
            _ => Err(StoreError::Unknown("it belongs to another program".to_owned())),
        }
    }

    /// Makes the table. Another process may do the same at the same time, and may be killed at any point.
    fn make(&mut self) -> Result<(), StoreError> {
        self.enable_wal()?;
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        transaction.execute_batch(
            // With row numbers: without them, a value of more than 1 KB would take a page of its own.
            "CREATE TABLE IF NOT EXISTS entries(
               store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires INTEGER, PRIMARY KEY(store, key)
             ) STRICT;
             CREATE INDEX IF NOT EXISTS expiry ON entries(expires) WHERE expires IS NOT NULL;",
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        Ok(transaction.commit()?)
    }

    /// Turns the write-ahead log on, which is kept in the file. SQLite does not wait for others here, because two that
    /// have read the file and want to change it would wait for each other.
    fn enable_wal(&self) -> Result<(), StoreError> {
        for attempt in 1.. {
            let mode = self
                .connection
                .query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
            match mode.map_err(StoreError::from) {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(mode) => return Err(StoreError::Failed(format!("the file system allows no WAL ({mode})"))),
                Err(StoreError::Busy) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Busy)
    }

    /// Makes the settings for changes: the quota, and that a commit is on the disk.
    pub(crate) fn become_writer(&mut self) -> Result<(), StoreError> {
        if self.is_writer {
            return Ok(());
        }
        // A limit below the size that the file has is the size that it has.
        let pages = i64::try_from(self.quota / PAGE).unwrap_or(i64::MAX);
        let set = |pragma: String| self.connection.query_row(&pragma, [], |_| Ok(()));
        set(format!("PRAGMA max_page_count = {pages}"))?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.is_writer = true;
        Ok(())
    }

    /// Is it the quota because of which nothing can be added, and not the file system?
    pub(crate) fn is_out_of_quota(&self) -> bool {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let free = rustix::fs::statvfs(folder).map(|system| system.f_bavail.saturating_mul(system.f_frsize));
        // The log may need as much as the file.
        free.is_ok_and(|free| free > crate::MOST_VALUE as u64)
    }

    /// Moves what is in the log into the file and empties the log, so that who opens the file next has nothing to
    /// replay. Waits for the disk. While others read or write, a part of it stays.
    ///
    /// # Errors
    /// Those of [`crate::Change`]; nothing is lost by them.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        match checkpoint.map_err(StoreError::from) {
            Err(StoreError::Busy) => Ok(()),
            result => result,
        }
    }
}

fn number(file: &Path) -> u64 {
    rustix::fs::stat(file).map_or(0, |stat| stat.st_ino)
}
