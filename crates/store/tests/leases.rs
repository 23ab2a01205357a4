//! Records and leases: what a record lists is there, whoever ends leases, collects and compacts meanwhile.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng, SystemRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, StoreError, Ticket, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};

const NS: NamespaceId = NamespaceId(7);

/// Files written by one writer of the race.
const FILES: u64 = 400;

fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_sealed(key.as_bytes()), key }
}

fn grant(token: LeaseToken, key: &Key) -> LeaseGrant {
    LeaseGrant { token, namespace: NS, key: key.clone(), deadline_ms: 1_000_000 }
}

fn bytes(seed: u64) -> Bytes {
    let mut out = vec![0; 10_000];
    SeededRng::new(seed).fill(&mut out);
    out.into()
}

/// Stores a record that lists a token, as a node does.
fn list(store: &LogStore, key: &Key, version: u64, token: LeaseToken) -> Result<Ticket, StoreError> {
    let state = RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { tokens: vec![token], ..Live::default() }),
        operations: Vec::new(),
    };
    store.update(at(key), &mut |_| {
        store.list_leases(NS, key, &[token])?;
        Ok(Next::Store(RecordSlot { ballots: None, state: Some(state.clone()) }))
    })
}

fn remove(store: &LogStore, key: &Key) -> Ticket {
    store.update(at(key), &mut |_| Ok(Next::Remove { floor: Ballot { round: 1, proposer: 0 } })).unwrap()
}

fn listed(store: &LogStore, key: &Key) -> Option<LeaseToken> {
    let (state, _) = store.read(at(key), Want::Head).unwrap();
    state.and_then(|state| match state.content {
        Content::Live(live) => live.tokens.first().copied(),
        Content::Shadow(_) => None,
    })
}

/// Ends a lease unless its record lists it, as a node does.
fn end_if_unlisted(store: &LogStore, token: LeaseToken) {
    let Some(probe) = store.probe_lease(token) else { return };
    if listed(store, &probe.info.key) == Some(token) {
        store.let_be(&probe);
    } else {
        drop(store.end_unlisted(&probe).unwrap());
    }
}

fn small() -> LogConfig {
    LogConfig {
        segment_len: 64 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        threads: false,
        ..LogConfig::default()
    }
}

fn open(disk: &SimDisk) -> LogStore {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), small(), &mut SeededRng::new(1)).unwrap()
}

#[test]
fn a_record_may_list_only_what_is_held_and_its_own() {
    let store = open(&SimDisk::new());
    let (file, other) = (key("file"), key("other"));
    let token = LeaseToken([1; 16]);
    let error = list(&store, &file, 1, token).unwrap_err();
    assert_eq!(error.kind(), Kind::Retry, "{error}");
    assert!(listed(&store, &file).is_none(), "nothing was changed");
    drop(store.put(BlobId::of(&bytes(1)), bytes(1), &grant(token, &file)).unwrap());
    assert_eq!(list(&store, &other, 1, token).unwrap_err().kind(), Kind::Invalid);
    drop(list(&store, &file, 1, token).unwrap());
    assert_eq!(store.lease_info(token).unwrap().deadline_ms, None, "no deadline any more");
    // A version of the file, kept beside it.
    drop(list(&store, &key("file-version"), 1, token).unwrap());
    drop(store.release(token).unwrap());
    assert_eq!(list(&store, &file, 2, token).unwrap_err().kind(), Kind::Retry);
    store.pump().unwrap();
}

#[test]
fn a_lease_that_is_listed_while_somebody_looks_goes_on() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let file = key("file");
    let token = LeaseToken([1; 16]);
    drop(store.put(BlobId::of(&bytes(1)), bytes(1), &grant(token, &file)).unwrap());
    assert_eq!(store.leases_of(NS, file.as_bytes()), [token]);
    let first = store.probe_lease(token).unwrap();
    drop(list(&store, &file, 1, token).unwrap());
    assert!(store.end_unlisted(&first).unwrap().is_none(), "it was listed meanwhile");
    // Another look that began after does not stand in for the first.
    let second = store.probe_lease(token).unwrap();
    assert!(store.end_unlisted(&first).unwrap().is_none());
    drop(remove(&store, &file));
    assert!(store.end_unlisted(&second).unwrap().is_some());
    assert!(store.leases_of(NS, file.as_bytes()).is_empty());
    assert!(store.probe_lease(token).is_none());
    store.pump().unwrap();
    while store.collect(9).unwrap().more {}
    assert_eq!(BlobStore::usage(&store).blobs, 0);
    store.close().unwrap();
    let store = open(&disk);
    assert!(store.is_released(token));
    assert_eq!(list(&store, &file, 3, token).unwrap_err().kind(), Kind::Retry, "after a restart too");
}

