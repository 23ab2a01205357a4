//! What happens at the edges: a full disk, a full memory, newer data, folders that cannot be used, a log that
//! has failed, more at once than fits the queue.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]
#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng, SystemRng};
use larder_format::segment::{LOG_FORMAT, Stamp, StampKind};
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, StoreError, Ticket, Want};
use larder_store::disk::sim::{Fault, Loss, SimDisk};
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};

const NS: NamespaceId = NamespaceId(7);

fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

fn put(store: &dyn RecordStore, key: &Key, version: u64, len: usize) -> Result<Ticket, StoreError> {
    let mut body = vec![0; len];
    SeededRng::new(version).fill(&mut body);
    let state = RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: body.into(), ..Live::default() }),
        operations: Vec::new(),
    };
    let mut next = Some(Next::Store(RecordSlot { ballots: None, state: Some(state) }));
    store.update(at(key), &mut |_| Ok(next.take().unwrap()))
}

fn remove(store: &dyn RecordStore, key: &Key) -> Result<Ticket, StoreError> {
    store.update(at(key), &mut |_| Ok(Next::Remove { floor: Ballot { round: 9, proposer: 0 } }))
}

fn small() -> LogConfig {
    LogConfig {
        segment_len: 64 << 10,
        reserve_bytes: 32 << 10,
        margin_bytes: 16 << 10,
        threads: false,
        ..LogConfig::default()
    }
}

fn open(disk: &SimDisk, config: LogConfig) -> Result<LogStore, StoreError> {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1))
}

#[test]
fn on_a_full_disk_writers_are_told_and_deleting_gives_the_space_back() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(512 << 10));
    let store = open(&disk, small()).unwrap();
    let mut stored = 0;
    let error = loop {
        match put(&store, &key(&format!("k{stored}")), stored + 1, 4000) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        store.pump().unwrap();
    };
    assert_eq!(error.kind(), Kind::Full, "{error}");
    assert!(stored > 50, "only {stored} records fitted");
    for number in 0..stored - 5 {
        let ticket = remove(&store, &key(&format!("k{number}"))).unwrap();
        store.pump().unwrap();
        assert!(ticket.is_done() && ticket.wait().is_ok());
    }
    while store.compact(1 << 20).unwrap().more {}
    for number in 0..stored / 2 {
        put(&store, &key(&format!("new{number}")), 1_000 + number, 4000).unwrap();
        store.pump().unwrap();
        while store.compact(1 << 20).unwrap().more {}
    }
    store.close().unwrap();
    let store = open(&disk, small()).unwrap();
    assert_eq!(RecordStore::usage(&store).records, 5 + stored / 2);
}

#[test]
fn space_taken_by_somebody_else_is_met_with_the_reserve() {
    let disk = SimDisk::new();
    let store = open(&disk, small()).unwrap();
    put(&store, &key("a"), 1, 1000).unwrap();
    // The next write finds no space although the last look said there was.
    disk.fail_at(disk.calls(), Fault::NoSpace);
    store.pump().unwrap();
    assert!(disk.fired());
    assert!(!disk.contents().contains_key("reserve"), "the reserve was released");
    assert!(store.read(at(&key("a")), Want::All).unwrap().1.is_done());
}

