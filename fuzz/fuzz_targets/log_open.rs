//! Opening a store whose last segment ends in anything: it opens, or says why not, and never panics. What was
//! acknowledged before is there, or an error says that it may not be.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::SeededRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};
use libfuzzer_sys::fuzz_target;

const SEGMENT: &str = "00000001.seg";

fn config() -> LogConfig {
    LogConfig {
        segment_len: 64 << 10,
        reserve_bytes: 0,
        margin_bytes: 0,
        threads: false,
        ..LogConfig::default()
    }
}

fn key() -> Key {
    Key::new(Bytes::from_static(b"key")).expect("a key")
}

fn state() -> RecordState {
    RecordState {
        version: Version::from_u64(3),
        expiry: Expiry::NEVER,
        content: Content::Live(Live { body: Bytes::from_static(b"body"), ..Live::default() }),
        operations: Vec::new(),
    }
}

static FILES: LazyLock<std::collections::BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let disk = SimDisk::new();
    let store =
        LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(1)).expect("it opens");
    let key = key();
    let at = Address { namespace: NamespaceId(1), slot: Slot::of_raw(b"key"), key: &key };
    let slot = RecordSlot { ballots: None, state: Some(state()) };
    drop(store.update(at, &mut |_| Ok(Next::Store(slot.clone()))).expect("it is taken"));
    store.close().expect("it closes");
    disk.contents()
});

fuzz_target!(|data: &[u8]| {
    // The first two bytes say where the rest is written: over the log's end, or into it.
    let [low, high, rest @ ..] = data else { return };
    let mut files = FILES.clone();
    let bytes = files.get_mut(SEGMENT).expect("there is one");
    let offset = 4096 + usize::from(u16::from_le_bytes([*low, *high])) % 1024;
    if bytes.len() < offset + rest.len() {
        bytes.resize(offset + rest.len(), 0);
    }
    bytes[offset..offset + rest.len()].copy_from_slice(rest);
    let disk = Arc::new(SimDisk::with_contents(&files));
    let Ok(store) = LogStore::open_on(disk, config(), &mut SeededRng::new(1)) else { return };
    let key = key();
    let at = Address { namespace: NamespaceId(1), slot: Slot::of_raw(b"key"), key: &key };
    if let Ok((found, _)) = store.read(at, Want::All) {
        assert_eq!(found, Some(state()), "neither right nor an error");
    }
});
