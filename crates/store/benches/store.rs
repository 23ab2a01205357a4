//! What the local store can do, beside what the disk can do. Prints one line per figure.
//!
//! `cargo bench -p larder-store` (or `-- ingest`, `-- small`, `-- open`, `-- memory` for one of them). Runs in
//! the folder that `LARDER_BENCH_DIR` names, else in the system's temporary folder. Ratios come from runs
//! that take turns; each is the median of five.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark measures time and prints")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng, SystemRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, Ticket, Want};
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};

const MIB: usize = 1 << 20;
const ROUNDS: usize = 5;
const INGEST_MIB: usize = 1024;
const RECORDS: u64 = 1_000_000;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn folder(name: &str) -> PathBuf {
    let base = std::env::var_os("LARDER_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = base.join(format!("larder-bench-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder for the benchmark can be made");
    folder
}

fn open(folder: &Path) -> LogStore {
    LogStore::open(folder, LogConfig::default(), &mut SystemRng).expect("the store opens")
}

/// The raw writer that ingest is compared with: 256 MiB files, a sync every 16 MiB, nothing else.
fn raw_writer(folder: &Path, blobs: &[Bytes]) -> Duration {
    let start = Instant::now();
    for (number, part) in blobs.chunks(256).enumerate() {
        let mut file = File::create(folder.join(format!("raw-{number}"))).expect("a file can be made");
        for group in part.chunks(16) {
            for blob in group {
                file.write_all(blob).expect("the disk takes it");
            }
            file.sync_data().expect("the disk syncs");
        }
    }
    start.elapsed()
}

fn ingest_once(folder: &Path, blobs: &[(BlobId, Bytes)]) -> Duration {
    let store = open(folder);
    let namespace = NamespaceId(1);
    let key = Key::new(Bytes::from_static(b"file")).expect("a key");
    let lease = LeaseGrant { token: LeaseToken([1; 16]), namespace, key, deadline_ms: u64::MAX };
    let start = Instant::now();
    let mut last = Ticket::done();
    for (id, bytes) in blobs {
        last = store.put(*id, bytes.clone(), &lease).expect("the blob is taken");
    }
    last.wait().expect("the store syncs");
    start.elapsed()
}

fn ingest() {
    let mut rng = SeededRng::new(1);
    let blobs: Vec<(BlobId, Bytes)> = (0..INGEST_MIB)
        .map(|_| {
            let mut bytes = vec![0; MIB];
            rng.fill(&mut bytes);
            (BlobId::of(&bytes), Bytes::from(bytes))
        })
        .collect();
    let plain: Vec<Bytes> = blobs.iter().map(|(_, bytes)| bytes.clone()).collect();
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for which in [round % 2, (round + 1) % 2] {
            let folder = folder("ingest");
            let took = if which == 0 { raw_writer(&folder, &plain) } else { ingest_once(&folder, &blobs) }
                .as_secs_f64();
            std::fs::remove_dir_all(&folder).expect("the folder can be removed");
            let list = if which == 0 { &mut raw } else { &mut ours };
            list.push(INGEST_MIB as f64 / took);
        }
    }
    let ratios = raw.iter().zip(&ours).map(|(raw, ours)| ours / raw).collect();
    println!(
        "ingest of 1 MiB blobs: store {:.0} MiB/s, raw batched writer {:.0} MiB/s, ratio {:.2} (runs: {:.0?} / {:.0?})",
        median(ours.clone()),
        median(raw.clone()),
        median(ratios),
        ours,
        raw
    );
}

fn record_key(number: u64) -> Key {
    // 100 bytes of key and meta, as for sealed records: 40 bytes of key, 60 of head.
    let mut key = vec![0; 40];
    SeededRng::new(number).fill(&mut key);
    Key::new(key).expect("a key")
}

fn put(store: &dyn RecordStore, number: u64, version: u64) -> Ticket {
    let mut body = vec![0; 300];
    SeededRng::new(version).fill(&mut body[..16]);
    let state = RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { head: Bytes::from(vec![7; 60]), body: body.into(), ..Live::default() }),
        operations: Vec::new(),
    };
    let key = record_key(number);
    let at = Address { namespace: NamespaceId(1), slot: Slot::of_sealed(key.as_bytes()), key: &key };
    let mut next = Some(Next::Store(RecordSlot { ballots: None, state: Some(state) }));
    store.update(at, &mut |_| Ok(next.take().expect("called once"))).expect("the record is taken")
}

fn small() {
    for writers in [1u64, 16, 64] {
        let folder = folder("small");
        let store = open(&folder);
        let each = if writers == 1 { 3_000 } else { 60_000 / writers };
        let start = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..each {
                        put(store, writer * 1_000_000 + i, 1).wait().expect("the store syncs");
                    }
                });
            }
        });
        let rate = (each * writers) as f64 / start.elapsed().as_secs_f64();
        println!("durable small records, {writers} writers: {rate:.0}/s");
        drop(store);
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
    let folder = folder("small");
    let store = open(&folder);
    let start = Instant::now();
    for i in 0..2_000u64 {
        let tickets = (0..100).map(|j| put(&store, i * 100 + j, 1)).fold(Ticket::done(), Ticket::and);
        tickets.wait().expect("the store syncs");
    }
    println!(
        "durable small records, one writer, 100 per sync: {:.0}/s",
        200_000.0 / start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    for i in 0..200_000u64 {
        let key = record_key(i);
        let at = Address { namespace: NamespaceId(1), slot: Slot::of_sealed(key.as_bytes()), key: &key };
        assert!(store.read(at, Want::All).expect("it reads").0.is_some());
    }
    println!("reads of small records, one thread: {:.0}/s", 200_000.0 / start.elapsed().as_secs_f64());
    drop(store);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system says");
    let pages: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    pages * 4096
}

/// Time this process has computed, in seconds, to a hundredth.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("the system says");
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks =
        |at: usize| -> f64 { after.split_whitespace().nth(at).and_then(|w| w.parse().ok()).unwrap_or(0.0) };
    (ticks(11) + ticks(12)) / 100.0
}

fn open_time() {
    let folder = folder("open");
    let store = open(&folder);
    let mut last = Ticket::done();
    for i in 0..RECORDS {
        last = put(&store, i, 1);
    }
    last.wait().expect("the store syncs");
    store.close().expect("the store closes");
    let before = resident();
    for round in 0..3 {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let store = open(&folder);
        let took = start.elapsed();
        let cpu = cpu_seconds() - cpu;
        assert_eq!(RecordStore::usage(&store).records, RECORDS);
        println!(
            "open with {RECORDS} records, round {round}: {:.3} s ({cpu:.2} s of CPU); resident {:.0} bytes per record with its 40-byte key",
            took.as_secs_f64(),
            (resident().saturating_sub(before)) as f64 / RECORDS as f64
        );
    }
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

fn memory() {
    let before = resident();
    let table = MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 3 });
    let start = Instant::now();
    for i in 0..RECORDS {
        put(&table, i, 1).wait().expect("memory is durable at once");
    }
    println!(
        "memory table: {:.0} ns per put (making the value included), resident {:.0} bytes per record of 40 + 360 bytes",
        start.elapsed().as_nanos() as f64 / RECORDS as f64,
        (resident() - before) as f64 / RECORDS as f64
    );
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let all: [(&str, fn()); 4] =
        [("ingest", ingest), ("small", small), ("open", open_time), ("memory", memory)];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            run();
        }
    }
}
