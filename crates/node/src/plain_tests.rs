//! Plain values on the real engine, at times that the tests choose.

use std::sync::atomic::Ordering;

use larder_format::ids::OperationId;
use larder_format::namespace::{Class, Privacy, ScanOrder};
use larder_format::record::{Content, Key, Live, OperationRecord, OperationResult, RecordSlot, RecordState};
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore};
use larder_store::memory::MemoryConfig;

use super::*;

struct Place {
    table: MemoryTable,
    used: Arc<UsedTable>,
    namespace: Namespace,
}

impl Place {
    fn new(change: impl FnOnce(&mut Namespace)) -> Self {
        let used = Arc::<UsedTable>::default();
        let config = MemoryConfig { cap_bytes: 64 << 20, hash_seed: 7 };
        let mut namespace = Namespace::new("raw", Privacy::Raw, Class::Memory, ScanOrder::Hash);
        change(&mut namespace);
        used.of(namespace.id()).set_limit(namespace.quota_bytes);
        Self { table: MemoryTable::counting(config, used.clone()), used, namespace }
    }

    fn at(&self, now_ms: u64) -> Values<'_> {
        Values {
            table: &self.table,
            used: &self.used,
            namespace: &self.namespace,
            id: self.namespace.id(),
            value_len_max: 1 << 20,
            now: Hlc::from_ms(now_ms),
        }
    }
}

fn text(values: Values<'_>, key: &[u8]) -> Option<Vec<u8>> {
    values.lock_one(key).copied(key).unwrap().map(|(value, _)| value)
}

#[test]
fn a_value_that_has_ended_is_gone_once_somebody_met_it() {
    let place = Place::new(|_| {});
    let now = place.at(1_000);
    now.lock_one(b"k").put(b"k", &[b"a", b"", b"bc"], Until::At(Expiry::at_ms(1_500))).unwrap();
    assert_eq!(text(place.at(1_499), b"k").as_deref(), Some(&b"abc"[..]));
    assert_eq!(text(place.at(1_500), b"k"), None);
    assert_eq!(text(place.at(1_400), b"k"), None, "not even for somebody whose time is older");
    assert_eq!(place.table.records_of(place.namespace.id()), 0);
}

