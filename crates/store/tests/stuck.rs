//! Segments with frames that cannot be read: those that are needed stay, the others give their space back.

#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore, StoreError, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};

const NS: NamespaceId = NamespaceId(7);

/// The first segment holds the first six of these.
const RECORDS: u64 = 20;

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("this is key number {number:04}"))).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

fn state(number: u64) -> RecordState {
    let mut body = vec![0; 10_000];
    SeededRng::new(number).fill(&mut body);
    RecordState {
        version: Version::from_u64(number + 1),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: body.into(), ..Live::default() }),
        operations: Vec::new(),
    }
}

fn remove(store: &LogStore, number: u64) {
    store.update(at(&key(number)), &mut |_| Ok(Next::Remove { floor: Ballot { round: 99, proposer: 0 } }));
    store.pump().unwrap();
}

fn read(store: &LogStore, number: u64) -> Result<Option<RecordState>, StoreError> {
    store.read(at(&key(number)), Want::All).map(|(state, _)| state)
}

fn open(disk: &SimDisk) -> LogStore {
    disk.unlock();
    let config = LogConfig {
        segment_len: 64 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        threads: false,
        ..LogConfig::default()
    };
    LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap()
}

/// A store with several segments, of which the first has these removed.
fn files(removed: &[u64]) -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new();
    let store = open(&disk);
    for number in 0..RECORDS {
        let slot = RecordSlot { ballots: None, state: Some(state(number)) };
        store.update(at(&key(number)), &mut |_| Ok(Next::Store(slot.clone())));
        store.pump().unwrap();
    }
    removed.iter().for_each(|number| remove(&store, *number));
    store.close().unwrap();
    disk.contents()
}

/// Makes the name part of a record's frame unreadable, beyond repair.
fn spoil(files: &mut BTreeMap<String, Vec<u8>>, number: u64) {
    let segment = files.get_mut("00000001.seg").unwrap();
    let key = key(number);
    let found = segment.windows(key.as_bytes().len()).position(|window| window == key.as_bytes());
    let found = found.expect("the record is in the first segment");
    segment[found..found + 8].fill(0xa5);
}

fn compact(store: &LogStore) {
    while store.compact(1 << 20).unwrap().more {}
}

fn has_first(disk: &SimDisk) -> bool {
    disk.contents().contains_key("00000001.seg")
}

fn assert_rest_is_there(store: &LogStore, first: u64) {
    for number in first..RECORDS {
        assert_eq!(read(store, number).unwrap(), Some(state(number)), "{number}");
    }
}

#[test]
fn an_unreadable_frame_that_nobody_needs_does_not_keep_its_segment() {
    let mut files = files(&[1, 2, 3, 4]);
    spoil(&mut files, 2);
    let disk = SimDisk::with_contents(&files);
    let store = open(&disk);
    assert!(!store.has_unaccepted_damage());
    compact(&store);
    assert!(!has_first(&disk), "it was given back");
    assert_eq!(read(&store, 0).unwrap(), Some(state(0)), "what was needed of it was copied");
    assert_rest_is_there(&store, 5);
    store.close().unwrap();
    let store = open(&disk);
    assert_eq!(RecordStore::usage(&store).records, RECORDS - 4);
    assert_rest_is_there(&store, 5);
}

#[test]
fn one_that_is_needed_keeps_it_until_it_is_not() {
    let mut files = files(&[0, 1, 2, 3]);
    spoil(&mut files, 4);
    let disk = SimDisk::with_contents(&files);
    let store = open(&disk);
    compact(&store);
    assert!(has_first(&disk), "the last copy stays, damaged or not");
    assert!(matches!(read(&store, 4), Err(StoreError::Damaged { .. })));
    assert_rest_is_there(&store, 5);
    remove(&store, 4);
    compact(&store);
    assert!(!has_first(&disk));
    assert_rest_is_there(&store, 5);
    store.close().unwrap();
    assert_rest_is_there(&open(&disk), 5);
}

#[test]
fn a_loss_that_was_accepted_does_not_keep_its_segment() {
    let mut files = files(&[1, 2, 3, 4]);
    spoil(&mut files, 2);
    // Without its list nobody can say what the frame was about.
    files.remove("00000001.idx").unwrap();
    let disk = SimDisk::with_contents(&files);
    let store = open(&disk);
    assert!(store.has_unaccepted_damage());
    assert!(matches!(store.compact(1), Err(StoreError::Damaged { .. })));
    store.accept_damage().unwrap();
    compact(&store);
    assert!(!has_first(&disk));
    assert_eq!(read(&store, 0).unwrap(), Some(state(0)));
    assert_rest_is_there(&store, 5);
    store.close().unwrap();
    let store = open(&disk);
    assert!(!store.has_unaccepted_damage(), "what is gone with its segment is missed no more");
    assert_rest_is_there(&store, 5);
}
