//! What the store promises: to one process, about limits, and whatever is in the file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use wasm_sock_store::{Change, Changed, Database, LEAST_QUOTA, MOST_KEY, Observed, Patience, StoreError, What};

const WAIT: Patience = Patience::Wait(Duration::from_secs(10));
const QUOTA: u64 = 1 << 30;

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("keyvalue.sqlite")
}

fn open(folder: &TempDir) -> Database {
    Database::open_or_make(&file(folder), QUOTA, WAIT).expect("a store")
}

fn change(what: What) -> Change {
    Change {
        store: "default".to_owned(),
        lifetime: None,
        what,
    }
}

fn set(key: &str, value: &[u8]) -> Change {
    change(What::Set(vec![(key.to_owned(), value.to_vec())]))
}

fn increment(key: &str, delta: i64) -> Change {
    change(What::Increment {
        key: key.to_owned(),
        delta,
    })
}

fn commit(database: &mut Database, change: Change) -> Result<Changed, StoreError> {
    database.commit(&[change]).pop().expect("a result")
}

#[test]
fn what_was_set_is_there_until_it_is_deleted_and_only_in_its_store() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    commit(&mut database, set("a", b"\x00\xff")).unwrap();
    commit(&mut database, set("a\0b", b"2")).unwrap();
    assert_eq!(database.get("default", "a").unwrap().as_deref(), Some(&b"\x00\xff"[..]));
    assert_eq!(database.get("default", "a\0b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(database.get("other", "a").unwrap(), None);
    commit(&mut database, set("a", b"")).unwrap();
    drop(database);
    let mut database = open(&folder);
    assert_eq!(
        database.get("default", "a").unwrap().as_deref(),
        Some(&b""[..]),
        "an empty value is a value"
    );
    commit(
        &mut database,
        change(What::Delete(vec!["a".to_owned(), "none".to_owned()])),
    )
    .unwrap();
    assert!(!database.exists("default", "a").unwrap());
    assert!(database.exists("default", "a\0b").unwrap());
}

#[test]
fn a_change_that_fails_fails_alone() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let long = "k".repeat(MOST_KEY + 1);
    let changes = [
        set("text", b"x"),
        increment("text", 1),
        set(&long, b"1"),
        increment("n", 5),
        increment("n", -7),
    ];
    let results = database.commit(&changes);
    assert_eq!(
        results,
        [
            Ok(Changed::Done),
            Err(StoreError::NotANumber),
            Err(StoreError::KeyTooLong),
            Ok(Changed::Number(5)),
            Ok(Changed::Number(-2)),
        ]
    );
    assert_eq!(database.get("default", "n").unwrap().as_deref(), Some(&b"-2"[..]));
    commit(&mut database, increment("n", i64::MIN + 2)).unwrap();
    assert_eq!(commit(&mut database, increment("n", -1)), Err(StoreError::OutOfRange));
}

#[test]
fn a_change_that_exceeds_the_quota_is_refused_its_neighbours_are_not_and_deleting_makes_room() {
    let folder = TempDir::new().unwrap();
    let mut database = Database::open_or_make(&file(&folder), LEAST_QUOTA, WAIT).unwrap();
    let large = vec![b'x'; LEAST_QUOTA as usize];
    let results = database.commit(&[set("a", b"1"), set("large", &large), set("b", b"2")]);
    assert_eq!(results, [Ok(Changed::Done), Err(StoreError::Quota), Ok(Changed::Done)]);
    assert_eq!(database.get("default", "large").unwrap(), None);
    let mut stored = 0;
    while commit(&mut database, set(&format!("k{stored}"), &[b'x'; 1000])).is_ok() {
        stored += 1;
    }
    assert!((20..64).contains(&stored), "{stored} values of 1000 bytes in 64 KiB");
    let keys = (0..stored).map(|key| format!("k{key}")).collect();
    commit(&mut database, change(What::Delete(keys))).expect("deleting needs no room");
    commit(&mut database, set("k", &[b'x'; 20_000])).expect("room again");
    database.tidy().unwrap();
    assert!(fs::metadata(file(&folder)).unwrap().len() <= LEAST_QUOTA);
}

#[test]
fn several_values_are_set_wholly_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let mut database = Database::open_or_make(&file(&folder), LEAST_QUOTA, WAIT).unwrap();
    let many = (0..100).map(|key| (format!("k{key}"), vec![b'x'; 1000])).collect();
    assert_eq!(commit(&mut database, change(What::Set(many))), Err(StoreError::Quota));
    assert_eq!(database.keys("default", None, 0).unwrap().keys, [""; 0]);
}

