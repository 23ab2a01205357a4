//! A single wrong byte in what heads a frame is put right where it lies: a scrub counts it, writes it back, and the file
//! is what it was, so that a second wrong byte later finds no first one.

#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

use std::sync::Arc;

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::SeededRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore, ScrubCursor, Scrubber};

fn open(disk: &SimDisk) -> LogStore {
    let config = LogConfig { reserve_bytes: 0, margin_bytes: 0, threads: false, ..LogConfig::default() };
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap()
}

fn put(store: &LogStore, number: u64) {
    let key = Key::new(Bytes::from(format!("key number {number:04}"))).unwrap();
    let state = RecordState {
        version: Version::from_u64(number + 1),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: vec![7; 3000].into(), ..Live::default() }),
        operations: Vec::new(),
    };
    let slot = RecordSlot { ballots: None, state: Some(state) };
    let at = Address { namespace: NamespaceId(7), slot: Slot::of_raw(key.as_bytes()), key: &key };
    store.update(at, &mut |_| Ok(Next::Store(slot.clone()))).unwrap();
}

fn scrub(store: &LogStore, budget: u64) -> (u64, usize) {
    let (mut scrubber, mut repaired, mut damaged) = (Scrubber::default(), 0, 0);
    loop {
        let step = store.scrub_at(&mut scrubber, budget).unwrap();
        (repaired, damaged) = (repaired + step.repaired, damaged + step.damaged.len());
        if step.finished {
            return (repaired, damaged);
        }
        // A place that was noted is gone on from.
        let (segment, offset) = scrubber.cursor().parts();
        scrubber = ScrubCursor::from_parts(segment, offset).into();
    }
}

#[test]
fn a_wrong_byte_in_a_header_or_name_is_written_back_by_a_scrub() {
    let disk = SimDisk::new();
    let store = open(&disk);
    (0..40).for_each(|number| put(&store, number));
    store.pump().unwrap();
    let segment = "00000001.seg";
    let whole = disk.contents()[segment].clone();
    let name_at = whole.windows(15).position(|w| w == b"key number 0013").unwrap();
    // Beside the name, and in the header that the name follows.
    for at in [name_at, name_at + 14, name_at - 40] {
        for budget in [1, 10_000, 1 << 20] {
            let mut contents = disk.contents();
            contents.get_mut(segment).unwrap()[at] ^= 0x10;
            let spoiled = SimDisk::with_contents(&contents);
            let store = open(&spoiled);
            store.pump().unwrap();
            let (repaired, damaged) = scrub(&store, budget);
            assert_eq!((repaired, damaged), (1, 0), "byte {at}, budget {budget}");
            assert!(store.repaired() >= 1);
            assert_eq!(spoiled.contents()[segment][at], whole[at], "byte {at} on the disk");
            assert_eq!(scrub(&store, budget), (0, 0), "nothing is left to put right");
        }
    }
    // In a value there is nothing to put right by: it is damage, and stays.
    let mut contents = disk.contents();
    contents.get_mut(segment).unwrap()[name_at + 600] ^= 0x10;
    let spoiled = SimDisk::with_contents(&contents);
    let store = open(&spoiled);
    store.pump().unwrap();
    assert_eq!(scrub(&store, 5_000), (0, 1));
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_to_what_is_in_it_only() {
    let disk = SimDisk::new();
    let store = open(&disk);
    (0..400).for_each(|number| put(&store, number));
    store.pump().unwrap();
    let whole = disk.contents()["00000001.seg"].clone();
    let at = whole.windows(15).position(|w| w == b"key number 0213").unwrap() as u64;
    let block = at.next_multiple_of(4096);
    disk.spoil("00000001.seg", block..block + 4096);
    for budget in [1, 200_000, 8 << 20] {
        let (mut scrubber, mut damaged) = (Scrubber::default(), Vec::new());
        loop {
            let step = store.scrub_at(&mut scrubber, budget).unwrap();
            damaged.extend(step.damaged);
            if step.finished {
                break;
            }
        }
        let named: Vec<_> = damaged.iter().filter_map(|item| item.key.as_ref()).collect();
        // The block has the end of one record and the beginning of the next, whose header is lost with it.
        assert!((1..=3).contains(&damaged.len()), "budget {budget}: {}", damaged.len());
        assert_eq!(named.first().map(|key| key.as_bytes()), Some(&b"key number 0213"[..]), "{budget}");
    }
}
