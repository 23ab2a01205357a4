//! A store that an earlier program wrote, kept as bytes: it must open in every later one, and the independent
//! reader must see the same in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId, StoreId};
use larder_format::record::{
    Ballot, Content, Expiry, Key, Live, OperationRecord, OperationResult, RecordSlot, RecordState,
    ShadowReason, Version,
};
use larder_format::rng::SeededRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, ScanRequest, Want};
use larder_store::disk::sim::{Loss, SimDisk};
use larder_store::log::{LogConfig, LogStore};

const NS: NamespaceId = NamespaceId(7);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-format-1")
}

fn config() -> LogConfig {
    LogConfig {
        segment_len: 24 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        threads: false,
        ..LogConfig::default()
    }
}

fn open(disk: &SimDisk) -> LogStore {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(11)).unwrap()
}

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("record {number}"))).unwrap()
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

fn blob(number: u8) -> (BlobId, Bytes) {
    let bytes = Bytes::from(vec![number; 5_000]);
    (BlobId::of(&bytes), bytes)
}

fn grant(number: u8) -> LeaseGrant {
    LeaseGrant { token: LeaseToken([number; 16]), namespace: NS, key: key(0), deadline_ms: 9_000 }
}

fn put(store: &LogStore, number: u64, version: u64) {
    let operation = OperationRecord {
        id: larder_format::ids::OperationId([3; 16]),
        deadline_ms: 44,
        result: OperationResult::Taken {
            version: Version::from_u64(2),
            expiry: Expiry::NEVER,
            takes_left: 1,
            head: Bytes::from_static(b"taken head"),
            body: Bytes::from_static(b"taken body"),
        },
    };
    let live = Live {
        takes_left: (number == 3).then_some(2),
        tokens: vec![LeaseToken([1; 16]); (number % 3) as usize],
        head: Bytes::from(vec![8; number as usize]),
        body: Bytes::from(vec![version as u8; 200 * number as usize]),
    };
    let shadow = number == 4;
    let state = RecordState {
        version: Version::from_u64(version),
        expiry: if number == 5 { Expiry::at_ms(77) } else { Expiry::NEVER },
        content: if shadow { Content::Shadow(ShadowReason::Taken) } else { Content::Live(live) },
        operations: if number == 6 { vec![operation] } else { Vec::new() },
    };
    let mut next = Some(Next::Store(RecordSlot { ballots: None, state: Some(state) }));
    let key = key(number);
    drop(store.update(at(&key), &mut |_| Ok(next.take().unwrap())).unwrap());
}

/// Writes the fixture anew. Only when a new format version is added, into a new folder.
#[test]
#[ignore = "makes the fixture"]
#[allow(clippy::disallowed_methods, reason = "a fixture is written once, by hand")]
fn make() {
    let disk = SimDisk::new();
    let store = open(&disk);
    drop(store.raise_time(Hlc::from_ms(1_000)).unwrap());
    for version in 1..=3 {
        for number in 0..12 {
            put(&store, number, version * 100 + number);
        }
        store.pump().unwrap();
    }
    for number in 1..=6 {
        let (id, bytes) = blob(number);
        drop(store.put(id, bytes, &grant(number)).unwrap());
    }
    for number in [7, 8] {
        let key = key(number);
        let floor = Ballot { round: 400 + number, proposer: 2 };
        drop(store.update(at(&key), &mut |_| Ok(Next::Remove { floor })).unwrap());
    }
    drop(store.lease(&grant(2), &[blob(1).0]).unwrap());
    drop(store.confirm(LeaseToken([2; 16])).unwrap());
    drop(store.release(LeaseToken([1; 16])).unwrap());
    drop(store.release(LeaseToken([3; 16])).unwrap());
    store.pump().unwrap();
    while store.collect(10).unwrap().more {}
    while store.compact(1 << 20).unwrap().more {}
    store.close().unwrap();
    let store = open(&disk);
    put(&store, 20, 500);
    store.pump().unwrap();
    std::fs::create_dir_all(folder()).unwrap();
    for (name, bytes) in disk.crash(Loss::Nothing).contents() {
        if !name.ends_with(".free") {
            std::fs::write(folder().join(name), bytes).unwrap();
        }
    }
    std::fs::write(folder().join("expected.txt"), listing(&store)).unwrap();
}

fn short(bytes: &[u8]) -> String {
    BlobId::of(bytes).to_string()[..16].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is live, in the words of the independent reader.
fn listing(store: &LogStore) -> String {
    let mut out = vec![format!("time {}", store.time().to_u64())];
    let request = ScanRequest {
        prefix: Bytes::new(),
        cursor: Bytes::new(),
        limit: 1_000,
        key_len_max: 4096,
        want: Want::All,
    };
    for (key, state) in store.scan(NS, &request).unwrap().records {
        let expiry = state.expiry.ms().map_or("never".into(), |ms| ms.to_string());
        let (what, live) = match state.content {
            Content::Live(live) => ("live", live),
            Content::Shadow(ShadowReason::Deleted) => ("deleted", Live::default()),
            Content::Shadow(ShadowReason::Expired) => ("expired", Live::default()),
            Content::Shadow(ShadowReason::Taken) => ("taken", Live::default()),
        };
        let (head, body) = (short(&live.head), short(&live.body));
        let (name, version, len) = (hex(key.as_bytes()), state.version, live.body.len());
        out.push(format!("record {NS} {name} {version} {expiry} {what} {len} {head} {body}"));
    }
    for number in 0..=255u8 {
        let token = LeaseToken([number; 16]);
        if store.is_released(token) {
            out.push(format!("released {token}"));
        }
        if let Some(info) = store.lease_info(token) {
            let until = info.deadline_ms.map_or("confirmed".into(), |ms| ms.to_string());
            let key = hex(info.key.as_bytes());
            out.push(format!("lease {token} {} {key} {until} {}", info.namespace, info.blobs));
        }
    }
    for (id, _) in [1, 2, 4, 5, 6].map(blob) {
        out.push(format!("blob {id} {}", store.get(id).unwrap().0.unwrap().len()));
    }
    for number in [7, 8] {
        let key = key(number);
        let group = u32::from(at(&key).slot.number()) * 64 / 16_384;
        drop(store.update(at(&key), &mut |current| {
            let floor = current.floor();
            out.push(format!("floor {NS} {group} {} {}", floor.round, floor.proposer));
            Ok(Next::Keep)
        }));
    }
    out.sort();
    out.dedup();
    out.join("\n") + "\n"
}

fn files() -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "expected.txt")
        .collect()
}

fn expected() -> String {
    std::fs::read_to_string(folder().join("expected.txt")).unwrap()
}

#[test]
fn a_store_of_format_1_opens_with_everything_in_it() {
    let store = open(&SimDisk::with_contents(&files()));
    assert_eq!(listing(&store), expected());
    assert_eq!(store.boots(), 3);
    let mut id = StoreId([0; 16]);
    larder_format::rng::Rng::fill(&mut SeededRng::new(11), &mut id.0);
    assert_eq!(store.id(), id);
}

/// Runs where `tools/reader/setup.sh` has made the reader's folder; `make test` does that first.
#[test]
fn the_independent_reader_sees_the_same() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = top.join(".venv/bin/python");
    if !python.exists() {
        return;
    }
    let output =
        Command::new(python).arg(top.join("tools/reader/segments.py")).arg(folder()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected());
}
