//! One suite that every backend passes: what the contract in `api.rs` says, checked from outside.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId, OperationId};
use larder_format::limits::OPERATION_DEADLINE_MS_MAX;
use larder_format::record::{
    Ballot, Ballots, Content, Expiry, Key, Live, OperationRecord, OperationResult, RecordSlot, RecordState,
    ShadowReason, Version,
};
use larder_format::rng::SystemRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, BlobStore, LeaseGrant, Next, RecordStore, ScanRequest, StoreError, Want};
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};

const NS: NamespaceId = NamespaceId(7);

fn key(text: impl AsRef<[u8]>) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_ref())).unwrap()
}

fn state(version: u64, body: &[u8]) -> RecordState {
    RecordState {
        version: Version::from_u64(version),
        expiry: Expiry::NEVER,
        content: Content::Live(Live {
            takes_left: None,
            tokens: vec![LeaseToken([1; 16])],
            head: Bytes::from_static(b"head"),
            body: Bytes::copy_from_slice(body),
        }),
        operations: Vec::new(),
    }
}

fn at(key: &Key) -> Address<'_> {
    Address { namespace: NS, slot: Slot::of_raw(key.as_bytes()), key }
}

fn store(backend: &dyn RecordStore, key: &Key, state: &RecordState) {
    let slot = RecordSlot { ballots: None, state: Some(state.clone()) };
    let mut next = Some(Next::Store(slot));
    backend.update(at(key), &mut |_| Ok(next.take().unwrap())).unwrap().wait().unwrap();
}

fn read(backend: &dyn RecordStore, key: &Key) -> Option<RecordState> {
    let (state, ticket) = backend.read(at(key), Want::All).unwrap();
    ticket.wait().unwrap();
    state
}

fn log_store(folder: &std::path::Path) -> LogStore {
    let config = LogConfig { reserve_bytes: 1 << 20, margin_bytes: 1 << 20, ..LogConfig::default() };
    LogStore::open(folder, config, &mut SystemRng).unwrap()
}

/// Runs a check on every backend.
fn on_every_backend(check: impl Fn(&dyn RecordStore)) {
    check(&MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 1 }));
    let folder = tempfile::tempdir().unwrap();
    check(&log_store(folder.path()));
}

#[test]
fn what_is_stored_is_read_and_what_is_removed_is_gone() {
    on_every_backend(|backend| {
        let a = key("a");
        assert_eq!(read(backend, &a), None);
        store(backend, &a, &state(5, b"one"));
        assert_eq!(read(backend, &a), Some(state(5, b"one")));
        store(backend, &a, &state(6, &[9; 100_000]));
        assert_eq!(read(backend, &a), Some(state(6, &[9; 100_000])));
        assert_eq!(backend.usage().records, 1);
        assert_eq!(backend.usage().payload_bytes, 1 + 4 + 100_000);
        let head = backend.read(at(&a), Want::Head).unwrap().0.unwrap();
        assert_eq!(head, state(6, b""));
        let floor = Ballot { round: 6, proposer: 0 };
        backend.update(at(&a), &mut |_| Ok(Next::Remove { floor })).unwrap().wait().unwrap();
        assert_eq!(read(backend, &a), None);
        assert_eq!(backend.usage().records, 0);
        assert_eq!(backend.usage().payload_bytes, 0);
        let mut seen = Ballot::ZERO;
        let mut look = |current: &mut dyn larder_store::api::Current| {
            seen = current.floor();
            assert_eq!(current.meta(), None);
            Ok(Next::Keep)
        };
        backend.update(at(&a), &mut look).unwrap().wait().unwrap();
        assert_eq!(seen, floor);
    });
}

#[test]
fn decide_sees_what_is_there_and_its_error_changes_nothing() {
    on_every_backend(|backend| {
        let a = key("a");
        store(backend, &a, &state(5, b"one"));
        let mut calls = 0;
        let refused = backend.update(at(&a), &mut |current| {
            calls += 1;
            assert_eq!(current.meta(), Some(state(5, b"one").meta()));
            assert_eq!(current.ballots(), None);
            assert_eq!(current.load().unwrap(), Some(state(5, b"one")));
            Err(StoreError::Invalid { what: "no".into() })
        });
        assert!(matches!(refused, Err(StoreError::Invalid { .. })));
        assert_eq!(calls, 1);
        assert_eq!(read(backend, &a), Some(state(5, b"one")));
    });
}

#[test]
fn a_promise_changes_the_ballots_and_leaves_the_state() {
    on_every_backend(|backend| {
        let a = key("a");
        let ballots = |round| Ballots { promised: Ballot { round, proposer: 1 }, accepted: Ballot::ZERO };
        backend.update(at(&a), &mut |_| Ok(Next::Promise(ballots(3)))).unwrap().wait().unwrap();
        assert_eq!(read(backend, &a), None);
        let slot = RecordSlot { ballots: Some(ballots(4)), state: Some(state(5, b"one")) };
        backend.update(at(&a), &mut |_| Ok(Next::Store(slot.clone()))).unwrap().wait().unwrap();
        backend.update(at(&a), &mut |_| Ok(Next::Promise(ballots(9)))).unwrap().wait().unwrap();
        let mut look = |current: &mut dyn larder_store::api::Current| {
            assert_eq!(current.ballots(), Some(ballots(9)));
            assert_eq!(current.load().unwrap(), Some(state(5, b"one")));
            Ok(Next::Keep)
        };
        backend.update(at(&a), &mut look).unwrap().wait().unwrap();
    });
}