/// Fills a disk to the last byte behind a store's back, and makes room again.
fn fill_and_make_room(disk: &SimDisk) {
    let store = open(disk, small()).unwrap();
    put(&store, &key("a"), 1, 1000).unwrap();
    store.pump().unwrap();
    let late = put(&store, &key("b"), 2, 5000).unwrap();
    // Another program took everything, the reserve's room too.
    let used: usize = disk.contents().values().map(Vec::len).sum();
    disk.set_capacity(Some(used as u64 - (32 << 10)));
    assert!(matches!(store.pump(), Err(StoreError::Stalled)));
    assert!(store.closed().is_none());
    assert!(
        matches!(late.wait(), Err(StoreError::Stalled)) && !late.is_done(),
        "what it covers may still be kept"
    );
    // Nothing is changed by what is refused, and refused it is at once, removals too.
    assert_eq!(put(&store, &key("c"), 3, 10).unwrap_err().kind(), Kind::Full);
    assert_eq!(remove(&store, &key("a")).unwrap_err().kind(), Kind::Full);
    assert!(store.raise_time(Hlc::from_ms(5)).is_err());
    assert!(matches!(store.pump(), Err(StoreError::Stalled)));
    let (found, ticket) = store.read(at(&key("a")), Want::All).unwrap();
    assert_eq!((found.unwrap().version.to_u64(), ticket.wait().is_ok()), (1, true));
    // A crash now loses nothing that was acknowledged.
    let after = disk.crash(Loss::Everything);
    assert_eq!(open(&after, small()).err().map(|e| e.kind()), Some(Kind::Full), "not even a start fits");
    after.set_capacity(None);
    let crashed = open(&after, small()).unwrap();
    assert!(crashed.read(at(&key("a")), Want::All).unwrap().0.is_some());
    assert!(crashed.read(at(&key("b")), Want::All).unwrap().0.is_none());
    disk.set_capacity(None);
    store.pump().unwrap();
    assert!(late.wait().is_ok() && late.is_done());
    put(&store, &key("c"), 3, 10).unwrap();
    store.pump().unwrap();
    store.compact(1).unwrap();
    assert!(disk.contents().contains_key("reserve"), "the reserve is taken again");
    store.close().unwrap();
    let store = open(disk, small()).unwrap();
    assert_eq!(RecordStore::usage(&store).records, 3);
}

#[test]
fn without_any_space_left_writing_is_refused_reading_goes_on_and_writing_too_once_there_is_space() {
    fill_and_make_room(&SimDisk::new());
    // What the file system allows somebody may be used up as well: the disk itself has room then.
    let disk = SimDisk::new();
    disk.limit_by_quota();
    fill_and_make_room(&disk);
}

#[test]
fn with_threads_a_full_disk_is_waited_out_and_closing_does_not_hang() {
    let disk = SimDisk::new();
    let config = LogConfig { threads: true, ..small() };
    let store = open(&disk, config).unwrap();
    put(&store, &key("a"), 1, 1000).unwrap().wait().unwrap();
    disk.set_capacity(Some(1));
    let ticket = remove(&store, &key("a")).unwrap();
    // The marks and the segment may have had room within their blocks: then it went through.
    if ticket.wait().is_err() {
        disk.set_capacity(None);
        let mut tries = 0;
        while ticket.wait().is_err() {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
            tries += 1;
            assert!(tries < 2_400, "it never goes on");
        }
    }
    put(&store, &key("b"), 2, 1000).unwrap().wait().unwrap();
    disk.set_capacity(Some(1));
    drop(remove(&store, &key("b")));
    assert!(store.close().is_err());
    disk.set_capacity(None);
    let store = open(&disk, config).unwrap();
    assert!(store.read(at(&key("b")), Want::All).unwrap().0.is_some());
}

#[test]
fn the_last_segment_is_sealed_when_most_of_it_is_dead_and_gives_its_space_back() {
    let disk = SimDisk::new();
    let config = LogConfig { segment_len: 1 << 20, ..small() };
    let store = open(&disk, config).unwrap();
    for number in 0..60 {
        put(&store, &key(&format!("k{number}")), 1 + number, 10_000).unwrap();
    }
    store.pump().unwrap();
    let full = BlobStore::usage(&store).disk_bytes;
    assert!(full > 600_000 && !disk.contents().contains_key("00000002.seg"), "one segment, never full");
    // A third of it is not worth it yet.
    (0..20).for_each(|number| drop(remove(&store, &key(&format!("k{number}"))).unwrap()));
    while store.compact(1 << 20).unwrap().more {}
    assert!(disk.contents().contains_key("00000001.seg"));
    (20..55).for_each(|number| drop(remove(&store, &key(&format!("k{number}"))).unwrap()));
    while store.compact(1 << 20).unwrap().more {}
    assert!(!disk.contents().contains_key("00000001.seg"));
    assert!(BlobStore::usage(&store).disk_bytes < full / 4);
    store.close().unwrap();
    let store = open(&disk, config).unwrap();
    assert_eq!(RecordStore::usage(&store).records, 5);
}

