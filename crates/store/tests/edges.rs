//! What is refused before anything is written, and what must go on at the edges: too large records, deleting on
//! a full disk, file systems that cannot take space ahead, segments that hide others from compaction, damage
//! in the way, blobs that are not durable yet.

#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId, OperationId};
use larder_format::limits::VALUE_LEN_MAX;
use larder_format::record::{
    Ballot, Content, Expiry, Key, Live, OperationRecord, OperationResult, RecordSlot, RecordState,
    ShadowReason, Version,
};
use larder_format::rng::{Rng, SeededRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, StoreError, Ticket, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::disk::{Disk, OpenMode};
use larder_store::log::{LogConfig, LogStore};

const NS: NamespaceId = NamespaceId(7);

fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

fn bytes(seed: u64, len: usize) -> Bytes {
    let mut out = vec![0; len];
    SeededRng::new(seed).fill(&mut out);
    out.into()
}

fn state(version: u64, body: Bytes) -> RecordState {
    RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body, ..Live::default() }),
        operations: Vec::new(),
    }
}

fn store(store: &LogStore, key: &Key, state: RecordState) -> Result<Ticket, StoreError> {
    let mut next = Some(Next::Store(RecordSlot { ballots: None, state: Some(state) }));
    store.update(at(key), &mut |_| Ok(next.take().unwrap()))
}

fn put(to: &LogStore, name: &str, version: u64, len: usize) -> Result<Ticket, StoreError> {
    store(to, &key(name), state(version, bytes(version, len)))
}

fn body(store: &LogStore, name: &str) -> Result<Option<Bytes>, StoreError> {
    let (found, _) = store.read(at(&key(name)), Want::All)?;
    Ok(found.map(|state| match state.content {
        Content::Live(live) => live.body,
        other => panic!("{other:?}"),
    }))
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

fn open(disk: &SimDisk, config: LogConfig) -> LogStore {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap()
}

/// Takers whose results are remembered, of this many bytes together.
fn remembered(count: u8, len: usize) -> Vec<OperationRecord> {
    let result = |body| OperationResult::Taken {
        version: Version::from_u64(9),
        expiry: Expiry::NEVER,
        takes_left: 60,
        head: Bytes::new(),
        body,
    };
    let one = |id| OperationRecord {
        id: OperationId([id; 16]),
        deadline_ms: u64::MAX / 2,
        result: result(bytes(id.into(), len)),
    };
    (0..count).map(one).collect()
}

#[test]
fn what_could_never_be_read_back_is_refused_before_anything_is_written() {
    let disk = SimDisk::new();
    let config = LogConfig { segment_len: 256 << 20, ..small() };
    let log = open(&disk, config);
    put(&log, "other", 5, 100).unwrap();
    let mut wide = state(10, bytes(1, 10 << 20));
    wide.operations = remembered(4, 10 << 20);
    let mut many = state(10, bytes(1, 10));
    many.operations = (0..4).flat_map(|_| remembered(255, 1)).collect();
    let long = state(10, bytes(1, VALUE_LEN_MAX + 1));
    for (what, refused) in [("wide", wide), ("many", many), ("long", long)] {
        let error = store(&log, &key("burn"), refused).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{what}: {error}");
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(body(&log, "burn").unwrap(), None);
    }
    // The most that is taken can be read again.
    let mut most = state(10, bytes(1, VALUE_LEN_MAX));
    most.operations = remembered(3, 10 << 20);
    store(&log, &key("most"), most.clone()).unwrap();
    log.pump().unwrap();
    log.close().unwrap();
    let log = open(&disk, config);
    assert_eq!(log.open_report().lost, []);
    assert_eq!(log.read(at(&key("most")), Want::All).unwrap().0, Some(most));
    assert_eq!(body(&log, "other").unwrap(), Some(bytes(5, 100)));
}

#[test]
fn deleting_under_an_id_works_on_a_full_disk() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(512 << 10));
    let config = LogConfig { reserve_bytes: 32 << 10, margin_bytes: 64 << 10, ..small() };
    let log = open(&disk, config);
    let mut stored = 0;
    while put(&log, &format!("k{stored}"), stored + 1, 4000).is_ok() {
        log.pump().unwrap();
        stored += 1;
    }
    let shadow = RecordState {
        version: Version::from_u64(1_000),
        expiry: Expiry::NEVER,
        content: Content::Shadow(ShadowReason::Deleted),
        operations: remembered(1, 1_000),
    };
    for number in 0..stored / 2 {
        let ticket = store(&log, &key(&format!("k{number}")), shadow.clone()).unwrap();
        log.pump().unwrap();
        assert!(ticket.is_done() && ticket.wait().is_ok());
    }
    assert!(matches!(put(&log, "more", 1, 4000), Err(StoreError::DiskFull { .. })));
    while log.compact(1 << 20).unwrap().more {}
    put(&log, "more", 1, 4000).unwrap();
}