#[test]
fn scans_return_every_key_once_with_any_page_size_and_prefix() {
    on_every_backend(|backend| {
        for i in 0..300 {
            store(backend, &key(format!("p{:03}", i)), &state(i + 1, b"v"));
        }
        store(backend, &key("q"), &state(1, b"v"));
        for limit in [1, 7, 1000] {
            let mut found = Vec::new();
            let mut cursor = Bytes::new();
            loop {
                let request = ScanRequest {
                    prefix: Bytes::from_static(b"p"),
                    cursor,
                    limit,
                    key_len_max: 4,
                    want: Want::Head,
                };
                let page = backend.scan(NS, &request).unwrap();
                assert!(page.records.len() <= limit);
                found.extend(page.records.into_iter().map(|(key, _)| key));
                match page.next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            found.sort();
            let all: Vec<Key> = (0..300).map(|i| key(format!("p{i:03}"))).collect();
            assert_eq!(found, all, "limit {limit}");
        }
        let odd = ScanRequest {
            prefix: Bytes::from_static(b"p"),
            cursor: Bytes::from_static(b"not a cursor"),
            limit: 1,
            key_len_max: 9,
            want: Want::All,
        };
        assert!(matches!(backend.scan(NS, &odd), Err(StoreError::Invalid { .. })));
    });
}

#[test]
fn due_lists_values_whose_time_is_up_soonest_first_until_they_are_removed() {
    on_every_backend(|backend| {
        for (name, ms) in [("late", 3_000), ("soon", 1_000), ("mid", 2_000)] {
            let mut state = state(1, b"v");
            state.expiry = Expiry::at_ms(ms);
            store(backend, &key(name), &state);
        }
        let mut shadow = state(2, b"");
        shadow.expiry = Expiry::at_ms(500);
        shadow.content = Content::Shadow(ShadowReason::Deleted);
        store(backend, &key("shadow"), &shadow);
        let due = |ms, limit| -> Vec<Key> {
            backend.due(Hlc::from_ms(ms), limit).into_iter().map(|(_, _, key)| key).collect()
        };
        assert_eq!(due(999, 9), vec![]);
        assert_eq!(due(2_000, 9), vec![key("soon"), key("mid")]);
        assert_eq!(due(9_000, 1), vec![key("soon")]);
        let soon = key("soon");
        backend.update(at(&soon), &mut |_| Ok(Next::Remove { floor: Ballot::ZERO })).unwrap().wait().unwrap();
        assert_eq!(due(9_000, 1), vec![key("mid")]);
        store(backend, &key("mid"), &state(3, b"v"));
        assert_eq!(due(9_000, 9), vec![key("late")]);
    });
}

#[test]
fn time_only_rises() {
    on_every_backend(|backend| {
        backend.raise_time(Hlc::from_ms(50)).unwrap().wait().unwrap();
        backend.raise_time(Hlc::from_ms(20)).unwrap().wait().unwrap();
        assert_eq!(backend.time(), Hlc::from_ms(50));
    });
}

#[test]
fn updates_of_one_key_from_many_threads_all_take_effect() {
    on_every_backend(|backend| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let counter = key("counter");
                        let mut add = |current: &mut dyn larder_store::api::Current| {
                            let version = current.meta().map_or(0, |meta| meta.version.to_u64());
                            let next = state(version + 1, b"v");
                            Ok(Next::Store(RecordSlot { ballots: None, state: Some(next) }))
                        };
                        backend.update(at(&counter), &mut add).unwrap().wait().unwrap();
                    }
                });
            }
        });
        assert_eq!(read(backend, &key("counter")).unwrap().version.to_u64(), 400);
    });
}

fn grant(token: u8) -> LeaseGrant {
    LeaseGrant { token: LeaseToken([token; 16]), namespace: NS, key: key("file"), deadline_ms: 5_000 }
}

