//! A real process on a real folder, killed with SIGKILL in the middle of its work, again and again: whatever
//! it said was durable is there at the next start, and nothing that it found was damaged.

#![allow(clippy::print_stdout, reason = "the child tells its parent what is durable")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng, SystemRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore, Want};
use larder_store::log::{LogConfig, LogStore};

/// How often the process is killed.
const KILLS: u64 = 12;

/// Set for the child: the folder it writes to.
const FOLDER: &str = "LARDER_TEST_KILLED_FOLDER";

fn config() -> LogConfig {
    LogConfig { segment_len: 1 << 20, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() }
}

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("key {number}"))).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NamespaceId(1), slot: Slot::of_raw(key.as_bytes()), key }
}

fn state(version: u64) -> RecordState {
    let mut body = vec![0; (version * 37 % 3_000) as usize];
    SeededRng::new(version).fill(&mut body);
    RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: body.into(), ..Live::default() }),
        operations: Vec::new(),
    }
}

/// Writes until it is killed, and prints what is durable.
fn write_for_ever(folder: &Path) {
    let store = LogStore::open(folder, config(), &mut SystemRng).unwrap();
    assert_eq!(store.open_report().lost, vec![]);
    let (_, start) = found(&store);
    for version in start + 1.. {
        let key = key(version % 50);
        let slot = RecordSlot { ballots: None, state: Some(state(version)) };
        let ticket = store.update(at(&key), &mut |_| Ok(Next::Store(slot.clone()))).unwrap();
        if version % 7 == 0 {
            ticket.wait().unwrap();
            println!("durable {version}");
        }
        if version % 200 == 0 {
            store.compact(1 << 20).unwrap();
        }
    }
}

/// Versions by key, and the highest; every value must be whole.
fn found(store: &LogStore) -> (BTreeMap<u64, u64>, u64) {
    let mut versions = BTreeMap::new();
    for number in 0..50 {
        let (found, _) = store.read(at(&key(number)), Want::All).unwrap();
        if let Some(found) = found {
            let version = found.version.to_u64();
            assert_eq!(found, state(version));
            versions.insert(number, version);
        }
    }
    let highest = versions.values().copied().max().unwrap_or(0);
    (versions, highest)
}

#[test]
fn a_killed_process_loses_nothing_that_it_said_was_durable() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut rng = SeededRng::new(1);
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "a_killed_process"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut durable = 0;
        let wanted = 1 + rng.below(60);
        for _ in 0..wanted {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            durable = line.strip_prefix("durable ").and_then(|v| v.parse().ok()).unwrap_or(durable);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            durable = line.strip_prefix("durable ").and_then(|v| v.parse().ok()).unwrap_or(durable);
        }
        let store = LogStore::open(folder.path(), config(), &mut SystemRng).unwrap();
        assert_eq!(store.open_report().lost, vec![]);
        let (versions, highest) = found(&store);
        assert!(highest >= durable, "durable {durable}, found {highest}");
        // Nothing is missing in between: each key has the last version below the highest that is its own.
        for (number, version) in versions {
            assert_eq!(version, (0..=highest).rev().find(|v| v % 50 == number).unwrap());
        }
        store.close().unwrap();
    }
}
