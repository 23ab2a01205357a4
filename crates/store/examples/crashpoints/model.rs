//! What a store must hold, in the simplest form that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Ballot, Ballots, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_format::slot::{SLOTS, Slot};
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, ScanRequest, StoreError, Want};
use larder_store::log::LogStore;

/// Keys, blobs and tokens there are in a workload.
pub(crate) const KEYS: u8 = 6;
pub(crate) const BLOBS: u8 = 5;
pub(crate) const TOKENS: u8 = 8;

pub(crate) const NS: NamespaceId = NamespaceId(7);

/// One record: the version that its bytes are made from, their length, and ballots by round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) version: Option<u64>,
    pub(crate) len: u16,
    pub(crate) promised: Option<u64>,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) blobs: BTreeSet<u8>,
}

/// Everything a store can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<u8, Record>,
    /// By slot group.
    pub(crate) floors: BTreeMap<u16, u64>,
    pub(crate) time_ms: u64,
    pub(crate) leases: BTreeMap<u8, Lease>,
    pub(crate) spent: BTreeSet<u8>,
}

pub(crate) fn key(number: u8) -> Key {
    Key::new(Bytes::from(format!("key-{number}"))).unwrap()
}

pub(crate) fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

pub(crate) fn group(number: u8) -> u16 {
    Slot::of_raw(key(number).as_bytes()).number() / (SLOTS / 64)
}

pub(crate) fn token(number: u8) -> LeaseToken {
    LeaseToken([number + 1; 16])
}

/// Bytes that tell which seed they were made from.
pub(crate) fn bytes(seed: u64, len: usize) -> Bytes {
    let mut out = vec![0; len];
    SeededRng::new(seed).fill(&mut out);
    out.into()
}

pub(crate) fn blob(number: u8) -> (BlobId, Bytes) {
    let bytes = bytes(1_000 + u64::from(number), 900 + 1_100 * usize::from(number));
    (BlobId::of(&bytes), bytes)
}

pub(crate) fn state(version: u64, len: u16) -> RecordState {
    RecordState {
        version: Version::from_u64(version),
        expiry: if version.is_multiple_of(3) { Expiry::at_ms(version) } else { Expiry::NEVER },
        content: Content::Live(Live {
            takes_left: None,
            tokens: Vec::new(),
            head: bytes(version ^ 77, 20),
            body: bytes(version, len.into()),
        }),
        operations: Vec::new(),
    }
}

pub(crate) fn ballots(round: u64) -> Ballots {
    Ballots { promised: Ballot { round, proposer: 1 }, accepted: Ballot { round, proposer: 2 } }
}

pub(crate) fn slot(record: &Record) -> RecordSlot {
    RecordSlot {
        ballots: record.promised.map(ballots),
        state: record.version.map(|version| state(version, record.len)),
    }
}

pub(crate) fn grant(number: u8, deadline_ms: u64) -> LeaseGrant {
    LeaseGrant { token: token(number), namespace: NS, key: key(number % KEYS), deadline_ms }
}

/// Asks a store everything; `shape` says which blobs leases should keep.
pub(crate) fn dump(store: &LogStore, shape: &Model) -> Result<Model, StoreError> {
    let mut found = Model { time_ms: store.time().ms(), ..Model::default() };
    for number in 0..KEYS {
        let key = key(number);
        let (held, _) = store.read(at(&key), Want::All)?;
        let (mut promised, mut floor) = (None, 0);
        let mut loaded = None;
        let mut look = |current: &mut dyn larder_store::api::Current| {
            promised = current.ballots();
            floor = current.floor().round;
            loaded = current.load()?;
            Ok(Next::Keep)
        };
        drop(store.update(at(&key), &mut look)?);
        if loaded != held {
            return Err(StoreError::Invalid { what: "read and load differ".into() });
        }
        if floor > 0 {
            found.floors.insert(group(number), floor);
        }
        if held.is_none() && promised.is_none() {
            continue;
        }
        let version = held.as_ref().map(|held| held.version.to_u64());
        let len = held.as_ref().map_or(0, |held| held.value_len().saturating_sub(20) as u16);
        if held != version.map(|version| state(version, len)) {
            return Err(StoreError::Invalid { what: "a value is not what any version was".into() });
        }
        found.records.insert(number, Record { version, len, promised: promised.map(|b| b.promised.round) });
    }
    check_scan(store, &found)?;
    for number in 0..TOKENS {
        if store.is_released(token(number)) {
            found.spent.insert(number);
        }
        let Some(info) = store.lease_info(token(number)) else { continue };
        let blobs = shape.leases.get(&number).map(|lease| lease.blobs.clone()).unwrap_or_default();
        if info.blobs == blobs.len() as u64 {
            for number in &blobs {
                let (id, bytes) = blob(*number);
                if store.get(id)?.0 != Some(bytes) {
                    return Err(StoreError::Invalid { what: "a leased blob is missing".into() });
                }
            }
        }
        // A lease of another size cannot be the one expected: any other set shows that.
        let blobs = if info.blobs == blobs.len() as u64 { blobs } else { BTreeSet::from([u8::MAX]) };
        found.leases.insert(number, Lease { deadline_ms: info.deadline_ms, blobs });
    }
    Ok(found)
}

/// A scan shows exactly what single reads show.
fn check_scan(store: &LogStore, found: &Model) -> Result<(), StoreError> {
    let request = ScanRequest {
        prefix: Bytes::from_static(b"key-"),
        cursor: Bytes::new(),
        limit: 100,
        key_len_max: 100,
        want: Want::Head,
    };
    let page = store.scan(NS, &request)?;
    let scanned: Vec<u64> = page.records.iter().map(|(_, state)| state.version.to_u64()).collect();
    let read: Vec<u64> = found.records.values().filter_map(|record| record.version).collect();
    if scanned != read || !page.damaged.is_empty() {
        return Err(StoreError::Invalid { what: "a scan differs from reads".into() });
    }
    let due = found.records.values().filter(|r| r.version.is_some_and(|v| v.is_multiple_of(3))).count();
    if store.due(Hlc::MAX, 100).len() != due {
        return Err(StoreError::Invalid { what: "due differs from reads".into() });
    }
    Ok(())
}