#[test]
fn whoever_watches_is_told_of_changes_and_of_nothing_else() {
    let place = Place::new(|_| {});
    let values = place.at(1_000);
    let end = Expiry::at_ms(2_000);
    type Change = fn(&mut Held<'_>);
    let changes: [(Change, bool); 6] = [
        (|held| held.put(b"k", &[b"y"], Until::Kept).unwrap(), true),
        (|held| assert!(held.touch(b"k", Expiry::at_ms(3_000)).unwrap()), true),
        (|held| assert!(held.remove(b"k").unwrap()), true),
        (|held| assert!(held.is_there(b"k")), false),
        (|held| assert!(!held.remove(b"other").unwrap()), false),
        (|held| assert!(held.put(b"k", &[&[0; 2 << 20]], Until::Kept).is_err()), false),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        let flag = Arc::<AtomicBool>::default();
        let mut held = values.lock_keys([&b"k"[..], b"other"]);
        held.put(b"k", &[b"x"], Until::At(end)).unwrap();
        held.watch(b"k", &flag);
        change(&mut held);
        assert_eq!(flag.load(Ordering::Acquire), expected, "{at}");
    }
    let flag = Arc::<AtomicBool>::default();
    values.lock_one(b"k").put(b"k", &[b"x"], Until::At(end)).unwrap();
    values.lock_one(b"k").watch(b"k", &flag);
    place.at(2_000).lock_one(b"k").is_there(b"k");
    assert!(flag.load(Ordering::Acquire), "its end is a change");
}

#[test]
fn lifetimes_are_those_that_the_namespace_allows() {
    let place = Place::new(|namespace| {
        (namespace.ttl_default_ms, namespace.ttl_max_ms) = (Some(500), Some(1_000));
    });
    let values = place.at(10_000);
    let mut held = values.lock_one(b"k");
    held.put(b"k", &[b"v"], Until::Default).unwrap();
    assert_eq!(held.was(b"k").unwrap().unwrap().expiry, Expiry::at_ms(10_500));
    held.put(b"k", &[b"v"], Until::At(Expiry::at_ms(11_000))).unwrap();
    held.put(b"k", &[b"w"], Until::Kept).unwrap();
    assert_eq!(held.was(b"k").unwrap().unwrap().expiry, Expiry::at_ms(11_000));
    for refused in [
        held.put(b"k", &[b"v"], Until::At(Expiry::at_ms(11_001))),
        held.put(b"k", &[b"v"], Until::At(Expiry::NEVER)),
        held.touch(b"k", Expiry::at_ms(11_001)).map(|_| ()),
        held.touch(b"k", Expiry::NEVER).map(|_| ()),
    ] {
        assert!(matches!(refused, Err(Denied::Lifetime(_))), "{refused:?}");
    }
    assert_eq!(held.copied(b"k").unwrap(), Some((b"w".to_vec(), Expiry::at_ms(11_000))));
}

#[test]
fn quotas_and_lengths_are_asked_before_anything_changes() {
    let place = Place::new(|namespace| namespace.quota_bytes = Some(1_000));
    let values = place.at(1_000);
    let mut held = values.lock_one(b"key");
    held.put(b"key", &[&[1; 900]], Until::Default).unwrap();
    let refused = held.put(b"key", &[&[2; 1_000]], Until::Default);
    assert!(matches!(refused, Err(Denied::Store(StoreError::Quota { .. }))), "{refused:?}");
    held.put(b"key", &[&[3; 997]], Until::Default).unwrap();
    assert!(held.remove(b"key").unwrap());
    held.put(b"key", &[&[4; 997]], Until::Default).unwrap();
    drop(held);
    let long = [0; KEY_LEN_MAX + 1];
    for key in [&b""[..], &long] {
        let refused = values.lock_one(key).put(key, &[b"v"], Until::Default);
        assert!(matches!(refused, Err(Denied::Key { .. })), "{refused:?}");
    }
}

#[test]
fn versions_rise_also_over_removals_at_the_same_moment() {
    let place = Place::new(|_| {});
    let values = place.at(1_000);
    let mut held = values.lock_one(b"k");
    let mut last = Version(Hlc::ZERO);
    for round in 0..20 {
        held.put(b"k", &[b"v"], Until::Default).unwrap();
        let version = held.was(b"k").unwrap().unwrap().version;
        assert!(version > last, "{round}");
        last = version;
        if round % 3 == 0 {
            assert!(held.remove(b"k").unwrap());
        }
    }
}

fn store(values: Values<'_>, key: &[u8], state: &RecordState) {
    let key = Key::new(key.to_vec()).unwrap();
    let at = Address { namespace: values.id, slot: Slot::of_raw(key.as_bytes()), key: &key };
    let slot = RecordSlot { ballots: None, state: Some(state.clone()) };
    let _durable = values.table.update(at, &mut |_| Ok(Next::Store(slot.clone()))).unwrap();
}

#[test]
fn what_remembers_operations_is_a_value_like_any_other_and_remembers_them_on() {
    let place = Place::new(|_| {});
    let values = place.at(1_000);
    let written = OperationResult::Written { version: Version(Hlc::from_ms(900)), expiry: Expiry::NEVER };
    let known = OperationRecord { id: OperationId([7; 16]), deadline_ms: 9_000, result: written };
    let state = RecordState {
        version: Version(Hlc::from_ms(900)),
        expiry: Expiry::at_ms(5_000),
        content: Content::Live(Live { body: "first".into(), ..Live::default() }),
        operations: vec![known.clone()],
    };
    store(values, b"k", &state);
    let mut held = values.lock_one(b"k");
    assert_eq!(held.copied(b"k").unwrap(), Some((b"first".to_vec(), Expiry::at_ms(5_000))));
    held.put(b"k", &[b"sec", b"ond"], Until::Kept).unwrap();
    assert_eq!(held.copied(b"k").unwrap(), Some((b"second".to_vec(), Expiry::at_ms(5_000))));
    assert!(held.touch(b"k", Expiry::at_ms(6_000)).unwrap());
    assert_eq!(held.was(b"k").unwrap().unwrap().expiry, Expiry::at_ms(6_000));
    assert!(held.remove(b"k").unwrap() && !held.is_there(b"k") && !held.remove(b"k").unwrap());
    assert_eq!(
        held.locked.state(b"k").unwrap().operations,
        std::slice::from_ref(&known),
        "its shadow remembers"
    );
    held.put(b"k", &[b"third"], Until::Default).unwrap();
    assert_eq!(held.copied(b"k").unwrap(), Some((b"third".to_vec(), Expiry::NEVER)));
    assert_eq!(held.locked.state(b"k").unwrap().operations, [known]);
}

#[test]
fn what_may_be_taken_only_is_neither_shown_nor_written_over() {
    let place = Place::new(|_| {});
    let values = place.at(1_000);
    let live = Live { takes_left: Some(1), body: "secret".into(), ..Live::default() };
    let state = RecordState {
        version: Version(Hlc::from_ms(900)),
        expiry: Expiry::at_ms(5_000),
        content: Content::Live(live),
        operations: Vec::new(),
    };
    store(values, b"once", &state);
    let mut held = values.lock_one(b"once");
    assert!(matches!(held.copied(b"once"), Err(Denied::NotPlain)));
    assert!(matches!(held.put(b"once", &[b"v"], Until::Default), Err(Denied::NotPlain)));
    assert!(held.is_there(b"once"));
    assert!(held.remove(b"once").unwrap());
    held.put(b"once", &[b"v"], Until::Default).unwrap();
    assert!(held.was(b"once").unwrap().unwrap().version > Version(Hlc::from_ms(1_000)));
}

#[test]
fn a_value_written_over_one_that_has_ended_is_all_asked_of_the_quota() {
    let place = Place::new(|namespace| namespace.quota_bytes = Some(10_000));
    let value = [7; 4_000];
    for key in [b"a", b"b"] {
        place.at(1_000).lock_one(key).put(key, &[&value], Until::At(Expiry::at_ms(1_500))).unwrap();
    }
    // Less is allowed by now than there is.
    let used = place.used.of(place.namespace.id());
    used.set_limit(Some(6_000));
    let over = place.at(2_000).lock_one(b"a").put(b"a", &[&value], Until::Default);
    assert!(matches!(over, Err(Denied::Store(StoreError::Quota { .. }))), "{over:?}");
    assert!(used.look().bytes() <= 6_000, "{:?}", used.look());
}
