//! Random operations on a store and on a model of it side by side; and many threads at once, where only what
//! holds under every order can be checked.

#[path = "../examples/crashpoints/model.rs"]
#[allow(dead_code, reason = "shared with the crash points")]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
#[allow(dead_code, reason = "shared with the crash points")]
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use larder_format::ids::{BlobId, LeaseToken};
use larder_format::record::{Ballot, Key};
use larder_format::rng::{Rng, SeededRng};
use larder_store::api::{BlobStore, LeaseGrant, Next, RecordStore, ScanRequest, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};

use model::{NS, Record, at, bytes, dump, slot};
use workload::{Run, config, steps};

#[test]
fn a_log_store_does_what_the_model_does() {
    let mut segments = 0;
    for seed in 1_000..1_300 {
        let mut run = Run::new(SimDisk::new());
        if let Err(stop) = run.play(&steps(seed, 150)) {
            panic!("seed {seed}: {stop:?}");
        }
        let want = run.history.last().unwrap();
        assert_eq!(dump(run.store.as_ref().unwrap(), want).unwrap(), *want, "seed {seed}");
        segments += run.disk.contents().keys().filter(|name| name.ends_with(".free")).count();
    }
    assert!(segments > 50, "compaction freed segments: {segments}");
}

/// Any number of keys on any backend: puts, removals, reads, scans.
fn play_records(backend: &dyn RecordStore, seed: u64, pump: &dyn Fn()) {
    let mut rng = SeededRng::new(seed);
    let mut held: BTreeMap<Key, Record> = BTreeMap::new();
    for version in 1..3_000 {
        let key = Key::new(Bytes::from(format!("{:02}", rng.below(80)))).unwrap();
        match rng.below(10) {
            0..=4 => {
                let record = Record { version: Some(version), len: rng.below(300) as u16, promised: None };
                drop(backend.update(at(&key), &mut |_| Ok(Next::Store(slot(&record)))).unwrap());
                held.insert(key, record);
            }
            5..=6 => {
                let floor = Ballot { round: version, proposer: 0 };
                drop(backend.update(at(&key), &mut |_| Ok(Next::Remove { floor })).unwrap());
                held.remove(&key);
            }
            7..=8 => {
                let (found, _) = backend.read(at(&key), Want::All).unwrap();
                assert_eq!(found, held.get(&key).and_then(|record| slot(record).state));
            }
            _ => {
                pump();
                let prefix = Bytes::from(rng.below(10).to_string());
                let mut found = BTreeSet::new();
                let mut cursor = Bytes::new();
                loop {
                    let (limit, prefix) = (1 + rng.below(4) as usize, prefix.clone());
                    let request = ScanRequest { prefix, cursor, limit, key_len_max: 9, want: Want::All };
                    let page = backend.scan(NS, &request).unwrap();
                    for (key, state) in page.records {
                        assert_eq!(Some(state), slot(&held[&key]).state);
                        assert!(found.insert(key), "once each");
                    }
                    match page.next {
                        Some(next) => cursor = next,
                        None => break,
                    }
                }
                assert!(held.keys().filter(|key| key.as_bytes().starts_with(&prefix)).eq(found.iter()));
            }
        }
    }
    assert_eq!(backend.usage().records, held.len() as u64);
    let payload = held.iter().map(|(key, record)| key.as_bytes().len() as u64 + 20 + u64::from(record.len));
    assert_eq!(backend.usage().payload_bytes, payload.sum::<u64>());
}

#[test]
fn every_backend_does_what_the_model_does() {
    for seed in 0..10 {
        play_records(&MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: seed }), seed, &|| {});
        let store = LogStore::open_on(Arc::new(SimDisk::new()), config(), &mut SeededRng::new(1)).unwrap();
        play_records(&store, seed, &|| store.pump().unwrap());
    }
}

fn small_segments() -> LogConfig {
    LogConfig {
        segment_len: 256 << 10,
        queue_bytes_max: 128 << 10,
        early_write_bytes: 16 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        ..LogConfig::default()
    }
}