/// Rounds of those who end leases, and of those who collect and compact.
type Rounds = [AtomicU64; 2];

/// Waits until both of these have made another round: however the processors are shared, it goes on meanwhile.
fn let_them_go_on(rounds: &Rounds) {
    let before = rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed));
    for (rounds, before) in rounds.iter().zip(before) {
        let mut waited_ms = 0;
        while rounds.load(Ordering::Relaxed) == before {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            waited_ms += 1;
            assert!(waited_ms < 120_000, "one of them ended");
        }
    }
}

/// One writer: new content under a new token each time, the record over the one before, at times removed.
/// Answers how many writes were told to send their content again.
fn write(store: &LogStore, writer: u64, rounds: &Rounds) -> u64 {
    let file = key(&format!("file-{writer:028}"));
    let mut again = 0;
    for number in 1..=FILES {
        let token = LeaseToken(SystemRng.array());
        // Contents repeat, so that blobs that are about to go are leased anew.
        let content = bytes(writer * FILES + number / 2);
        let id = BlobId::of(&content);
        let (present, _) = store.lease(&grant(token, &file), &[id]).unwrap();
        if !present[0] {
            drop(store.put(id, content.clone(), &grant(token, &file)).unwrap());
        }
        match list(store, &file, number, token) {
            Ok(ticket) => {
                // Others get their turn too.
                if number % 4 == 0 {
                    ticket.wait().unwrap();
                }
                assert_eq!(
                    store.get(id).unwrap().0.as_ref(),
                    Some(&content),
                    "writer {writer} file {number}"
                );
            }
            Err(StoreError::LeaseEnded { .. }) => again += 1,
            Err(error) => panic!("{error}"),
        }
        if number % 3 == 0 {
            drop(remove(store, &file));
        }
        if number % 20 == 0 {
            let_them_go_on(rounds);
        }
    }
    again
}

#[test]
fn what_a_record_lists_is_there_whatever_else_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { threads: true, segment_len: 128 << 10, ..small() };
    let store = LogStore::open(folder.path(), config, &mut SystemRng).unwrap();
    let writing = AtomicBool::new(true);
    let (again, freed, rounds) = (AtomicU64::new(0), AtomicU64::new(0), Rounds::default());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (store, again, rounds) = (&store, &again, &rounds);
                scope.spawn(move || again.fetch_add(write(store, writer, rounds), Ordering::Relaxed))
            })
            .collect();
        // Nothing tells it that a write is under way: whoever is too late is refused.
        scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                for token in store.lease_tokens() {
                    end_if_unlisted(&store, token);
                }
                rounds[0].fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                store.collect(64).unwrap();
                freed.fetch_add(store.compact(1 << 20).unwrap().freed_segments, Ordering::Relaxed);
                rounds[1].fetch_add(1, Ordering::Relaxed);
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        writing.store(false, Ordering::Relaxed);
    });
    println!("told to send again: {again:?}; segments freed: {freed:?}");
    assert!(freed.load(Ordering::Relaxed) > 3, "nothing was freed");
    assert!(again.load(Ordering::Relaxed) < 3 * FILES, "nothing was ever written");
}

#[cfg(feature = "planted")]
#[test]
fn a_lease_ended_although_it_was_listed_meanwhile_is_noticed() {
    larder_store::planted::plant("lease ended although it was listed meanwhile");
    let noticed = std::panic::catch_unwind(a_lease_that_is_listed_while_somebody_looks_goes_on).is_err();
    larder_store::planted::plant("");
    assert!(noticed);
}
