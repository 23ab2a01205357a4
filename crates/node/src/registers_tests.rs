//! When a lifetime begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder_format::clock::Clock;
use larder_format::namespace::ScanOrder;
use larder_format::operation::Condition;
use larder_format::rng::SeededRng;
use larder_store::disk::sim::SimDisk;
use larder_store::log::LogConfig;
use larder_store::memory::MemoryConfig;

use super::*;

/// Later at each look, as for somebody who waits between two of them.
struct Passing(AtomicU64);

impl Clock for Passing {
    fn wall_ms(&self) -> u64 {
        self.0.fetch_add(7, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_lifetime_begins_with_the_version_that_has_it() {
    let config = LogConfig { threads: false, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() };
    let log = LogStore::open_on(Arc::new(SimDisk::new()), config, &mut SeededRng::new(1)).unwrap();
    let log = Arc::new(log);
    let memory = Arc::new(MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 4 }));
    let time = Arc::new(NodeTime::resume(Arc::new(Passing(AtomicU64::new(1_000_000))), Hlc::ZERO));
    let namespaces = Arc::new(Namespaces::load(log.clone(), memory.clone()).unwrap());
    let namespace = Namespace::new("values", Privacy::Raw, Class::Memory, ScanOrder::Hash);
    drop(namespaces.create(namespace.clone(), time.now()).unwrap());
    let registers = Registers::new(memory, log, namespaces, time, 1 << 20);
    let ask = |ask| RecordRequest {
        tag: 0,
        namespace: namespace.id(),
        key: Key::new(Bytes::from_static(b"key")).unwrap(),
        identity: None,
        ask,
    };
    let lifetime = LifetimeRequest::Ttl(500);
    let put = Ask::Put(AskPut { lifetime, ..AskPut::default() });
    let touch = Ask::Touch { condition: Condition::Any, lifetime };
    for request in [put, touch] {
        match registers.begin(ask(request)).unwrap().0 {
            Outcome::Written { version, expiry } => assert_eq!(expiry.ms().unwrap() - version.0.ms(), 500),
            other => panic!("{other:?}"),
        }
    }
    let past = LifetimeRequest::Until(5);
    let refused = registers.begin(ask(Ask::Put(AskPut { lifetime: past, ..AskPut::default() }))).unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
}