/// Each writer has keys of its own, so each knows what must be there in the end.
fn write_records(store: &LogStore, writer: u64) -> BTreeMap<Key, Option<Record>> {
    let mut rng = SeededRng::new(writer);
    let mut held = BTreeMap::new();
    for version in 1..1_500 {
        let key = Key::new(Bytes::from(format!("{writer}-{}", rng.below(20)))).unwrap();
        let next = if rng.below(4) == 0 {
            held.insert(key.clone(), None);
            Next::Remove { floor: Ballot { round: version, proposer: 0 } }
        } else {
            let record = Record { version: Some(version), len: rng.below(2_000) as u16, promised: None };
            held.insert(key.clone(), Some(record));
            Next::Store(slot(&record))
        };
        let mut next = Some(next);
        let ticket = store.update(at(&key), &mut |_| Ok(next.take().unwrap())).unwrap();
        if rng.below(50) == 0 {
            ticket.wait().unwrap();
        }
        let (found, _) = store.read(at(&key), Want::All).unwrap();
        assert_eq!(found, held[&key].and_then(|record| slot(&record).state));
    }
    held
}

/// Puts blobs under leases and releases most of them; answers what is still leased.
fn write_blobs(store: &LogStore, writer: u8) -> Vec<(BlobId, Bytes)> {
    let mut kept = Vec::new();
    for number in 0..150u8 {
        let bytes = bytes(u64::from(writer) << 8 | u64::from(number), 6_000);
        let id = BlobId::of(&bytes);
        let mut token = [writer; 16];
        token[0] = number;
        let key = Key::new(Bytes::from_static(b"file")).unwrap();
        let lease = LeaseGrant { token: LeaseToken(token), namespace: NS, key, deadline_ms: 1_000 };
        drop(store.put(id, bytes.clone(), &lease).unwrap());
        assert_eq!(store.get(id).unwrap().0, Some(bytes.clone()));
        if number % 10 == 0 {
            kept.push((id, bytes));
        } else {
            drop(store.release(LeaseToken(token)).unwrap());
        }
    }
    kept
}

#[test]
fn writers_readers_and_compaction_do_not_get_in_each_others_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::open(folder.path(), small_segments(), &mut SeededRng::new(3)).unwrap();
    let done = AtomicBool::new(false);
    let (records, blobs, freed) = std::thread::scope(|scope| {
        let records: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn({
                    let store = &store;
                    move || write_records(store, writer)
                })
            })
            .collect();
        let blobs: Vec<_> = (0..2)
            .map(|writer| {
                scope.spawn({
                    let store = &store;
                    move || write_blobs(store, writer)
                })
            })
            .collect();
        let cleaner = scope.spawn(|| {
            let mut freed = 0;
            while !done.load(Ordering::Acquire) {
                store.collect(20).unwrap();
                freed += store.compact(256 << 10).unwrap().freed_segments;
                assert_eq!(store.scrub(64 << 10).unwrap().damaged, vec![]);
            }
            freed
        });
        let records: Vec<_> = records.into_iter().map(|writer| writer.join().unwrap()).collect();
        let blobs: Vec<_> = blobs.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Release);
        (records, blobs, cleaner.join().unwrap())
    });
    let mut freed = freed;
    loop {
        let report = store.compact(256 << 10).unwrap();
        freed += report.freed_segments;
        if !report.more {
            break;
        }
    }
    assert!(freed > 3, "compaction had something to do: {freed}");
    let check = |store: &LogStore| {
        for (key, record) in records.iter().flatten() {
            let (found, _) = store.read(at(key), Want::All).unwrap();
            assert_eq!(found, record.and_then(|record| slot(&record).state), "{key:?}");
        }
        for (id, bytes) in &blobs {
            assert_eq!(store.get(*id).unwrap().0.as_ref(), Some(bytes));
        }
    };
    check(&store);
    store.close().unwrap();
    let store = LogStore::open(folder.path(), small_segments(), &mut SeededRng::new(3)).unwrap();
    assert_eq!(store.open_report().lost, vec![]);
    check(&store);
}
