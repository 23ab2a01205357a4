//! What each namespace holds is known without counting: after every step the counters are what a recount by another
//! way says, also after a restart and a crash; and nothing is taken beyond a limit, however many ask at once.

#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, StoreError, Ticket};
use larder_store::disk::sim::{Loss, SimDisk};
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};
use larder_store::used::{Reach, UsedNow};

const SPACES: u64 = 3;

/// What the store should hold, kept by hand.
#[derive(Default)]
struct Model {
    records: BTreeMap<(u64, u64), u64>,
    leases: BTreeMap<u64, (u64, BTreeSet<u64>)>,
}

impl Model {
    fn recount(&self, space: u64) -> UsedNow {
        let sizes: Vec<u64> =
            self.records.iter().filter(|((s, _), _)| *s == space).map(|(_, size)| *size).collect();
        let leases = self.leases.values().filter(|(s, _)| *s == space);
        let blobs: BTreeSet<u64> = leases.flat_map(|(_, blobs)| blobs.iter().copied()).collect();
        UsedNow {
            records: sizes.len() as u64,
            record_bytes: sizes.iter().sum(),
            blobs: blobs.len() as u64,
            blob_bytes: blobs.iter().map(|seed| blob(*seed).len() as u64).sum(),
            limit: None,
        }
    }
}

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("key {number}"))).unwrap()
}

fn at(space: u64, key: &Key) -> Address<'_> {
    Address { namespace: NamespaceId(space + 1), slot: Slot::of_raw(key.as_bytes()), key }
}

fn blob(seed: u64) -> Bytes {
    let mut out = vec![0; 500 + 97 * seed as usize];
    SeededRng::new(seed).fill(&mut out);
    out.into()
}

fn token(number: u64) -> LeaseToken {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&number.to_le_bytes());
    LeaseToken(token)
}

fn grant(number: u64, space: u64) -> LeaseGrant {
    LeaseGrant {
        token: token(number),
        namespace: NamespaceId(space + 1),
        key: key(number),
        deadline_ms: 1_000_000,
    }
}

fn put(store: &dyn RecordStore, at: Address<'_>, version: u64, len: usize) -> Result<Ticket, StoreError> {
    let state = RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: vec![7; len].into(), ..Live::default() }),
        operations: Vec::new(),
    };
    let slot = RecordSlot { ballots: None, state: Some(state) };
    store.update(at, &mut |_| Ok(Next::Store(slot.clone())))
}

fn open(disk: &SimDisk) -> LogStore {
    let config = LogConfig {
        segment_len: 64 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        threads: false,
        ..LogConfig::default()
    };
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap()
}

fn assert_same(store: &LogStore, model: &Model, when: &str) {
    for space in 0..SPACES {
        let used = store.used().of(NamespaceId(space + 1)).look();
        assert_eq!(used, model.recount(space), "namespace {space}, {when}");
    }
}

/// One random step, in the store and in the model.
fn step(store: &LogStore, model: &mut Model, rng: &mut SeededRng, version: u64) {
    let (space, number) = (rng.u64() % SPACES, rng.u64() % 40);
    match rng.u64() % 8 {
        0 | 1 => {
            let len = (rng.u64() % 3000) as usize;
            let key = key(number);
            put(store, at(space, &key), version, len).unwrap();
            model.records.insert((space, number), (len + key.as_bytes().len()) as u64);
        }
        2 => {
            let key = key(number);
            let floor = Ballot { round: version, proposer: 0 };
            store.update(at(space, &key), &mut |_| Ok(Next::Remove { floor })).unwrap();
            model.records.remove(&(space, number));
        }
        3..=5 => {
            // A token belongs to one namespace for good.
            let space = number % SPACES;
            let seed = rng.u64() % 15;
            let kept = |model: &Model| model.leases.values().any(|(_, blobs)| blobs.contains(&seed));
            let id = BlobId::of(&blob(seed));
            let done = if rng.u64().is_multiple_of(2) && kept(model) {
                store.lease(&grant(number, space), &[id]).map(|_| ())
            } else {
                store.put(id, blob(seed), &grant(number, space)).map(|_| ())
            };
            match done {
                Ok(()) => {
                    model.leases.entry(number).or_insert((space, BTreeSet::new())).1.insert(seed);
                }
                Err(error) => assert!(error.to_string().contains("token was released"), "{error}"),
            }
        }
        6 => {
            store.release(token(number)).unwrap();
            model.leases.remove(&number);
        }
        _ => {
            store.pump().unwrap();
            store.collect(100).unwrap();
            store.compact(100_000).unwrap();
        }
    }
}