#[test]
fn a_swap_is_made_only_if_nothing_has_changed_since() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let swap = |observed, value: &[u8]| {
        change(What::Swap {
            key: "a".to_owned(),
            observed,
            value: value.to_vec(),
        })
    };
    let nothing = database.observe("default", "a").unwrap();
    assert_eq!(commit(&mut database, swap(nothing, b"1")), Ok(Changed::Done));
    let one = Observed::of(Some(b"1"));
    assert_eq!(commit(&mut database, swap(nothing, b"2")), Ok(Changed::NotSwapped(one)));
    // Two of the same transaction: the second is too late.
    let results = database.commit(&[swap(one, b"2"), swap(one, b"3")]);
    assert_eq!(
        results,
        [Ok(Changed::Done), Ok(Changed::NotSwapped(Observed::of(Some(b"2"))))]
    );
    assert_eq!(database.get("default", "a").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn an_expired_entry_is_gone_and_its_room_is_used_again() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let brief = |what| Change {
        lifetime: Some(Duration::ZERO),
        ..change(what)
    };
    commit(&mut database, brief(What::Set(vec![("a".to_owned(), b"1".to_vec())]))).unwrap();
    assert_eq!(database.get("default", "a").unwrap(), None);
    assert!(!database.exists("default", "a").unwrap());
    assert_eq!(database.keys("default", None, 0).unwrap().keys, [""; 0]);
    // What has expired counts for nothing: a counter begins anew.
    let results = database.commit(&[brief(What::Increment {
        key: "n".to_owned(),
        delta: 5,
    })]);
    assert_eq!(results, [Ok(Changed::Number(5))]);
    assert_eq!(commit(&mut database, increment("n", 1)), Ok(Changed::Number(1)));
    // The time of expiry is that of the counter's first increment.
    let hour = Change {
        lifetime: Some(Duration::from_secs(3600)),
        ..increment("period", 1)
    };
    database.commit(&[hour]);
    commit(&mut database, increment("period", 1)).unwrap();
    let mut expires = Vec::new();
    database
        .for_each(|entry| Ok::<(), StoreError>(expires.push((entry.key, entry.expires.is_some()))))
        .unwrap();
    assert_eq!(expires, [("n".to_owned(), false), ("period".to_owned(), true)]);
}

#[test]
fn all_keys_are_listed_in_parts() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let entries = (0..2500).map(|key| (format!("{key:05}"), Vec::new())).collect();
    commit(&mut database, change(What::Set(entries))).unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let part = database.keys("default", after.as_deref(), 0).unwrap();
        after = part.keys.last().cloned();
        found.extend(part.keys);
        if !part.more {
            break;
        }
    }
    assert_eq!(found, (0..2500).map(|key| format!("{key:05}")).collect::<Vec<_>>());
    let skipped = database.keys("default", None, 2499).unwrap();
    assert_eq!((skipped.keys, skipped.more), (vec!["02499".to_owned()], false));
}

#[test]
fn what_was_never_stored_is_missing_and_files_of_others_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let missing = Database::open(&file(&folder), QUOTA, WAIT).err();
    assert_eq!(missing, Some(StoreError::Missing));
    assert!(!file(&folder).exists(), "looking for it does not make it");
    fs::write(file(&folder), "this is no database\n".repeat(1000)).unwrap();
    let damaged = Database::open_or_make(&file(&folder), QUOTA, WAIT).err();
    assert!(matches!(damaged, Some(StoreError::Damaged(_))), "{damaged:?}");
    let other = rusqlite::Connection::open(folder.path().join("other")).unwrap();
    other.execute_batch("PRAGMA user_version = 7").unwrap();
    let unknown = Database::open_or_make(&folder.path().join("other"), QUOTA, WAIT).err();
    assert!(matches!(unknown, Some(StoreError::Unknown(_))), "{unknown:?}");
}

/// A generator of numbers that is the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Reading and changing a damaged file yields errors or values, and never ends the process: this test would end.
#[test]
fn no_damage_of_the_file_or_its_log_does_more_than_make_calls_fail() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let entries =
        |range: std::ops::Range<u32>, value| range.map(|key| (format!("{key:05}"), vec![value; 300])).collect();
    commit(&mut database, change(What::Set(entries(0..2000, b'x')))).unwrap();
    database.tidy().unwrap();
    commit(&mut database, change(What::Set(entries(1000..1300, b'y')))).unwrap();
    let log = folder.path().join("keyvalue.sqlite-wal");
    let (whole, whole_log) = (fs::read(file(&folder)).unwrap(), fs::read(&log).unwrap());
    assert!(!whole_log.is_empty());
    drop(database);
    let (mut random, mut failed) = (Random(0x5eed), 0);
    for round in 0..120 {
        let (mut bytes, mut log_bytes) = (whole.clone(), whole_log.clone());
        let victim = if round % 4 == 3 { &mut log_bytes } else { &mut bytes };
        match round % 3 {
            0 => victim.truncate(random.below(victim.len())),
            kind => {
                for _ in 0..[1, 200][kind - 1] {
                    let at = random.below(victim.len());
                    victim[at] = random.below(256) as u8;
                }
            }
        }
        fs::write(file(&folder), &bytes).unwrap();
        fs::write(&log, &log_bytes).unwrap();
        let _ = fs::remove_file(folder.path().join("keyvalue.sqlite-shm"));
        match Database::open(&file(&folder), QUOTA, WAIT) {
            Err(_) => failed += 1,
            Ok(mut database) => {
                let mut errors = 0;
                for key in (0..2000).step_by(29) {
                    errors += usize::from(database.get("default", &format!("{key:05}")).is_err());
                }
                errors += usize::from(database.keys("default", None, 0).is_err());
                errors += usize::from(commit(&mut database, set("new", b"x")).is_err());
                failed += usize::from(errors > 0);
            }
        }
    }
    assert!(failed > 30, "{failed} with errors: it is damage that was tested");
}