#[test]
fn blobs_are_kept_by_leases_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::from(vec![7; 300_000]);
    let id = BlobId::of(&bytes);
    {
        let backend = log_store(folder.path());
        backend.put(id, bytes.clone(), &grant(1)).unwrap().wait().unwrap();
        let (present, ticket) = backend.lease(&grant(2), &[id, BlobId([0; 32])]).unwrap();
        ticket.wait().unwrap();
        assert_eq!(present, vec![true, false]);
        backend.release(LeaseToken([1; 16])).unwrap().wait().unwrap();
        assert!(matches!(backend.lease(&grant(1), &[id]), Err(StoreError::Invalid { .. })));
        store(&backend, &key("a"), &state(5, b"one"));
        backend.raise_time(Hlc::from_ms(1_000)).unwrap().wait().unwrap();
        backend.close().unwrap();
    }
    let backend = log_store(folder.path());
    assert_eq!(backend.boots(), 2);
    assert_eq!(backend.open_report().lost, vec![]);
    assert_eq!(backend.get(id).unwrap().0, Some(bytes));
    assert_eq!(read(&backend, &key("a")), Some(state(5, b"one")));
    assert_eq!(backend.time(), Hlc::from_ms(1_000));
    assert!(matches!(backend.lease(&grant(1), &[id]), Err(StoreError::Invalid { .. })));
    let usage = BlobStore::usage(&backend);
    assert_eq!((usage.blobs, usage.blob_bytes, usage.orphans, usage.leases), (1, 300_000, 0, 1));
    assert_eq!(backend.due_leases(Hlc::from_ms(4_999), 9), vec![]);
    assert_eq!(backend.due_leases(Hlc::from_ms(5_000), 9).len(), 1);
    backend.confirm(LeaseToken([2; 16])).unwrap().wait().unwrap();
    assert_eq!(backend.due_leases(Hlc::from_ms(5_000), 9), vec![]);
    backend.release(LeaseToken([2; 16])).unwrap().wait().unwrap();
    assert_eq!(BlobStore::usage(&backend).orphans, 1);
}

#[test]
fn a_second_opener_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = log_store(folder.path());
    let second = LogStore::open(folder.path(), LogConfig::default(), &mut SystemRng);
    assert!(matches!(second.map(|_| ()), Err(StoreError::InUse { .. })));
}

#[test]
fn blobs_that_do_not_match_their_id_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Arc::new(log_store(folder.path()));
    let refused = backend.put(BlobId([1; 32]), Bytes::from_static(b"x"), &grant(1));
    assert!(matches!(refused, Err(StoreError::Invalid { .. })));
}

#[test]
fn a_shadow_that_remembers_operations_comes_up_for_sweeping_when_they_are_over() {
    let deadline_ms = 50_000;
    let result = OperationResult::Taken {
        version: Version(Hlc::from_ms(40_000)),
        expiry: Expiry::NEVER,
        takes_left: 0,
        head: Bytes::new(),
        body: Bytes::from_static(b"burn after reading"),
    };
    let shadow = RecordState {
        version: Version(Hlc::from_ms(40_000)),
        expiry: Expiry::NEVER,
        content: Content::Shadow(ShadowReason::Taken),
        operations: vec![OperationRecord { id: OperationId([3; 16]), deadline_ms, result }],
    };
    on_every_backend(|backend| {
        let key = key("burned");
        store(backend, &key, &shadow);
        assert!(backend.due(Hlc::from_ms(deadline_ms - 1), 10).is_empty(), "its taker may still ask");
        // Nothing remembered can be asked about for longer than the longest deadline.
        let due = backend.due(Hlc::from_ms(40_000 + OPERATION_DEADLINE_MS_MAX), 10);
        assert_eq!(due.len(), 1, "or what was handed out stays for ever");
        let replicated = RecordSlot { ballots: Some(Ballots::default()), state: Some(shadow.clone()) };
        backend.update(at(&key), &mut |_| Ok(Next::Store(replicated.clone()))).unwrap().wait().unwrap();
        assert!(
            backend.due(Hlc::from_ms(u64::MAX >> 17), 10).is_empty(),
            "those are the register's business"
        );
    });
}

#[test]
fn the_memory_cap_counts_what_is_held_not_only_the_value() {
    let table = MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 1 });
    let key = key("k");
    store(&table, &key, &state(1, b"body"));
    let plain = table.usage().accounted_bytes;
    let taken = OperationResult::Taken {
        version: Version::from_u64(2),
        expiry: Expiry::NEVER,
        takes_left: 1,
        head: Bytes::new(),
        body: Bytes::from(vec![1; 10_000]),
    };
    let operation = OperationRecord { id: OperationId([3; 16]), deadline_ms: 9, result: taken };
    store(&table, &key, &RecordState { operations: vec![operation], ..state(2, b"body") });
    assert!(table.usage().accounted_bytes >= plain + 10_000, "what is remembered counts");
    store(&table, &key, &state(3, b"body"));
    assert_eq!(table.usage().accounted_bytes, plain);

    // A small value must not hold on to the request it came in.
    let request = Bytes::from(vec![7; 1 << 20]);
    let Content::Live(live) = state(4, b"").content else { unreachable!() };
    let body = request.slice(..100);
    let small = RecordState { content: Content::Live(Live { body, ..live }), ..state(4, b"") };
    store(&table, &key, &small);
    drop(small);
    assert!(request.is_unique(), "the value is a copy");
    table.update(at(&key), &mut |_| Ok(Next::Remove { floor: Ballot::default() })).unwrap().wait().unwrap();
    assert_eq!(table.usage().accounted_bytes, 0);
}