#[test]
fn the_counters_are_what_a_recount_says_at_every_step_and_after_restarts_and_crashes() {
    for seed in 0..12 {
        let mut rng = SeededRng::new(seed);
        let disk = SimDisk::new();
        let (mut disk, mut model) = (disk, Model::default());
        let mut store = open(&disk);
        let mut version = 1;
        for round in 0..6 {
            for _ in 0..60 {
                version += 1;
                step(&store, &mut model, &mut rng, version);
                assert_same(&store, &model, &format!("seed {seed} round {round}"));
            }
            store.raise_time(Hlc::from_ms(version)).unwrap();
            store.pump().unwrap();
            if round % 2 == 0 {
                store.close().unwrap();
            } else {
                let after = disk.crash(Loss::Everything);
                drop(store);
                disk = after;
            }
            store = open(&disk);
            assert_same(&store, &model, &format!("seed {seed} opened after round {round}"));
        }
    }
}

#[test]
fn memory_and_log_count_into_one_table() {
    let store = open(&SimDisk::new());
    let memory = MemoryTable::counting(MemoryConfig { cap_bytes: 0, hash_seed: 5 }, store.used().clone());
    let (a, b) = (key(1), key(2));
    put(&memory, at(0, &a), 1, 100).unwrap();
    put(&memory, at(0, &a), 2, 30).unwrap();
    put(&memory, at(0, &b), 3, 5).unwrap();
    put(&store, at(1, &b), 3, 5).unwrap();
    let used = |space: u64| store.used().of(NamespaceId(space + 1)).look();
    assert_eq!((used(0).records, used(0).record_bytes), (2, 30 + 5 + 10));
    assert_eq!((used(1).records, used(1).record_bytes), (1, 10));
    let floor = Ballot { round: 9, proposer: 0 };
    memory.update(at(0, &a), &mut |_| Ok(Next::Remove { floor })).unwrap();
    assert_eq!((used(0).records, used(0).record_bytes), (1, 10));
}

#[test]
fn blobs_are_refused_at_the_limit_once_for_each_namespace_and_what_is_held_costs_nothing() {
    let store = open(&SimDisk::new());
    let used = store.used().of(NamespaceId(1));
    let len = blob(3).len() as u64;
    // What blobs leave to records.
    let room = 2 * (32 + 4) * 1024;
    used.set_limit(Some(room + len));
    let id = BlobId::of(&blob(3));
    store.put(id, blob(3), &grant(1, 0)).unwrap();
    store.put(id, blob(3), &grant(2, 0)).unwrap();
    store.lease(&grant(4, 0), &[id]).unwrap();
    let other = BlobId::of(&blob(4));
    let refused = store.put(other, blob(4), &grant(1, 0)).err().unwrap();
    assert_eq!(refused.kind(), Kind::Full, "{refused}");
    assert!(refused.to_string().contains("quota of the namespace"), "{refused}");
    assert!(store.get(other).unwrap().0.is_none(), "nothing is half there");
    // In another namespace it may lie, but not be leased from here.
    store.put(other, blob(4), &grant(0, 1)).unwrap();
    assert_eq!(store.lease(&grant(5, 0), &[other]).unwrap_err().kind(), Kind::Full);
    assert!(store.lease_info(token(5)).is_none());
    assert_eq!((used.look().blobs, used.look().blob_bytes), (1, len));
    for number in [1, 2, 4] {
        store.release(token(number)).unwrap();
    }
    assert_eq!(used.look().bytes(), 0);
    store.put(id, blob(3), &grant(7, 0)).unwrap();
}

#[test]
fn many_who_ask_at_once_never_get_more_than_the_limit() {
    let store = open(&SimDisk::new());
    let memory = MemoryTable::counting(MemoryConfig { cap_bytes: 0, hash_seed: 5 }, store.used().clone());
    let used = store.used().of(NamespaceId(1));
    used.set_limit(Some(100_000));
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (memory, used, most) = (&memory, &used, &most);
            scope.spawn(move || {
                for number in 0..2_000 {
                    let key = key(thread * 10_000 + number % 400);
                    let Ok(reserved) = used.reserve(1_000, Reach::Before(0)) else { continue };
                    put(memory, at(0, &key), number + 1, 900).unwrap();
                    drop(reserved);
                    most.fetch_max(used.look().bytes(), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(used.look().bytes() <= 100_000 && most.load(Ordering::Relaxed) <= 100_000);
    assert!(used.look().bytes() > 90_000, "{:?}", used.look());
}
