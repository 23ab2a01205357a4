//! Leases whose namespace is gone, and looks at leases that fail.

use std::sync::Arc;

use larder_format::clock::{Hlc, ManualClock};
use larder_format::ids::BlobId;
use larder_format::namespace::{Namespace, Privacy, ScanOrder};
use larder_format::record::{Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::SeededRng;
use larder_format::slot::Slot;
use larder_store::api::{Address, LeaseGrant, Next, RecordStore};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{LogConfig, LogStore};
use larder_store::memory::{MemoryConfig, MemoryTable};
use parking_lot::Mutex;

use super::*;
use crate::audit::LeaseAudit;
use crate::chores::Chores;
use crate::metrics::Metrics;
use crate::time::NodeTime;
use crate::tokens::Tokens;

struct Place {
    disk: SimDisk,
    chores: Chores,
    namespace: Namespace,
}

impl Place {
    fn new() -> Self {
        let disk = SimDisk::new();
        let config = LogConfig { threads: false, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() };
        let log = LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap();
        let log = Arc::new(log);
        let memory = Arc::new(MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 4 }));
        let time = Arc::new(NodeTime::resume(Arc::new(ManualClock::at(1_000_000)), Hlc::ZERO));
        let namespaces = Arc::new(Namespaces::load(log.clone(), memory.clone()).unwrap());
        let namespace = Namespace::new("files", Privacy::Sealed, Class::Disk, ScanOrder::Key);
        drop(namespaces.create(namespace.clone(), time.now()).unwrap());
        let registers =
            Arc::new(Registers::new(memory, log.clone(), namespaces.clone(), time.clone(), 1 << 20));
        let leases = Arc::new(Leases { registers: registers.clone(), namespaces, log: log.clone() });
        let tokens = Arc::new(Tokens::load(log.clone(), time.clone()).unwrap());
        let audit = Mutex::new(LeaseAudit::default());
        let metrics = Arc::new(Metrics::new());
        log.pump().unwrap();
        Self { disk, chores: Chores { registers, time, log, leases, tokens, audit, metrics }, namespace }
    }

    fn key(&self, number: u8) -> Key {
        Key::new(Bytes::from(vec![number; FILE_KEY_LEN])).unwrap()
    }

    /// Stores a blob under a lease of its own.
    fn upload(&self, number: u8) -> LeaseToken {
        let (bytes, token) = (Bytes::from(vec![number; 1000]), LeaseToken([number; 16]));
        let key = self.key(number);
        let lease = LeaseGrant { token, namespace: self.namespace.id(), key, deadline_ms: 2_000_000 };
        drop(self.chores.log.put(BlobId::of(&bytes), bytes, &lease).unwrap());
        token
    }

    /// Writes the record that lists it.
    fn list(&self, number: u8) {
        let (key, token) = (self.key(number), LeaseToken([number; 16]));
        let live = Live { tokens: vec![token], ..Live::default() };
        let state = RecordState {
            version: Version::from_u64(7),
            expiry: Expiry::NEVER,
            content: Content::Live(live),
            operations: Vec::new(),
        };
        let at = Address { namespace: self.namespace.id(), slot: Slot::of_sealed(key.as_bytes()), key: &key };
        let log = &self.chores.log;
        let ticket = log.update(at, &mut |_| {
            log.list_leases(at.namespace, at.key, &[token])?;
            Ok(Next::Store(RecordSlot { ballots: None, state: Some(state.clone()) }))
        });
        drop(ticket.unwrap());
    }
}

#[test]
fn what_was_uploaded_while_its_namespace_was_deleted_does_not_stay_for_ever() {
    let place = Place::new();
    let leases = &place.chores.leases;
    let (late, listed) = (place.upload(1), place.upload(2));
    place.list(2);
    drop(leases.namespaces.forget("files").unwrap());
    assert!(leases.end_if_unlisted(late).unwrap().is_some(), "nothing lists it");
    // Were it the settings that were lost, its records would be there still, and keep what they list.
    assert!(leases.end_if_unlisted(listed).unwrap().is_none());
    place.chores.log.pump().unwrap();
}

#[test]
fn who_could_not_be_looked_at_is_looked_at_later() {
    let place = Place::new();
    let (chores, log) = (&place.chores, &place.chores.log);
    let tokens: Vec<LeaseToken> = (1..=9).map(|number| place.upload(number)).collect();
    for token in &tokens {
        drop(log.confirm(*token).unwrap());
    }
    log.pump().unwrap();
    (1..=4).for_each(|number| chores.registers.suspects().note(place.namespace.id(), &place.key(number)));
    // The disk is full, so that nothing can be ended.
    let used: usize = place.disk.contents().values().map(Vec::len).sum();
    place.disk.set_capacity(Some(used as u64));
    drop(log.raise_time(Hlc::from_ms(5)).unwrap());
    assert!(log.pump().is_err());
    assert!(chores.look_at_suspects().is_err());
    chores.audit.lock().begin_now();
    assert!(chores.audit_leases().is_err());
    place.disk.set_capacity(None);
    log.pump().unwrap();
    chores.look_at_suspects().unwrap();
    let held = |numbers: std::ops::RangeInclusive<u8>| {
        numbers.filter(|number| log.lease_info(LeaseToken([*number; 16])).is_some()).count()
    };
    assert_eq!((held(1..=4), held(5..=9)), (0, 5), "those that were pointed out");
    chores.audit_leases().unwrap();
    assert_eq!(held(1..=9), 0, "and the rest of the audit");
}