#[test]
fn compaction_never_takes_more_room_than_there_is() {
    let disk = SimDisk::new();
    let config = LogConfig { segment_len: 256 << 10, ..small() };
    let store = open(&disk, config).unwrap();
    for number in 0..100 {
        put(&store, &key(&format!("k{number}")), 1 + number, 10_000).unwrap();
        store.pump().unwrap();
    }
    // Four in ten of every segment go; copying the rest needs 150 KiB, and there is no more than 60.
    (0..100).filter(|n| n % 10 < 4).for_each(|n| drop(remove(&store, &key(&format!("k{n}"))).unwrap()));
    store.pump().unwrap();
    let used: usize = disk.contents().values().map(Vec::len).sum();
    disk.set_capacity(Some(used as u64 + (60 << 10)));
    while store.compact(1 << 20).unwrap().more {}
    let now: usize = disk.contents().values().map(Vec::len).sum();
    assert!(now <= used + (60 << 10));
    // Once a segment is dead as a whole, no room is needed, and then there is room for the others.
    (0..30).for_each(|n| drop(remove(&store, &key(&format!("k{n}"))).unwrap()));
    while store.compact(1 << 20).unwrap().more {}
    let now: usize = disk.contents().values().map(Vec::len).sum();
    assert!(now < used * 3 / 4, "{now} of {used}");
    store.close().unwrap();
    let store = open(&disk, config).unwrap();
    assert_eq!(RecordStore::usage(&store).records, 42);
}

#[test]
fn after_a_failed_sync_or_write_the_store_is_closed_for_good_and_says_why() {
    let mut reasons = Vec::new();
    for later in 0.. {
        let disk = SimDisk::new();
        let store = open(&disk, small()).unwrap();
        put(&store, &key("a"), 1, 10).unwrap();
        store.pump().unwrap();
        let ticket = put(&store, &key("b"), 2, 10).unwrap();
        disk.fail_at(disk.calls() + later, Fault::Error);
        let Err(error) = store.pump() else { break };
        assert_eq!(error.kind(), Kind::Closed);
        reasons.push(error.to_string());
        assert!(matches!(ticket.wait(), Err(StoreError::Closed { .. })));
        assert!(matches!(put(&store, &key("c"), 3, 10), Err(StoreError::Closed { .. })));
        assert!(matches!(store.read(at(&key("a")), Want::All), Err(StoreError::Closed { .. })));
        assert!(matches!(store.pump(), Err(StoreError::Closed { .. })), "it does not try again");
    }
    let wanted = ["write to the log failed", "sync of the log failed", "write of marks failed"];
    assert_eq!(reasons.len(), wanted.len(), "{reasons:?}");
    assert!(reasons.iter().zip(wanted).all(|(reason, wanted)| reason.contains(wanted)), "{reasons:?}");
}

#[test]
fn a_memory_table_keeps_to_its_cap() {
    let table = MemoryTable::new(MemoryConfig { cap_bytes: 100_000, hash_seed: 1 });
    let mut stored = 0;
    let error = loop {
        match put(&table, &key(&format!("k{stored}")), 1, 1000) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Full);
    assert!((60..100).contains(&stored), "{stored}");
    assert!(table.usage().accounted_bytes <= 100_000);
    remove(&table, &key("k0")).unwrap();
    put(&table, &key("again"), 1, 1000).unwrap();
    // Growing one that is there is refused as well, and changes nothing.
    assert!(put(&table, &key("k1"), 2, 50_000).is_err());
    let (state, _) = table.read(at(&key("k1")), Want::All).unwrap();
    assert_eq!(state.unwrap().version.to_u64(), 1);
}