#[test]
fn a_file_system_that_cannot_take_space_ahead_gets_zeros() {
    let disk = SimDisk::new();
    disk.cannot_allocate();
    let config = LogConfig { reserve_bytes: 100_000, ..small() };
    drop(open(&disk, config));
    assert_eq!(disk.contents()["reserve"].len(), 100_000);
    // One that is too short is what a killed start left.
    let mut files = disk.contents();
    files.insert("reserve".into(), vec![0; 10]);
    for able in [false, true] {
        let disk = SimDisk::with_contents(&files);
        if !able {
            disk.cannot_allocate();
        }
        drop(open(&disk, config));
        assert_eq!(disk.contents()["reserve"].len(), 100_000);
    }
}

#[test]
fn a_short_segment_that_is_needed_hides_no_other_from_compaction() {
    let disk = SimDisk::new();
    let log = open(&disk, small());
    for number in 0..14 {
        put(&log, &format!("a{number}"), 1, 4000).unwrap();
    }
    // What comes after the next does not fit, so the second segment stays short.
    put(&log, "short", 1, 4000).unwrap();
    put(&log, "large0", 1, 58_000).unwrap();
    for number in 0..10 {
        put(&log, &format!("a{number}"), 2, 10).unwrap();
    }
    put(&log, "large1", 1, 58_000).unwrap();
    log.pump().unwrap();
    let before = disk.contents().keys().filter(|name| name.ends_with(".seg")).count();
    let mut freed = 0;
    loop {
        let report = log.compact(1 << 20).unwrap();
        freed += report.freed_segments;
        if !report.more {
            break;
        }
    }
    assert!(freed > 0, "{before} segments, the first of them mostly dead");
}

fn lease(number: u8) -> LeaseGrant {
    LeaseGrant { token: LeaseToken([number; 16]), namespace: NS, key: key("file"), deadline_ms: 1_000 }
}

/// Overwrites what follows these bytes in a segment, in the running store's files.
fn damage(disk: &SimDisk, segment: &str, needle: &[u8]) {
    let at = disk.contents()[segment].windows(needle.len()).position(|w| w == needle).unwrap();
    let file = disk.open(segment, OpenMode::ReadWrite).unwrap();
    file.write_at(at as u64, &[IoSlice::new(&vec![0xa5; needle.len()])]).unwrap();
}

#[test]
fn copies_made_before_damage_stops_compaction_are_used() {
    let disk = SimDisk::new();
    let log = open(&disk, small());
    put(&log, "first", 1, 4000).unwrap();
    put(&log, "dead", 2, 50_000).unwrap();
    let blob = bytes(77, 5000);
    log.put(BlobId::of(&blob), blob.clone(), &lease(1)).unwrap();
    put(&log, "dead", 3, 50_000).unwrap();
    log.pump().unwrap();
    damage(&disk, "00000001.seg", &blob[..32]);
    while log.compact(1 << 20).unwrap().more {}
    assert_eq!(log.get(BlobId::of(&blob)).unwrap_err().kind(), Kind::Damaged);
    damage(&disk, "00000001.seg", &bytes(1, 4000)[..32]);
    assert_eq!(body(&log, "first").unwrap(), Some(bytes(1, 4000)), "read from its copy");
}

#[test]
fn a_blob_that_is_not_durable_is_shown_with_a_ticket() {
    let disk = SimDisk::new();
    let log = open(&disk, small());
    let blob = bytes(1, 5000);
    let put = log.put(BlobId::of(&blob), blob.clone(), &lease(1)).unwrap();
    let (found, seen) = log.get(BlobId::of(&blob)).unwrap();
    assert_eq!(found, Some(blob.clone()));
    assert!(!put.is_done() && !seen.is_done());
    log.pump().unwrap();
    assert!(seen.is_done() && seen.wait().is_ok());
    assert!(log.get(BlobId::of(&blob)).unwrap().1.is_done());
    assert!(log.get(BlobId::of(b"absent")).unwrap().1.is_done());
}

#[test]
fn an_expired_record_whose_bytes_are_damaged_can_be_removed() {
    let disk = SimDisk::new();
    let log = open(&disk, small());
    let expiring = RecordState { expiry: Expiry::at_ms(5), ..state(1, bytes(1, 4000)) };
    store(&log, &key("old"), expiring).unwrap();
    log.pump().unwrap();
    damage(&disk, "00000001.seg", &bytes(1, 4000)[..32]);
    assert_eq!(body(&log, "old").unwrap_err().kind(), Kind::Damaged);
    let due = log.due(Hlc::from_ms(10), 10);
    assert_eq!(due.len(), 1);
    let mut remove = |current: &mut dyn larder_store::api::Current| {
        let meta = current.meta().unwrap();
        assert_eq!((meta.version, meta.expiry), (Version::from_u64(1), Expiry::at_ms(5)));
        assert_eq!(current.load().unwrap_err().kind(), Kind::Damaged);
        Ok(Next::Remove { floor: Ballot { round: meta.version.to_u64(), proposer: 0 } })
    };
    log.update(Address { namespace: due[0].0, slot: due[0].1, key: &due[0].2 }, &mut remove).unwrap();
    log.pump().unwrap();
    assert_eq!(log.due(Hlc::from_ms(10), 10).len(), 0);
    log.close().unwrap();
    assert_eq!(body(&open(&disk, small()), "old").unwrap(), None);
}