#[test]
fn data_of_a_newer_version_is_refused_and_left_alone() {
    let disk = SimDisk::new();
    let store = open(&disk, small()).unwrap();
    put(&store, &key("a"), 1, 10).unwrap();
    store.close().unwrap();
    for (name, kind) in [("STORE", StampKind::Store), ("00000001.seg", StampKind::Segment)] {
        let mut files = disk.contents();
        let bytes = files.get_mut(name).unwrap();
        let mut stamp = Stamp::decode_block(kind, bytes).unwrap();
        stamp.version = LOG_FORMAT + 1;
        let block = stamp.encode_block();
        bytes[..block.len()].copy_from_slice(&block);
        let newer = SimDisk::with_contents(&files);
        let refused = open(&newer, small()).map(|_| ());
        assert!(matches!(refused, Err(StoreError::TooNew { version: 2, supported: 1, .. })), "{refused:?}");
        assert_eq!(newer.contents().get(name), files.get(name));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::File::create(&file).unwrap();
    let refused = LogStore::open(&file, LogConfig::default(), &mut SystemRng).map(|_| ());
    let Err(StoreError::Io { what, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(&*what, "opening the data folder");
}

#[test]
fn more_than_fits_the_queue_waits_and_all_of_it_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        queue_bytes_max: 256 << 10,
        group_bytes_max: 64 << 10,
        early_write_bytes: 32 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        segment_len: 4 << 20,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config, &mut SystemRng).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..100 {
                    store.room().wait().unwrap();
                    put(store, &key(&format!("{writer}-{number}")), 1, 50_000).unwrap();
                }
            });
        }
    });
    store.close().unwrap();
    let store = LogStore::open(folder.path(), config, &mut SystemRng).unwrap();
    assert_eq!(RecordStore::usage(&store).records, 400);
    for writer in 0..4 {
        for number in 0..100 {
            let found = store.read(at(&key(&format!("{writer}-{number}"))), Want::All).unwrap().0;
            assert_eq!(found.unwrap().value_len(), 50_000);
        }
    }
}

#[test]
fn released_blobs_give_their_space_back() {
    let disk = SimDisk::new();
    let store = open(&disk, small()).unwrap();
    let lease = |number: u8| LeaseGrant {
        token: LeaseToken([number; 16]),
        namespace: NS,
        key: key("file"),
        deadline_ms: 1_000,
    };
    for number in 0..100u8 {
        let mut bytes = vec![0; 10_000];
        SeededRng::new(number.into()).fill(&mut bytes);
        store.put(BlobId::of(&bytes), bytes.into(), &lease(number)).unwrap();
    }
    store.pump().unwrap();
    let full = BlobStore::usage(&store).disk_bytes;
    assert!(full > 1_000_000);
    for number in 0..95 {
        store.release(LeaseToken([number; 16])).unwrap();
    }
    store.pump().unwrap();
    while store.collect(7).unwrap().more {}
    while store.compact(1 << 16).unwrap().more {}
    let usage = BlobStore::usage(&store);
    assert_eq!((usage.blobs, usage.orphans), (5, 0));
    assert!(usage.disk_bytes < full / 4, "{} of {full}", usage.disk_bytes);
    store.close().unwrap();
    let store = open(&disk, small()).unwrap();
    assert_eq!(BlobStore::usage(&store).leases, 5);
    for number in 95..100u8 {
        let mut bytes = vec![0; 10_000];
        SeededRng::new(number.into()).fill(&mut bytes);
        assert_eq!(store.get(BlobId::of(&bytes)).unwrap().0, Some(bytes.into()));
    }
}
