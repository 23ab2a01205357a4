//! The memory table beside a model of it: random puts, touches, removals, sweeps, scans and clears, with and without a
//! cap; and what must hold however long it goes on and however many do it at once: no growth, memory given back, a cap
//! that is never exceeded, keys locked together that change together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{LeaseToken, NamespaceId};
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore, StoreError, Want};
use larder_store::feed::{EventKind, Position};
use larder_store::memory::{Locked, Look, MemoryConfig, MemoryTable};

/// Keeps its values when the table is full.
const KEEPS: NamespaceId = NamespaceId(7);
/// Lets the soonest-ending go.
const EVICTS: NamespaceId = NamespaceId(8);

/// Where the clock stands at first: real times, as the timers' low bits are those of real times.
const START_MS: u64 = 1_790_000_000_000;

fn table(cap_bytes: u64, seed: u64) -> MemoryTable {
    let table = MemoryTable::new(MemoryConfig { cap_bytes, hash_seed: seed });
    table.set_evicts(EVICTS, true);
    table
}

/// A number below 2^bits, small ones as likely as large ones.
fn skewed(rng: &mut SeededRng, bits: u64) -> u64 {
    let bits = 1 + rng.below(bits);
    rng.below(1 << bits)
}

/// What there should be under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    version: Version,
    expiry: Expiry,
    value: Vec<u8>,
    /// A head, or leases: then it is not a plain value.
    head: Vec<u8>,
    tokens: usize,
}

struct Run {
    table: MemoryTable,
    held: BTreeMap<(NamespaceId, Vec<u8>), Held>,
    rng: SeededRng,
    now_ms: u64,
    version: u64,
    seen: Position,
    refused: usize,
    evicted: usize,
    expired: usize,
}

impl Run {
    fn new(cap_bytes: u64, seed: u64) -> Self {
        let table = table(cap_bytes, seed);
        table.feed().turn_on();
        let seen = table.feed().position();
        let rng = SeededRng::new(seed);
        let (held, now_ms, version) = (BTreeMap::new(), START_MS, 0);
        Self { table, held, rng, now_ms, version, seen, refused: 0, evicted: 0, expired: 0 }
    }

    fn now(&self) -> Hlc {
        Hlc::from_ms(self.now_ms)
    }

    /// The next version: the time, and above all before.
    fn next_version(&mut self) -> Version {
        self.version = self.now().to_u64().max(self.version + 1);
        Version::from_u64(self.version)
    }

    fn key(&mut self, keys: u64) -> (NamespaceId, Vec<u8>) {
        let number = self.rng.below(keys);
        let space = if number.is_multiple_of(3) { EVICTS } else { KEEPS };
        (space, format!("{}{number}", "k".repeat(number as usize % 5)).into_bytes())
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.rng.below(40) {
            0 => 20_000 + self.rng.below(20_000),
            1..=4 => self.rng.below(6_000),
            _ => self.rng.below(300),
        };
        let mut out = vec![0; len as usize];
        self.rng.fill(&mut out);
        out
    }

    fn expiry(&mut self) -> Expiry {
        let after = match self.rng.below(8) {
            0 | 1 => return Expiry::NEVER,
            2 | 3 => 1 + self.rng.below(300),
            4 | 5 => self.rng.below(20_000),
            6 => self.rng.below(10_000_000),
            _ => self.rng.below(100 * 365 * 86_400_000),
        };
        Expiry::at_ms(self.now_ms + after)
    }

    /// What went by itself since the last look goes from the model as well, if it was right to go.
    fn follow_feed(&mut self) {
        let mut gone = Vec::new();
        loop {
            let looked = self
                .table
                .feed()
                .look(self.seen, u64::MAX, |event| {
                    if event.change.kind == EventKind::Expired {
                        gone.push((event.namespace, event.key.to_vec(), event.change.version));
                    }
                })
                .unwrap();
            self.seen.sequence = looked.through;
            if !looked.more {
                break;
            }
        }
        for (namespace, key, version) in gone {
            let held = self.held.remove(&(namespace, key)).expect("only what is there goes");
            assert_eq!(held.version, version);
            if held.expiry.is_past(self.now()) {
                self.expired += 1;
            } else {
                assert_eq!(namespace, EVICTS, "only where the namespace says so");
                assert_ne!(held.expiry, Expiry::NEVER, "what has no end never goes by itself");
                self.evicted += 1;
            }
        }
    }

    fn put_plain(&mut self, keys: u64) {
        let ((namespace, key), value, expiry) = (self.key(keys), self.bytes(), self.expiry());
        let version = self.next_version();
        let (front, back) = value.split_at(value.len() / 3);
        let put = self.table.lock_one(namespace, &key).put(&key, &[front, &[], back], version, expiry);
        self.follow_feed();
        match put {
            Ok(()) => {
                let held = Held { version, expiry, value, head: Vec::new(), tokens: 0 };
                self.held.insert((namespace, key), held);
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Full, "{error}");
                self.refused += 1;
            }
        }
    }

    /// A record as gRPC clients put it: sealed, or with a lease.
    fn put_record(&mut self, keys: u64) {
        let ((namespace, key), value, expiry) = (self.key(keys), self.bytes(), self.expiry());
        let version = self.next_version();
        let head = vec![9; self.rng.below(40) as usize];
        let tokens = usize::from(self.rng.below(3) == 0);
        let live = Live {
            takes_left: None,
            tokens: vec![LeaseToken([1; 16]); tokens],
            head: head.clone().into(),
            body: value.clone().into(),
        };
        let state = RecordState { version, expiry, content: Content::Live(live), operations: Vec::new() };
        let record_key = Key::new(key.clone()).unwrap();
        let at = Address { namespace, slot: Slot::of_raw(&key), key: &record_key };
        let mut next = Some(Next::Store(RecordSlot { ballots: None, state: Some(state) }));
        let put = self.table.update(at, &mut |_| Ok(next.take().unwrap()));
        self.follow_feed();
        match put {
            Ok(_) => {
                self.held.insert((namespace, key), Held { version, expiry, value, head, tokens });
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Full, "{error}");
                self.refused += 1;
            }
        }
    }

    fn touch(&mut self, keys: u64) {
        let ((namespace, key), expiry) = (self.key(keys), self.expiry());
        let version = self.next_version();
        let touched = self.table.lock_one(namespace, &key).touch(&key, version, expiry);
        let held =
            self.held.get_mut(&(namespace, key)).filter(|held| held.head.is_empty() && held.tokens == 0);
        assert_eq!(touched, held.is_some());
        if let Some(held) = held {
            (held.version, held.expiry) = (version, expiry);
        }
    }

    fn remove(&mut self, keys: u64) {
        let (namespace, key) = self.key(keys);
        let version = self.next_version();
        let mut locked = self.table.lock_one(namespace, &key);
        let removed = locked.remove(&key, version, EventKind::Deleted);
        assert!(locked.floor(&key) >= version);
        drop(locked);
        assert_eq!(removed, self.held.remove(&(namespace, key)).is_some());
    }

    /// Time passes, and some of what is due goes.
    fn sweep(&mut self) {
        self.now_ms += [3, 70, 1_000, 40_000, 5_000_000][self.rng.below(5) as usize];
        let budget = 1 + self.rng.below(50) as usize;
        self.table.sweep(self.now(), budget);
        self.follow_feed();
    }

    fn look(&self, locked: &Locked<'_>, key: &[u8], held: Option<&Held>) {
        match (locked.look(key), held) {
            (Look::Nothing, None) => {}
            (Look::Plain(seen), Some(held)) => {
                assert!(held.head.is_empty() && held.tokens == 0);
                assert_eq!((seen.version, seen.expiry), (held.version, held.expiry));
                assert!(seen.value == held.value, "a value of another length or content");
            }
            (Look::Other(meta), Some(held)) => {
                assert!(!held.head.is_empty() || held.tokens > 0);
                assert_eq!((meta.version, meta.expiry), (held.version, held.expiry));
                assert_eq!(meta.value_len as usize, held.head.len() + held.value.len());
            }
            (look, held) => panic!("{key:?}: {look:?} where there should be {held:?}"),
        }
    }

    /// Everything is as in the model, looked up, read and counted.
    fn compare(&self) {
        self.table.check_all();
        for namespace in [KEEPS, EVICTS] {
            let all = self.table.lock_all(namespace);
            let of_it = self.held.iter().filter(|((space, _), _)| *space == namespace);
            for ((_, key), held) in of_it.clone() {
                self.look(&all, key, Some(held));
            }
            drop(all);
            assert_eq!(self.table.records_of(namespace), of_it.count() as u64);
        }
        for ((namespace, key), held) in self.held.iter().take(20) {
            let record_key = Key::new(key.clone()).unwrap();
            let at = Address { namespace: *namespace, slot: Slot::of_raw(key), key: &record_key };
            let state = self.table.read(at, Want::All).unwrap().0.unwrap();
            let Content::Live(live) = &state.content else { panic!("{state:?}") };
            assert_eq!((state.version, state.expiry), (held.version, held.expiry));
            assert_eq!((&live.head[..], &live.body[..]), (&held.head[..], &held.value[..]));
        }
        let payload = self.held.iter().map(|((_, key), held)| key.len() + held.head.len() + held.value.len());
        let usage = self.table.usage();
        assert_eq!(usage.payload_bytes, payload.sum::<usize>() as u64);
        assert!(usage.accounted_bytes >= usage.payload_bytes);
        let due = self.table.due(self.now(), usize::MAX);
        let due: BTreeSet<_> =
            due.into_iter().map(|(space, _, key)| (space, key.as_bytes().to_vec())).collect();
        let past =
            self.held.iter().filter(|(_, held)| held.expiry.is_past(self.now())).map(|(at, _)| at.clone());
        assert_eq!(due, past.collect());
    }

    fn step(&mut self, keys: u64) {
        match self.rng.below(100) {
            0..=54 => self.put_plain(keys),
            55..=64 => self.put_record(keys),
            65..=74 => self.touch(keys),
            75..=87 => self.remove(keys),
            88..=98 => self.sweep(),
            _ if self.rng.below(10) == 0 => {
                let version = self.next_version();
                let of_it = self.held.keys().filter(|(space, _)| *space == KEEPS).count();
                assert_eq!(self.table.clear(KEEPS, version), of_it as u64);
                self.held.retain(|(space, _), _| *space != KEEPS);
            }
            _ => {
                let (namespace, key) = self.key(keys);
                let held = self.held.get(&(namespace, key.clone()));
                self.look(&self.table.lock_one(namespace, &key), &key, held);
            }
        }
    }

    /// Everything goes: nothing is held any more.
    fn end(mut self) -> (usize, usize, usize) {
        self.compare();
        for namespace in [KEEPS, EVICTS] {
            let version = self.next_version();
            self.table.clear(namespace, version);
        }
        self.table.check_all();
        assert_eq!(self.table.usage().accounted_bytes, 0, "an empty table holds nothing");
        (self.refused, self.evicted, self.expired)
    }
}

#[test]
fn the_table_does_what_the_model_does() {
    let mut expired = 0;
    for seed in 0..24 {
        let keys = [3, 40, 400, 4_000][seed as usize % 4];
        let mut run = Run::new(0, seed);
        for step in 0..3_000 {
            run.step(keys);
            if step % 300 == 0 {
                run.compare();
            }
        }
        let (refused, evicted, gone) = run.end();
        assert_eq!((refused, evicted), (0, 0), "without a cap nothing is refused");
        expired += gone;
    }
    assert!(expired > 500, "values went by themselves: {expired}");
}

#[test]
fn a_full_table_refuses_or_lets_the_soonest_go_and_never_holds_more_than_its_cap() {
    let (mut refused, mut evicted) = (0, 0);
    for seed in 0..24 {
        let cap = [150_000, 400_000, 2_000_000, 5_000_000][seed as usize % 4];
        let mut run = Run::new(cap, seed);
        for step in 0..3_000 {
            run.step(4_000);
            assert!(run.table.usage().accounted_bytes <= cap);
            if step % 300 == 0 {
                run.compare();
            }
        }
        let ended = run.end();
        (refused, evicted) = (refused + ended.0, evicted + ended.1);
    }
    assert!(refused > 1_000 && evicted > 500, "refused {refused}, evicted {evicted}");
}

#[test]
fn the_soonest_ending_go_first_and_room_is_found_for_all_that_comes() {
    let table = table(4 << 20, 3);
    let value = [5; 400];
    for n in 0..40_000_u64 {
        let key = n.to_be_bytes();
        // Later ones end sooner: what stays is not what came last but what ends last.
        let expiry = Expiry::at_ms(START_MS + 100_000_000 - n * 1_000);
        table.lock_one(EVICTS, &key).put(&key, &[&value], Version(Hlc::from_ms(START_MS)), expiry).unwrap();
    }
    let stays = |range: std::ops::Range<u64>| {
        let there =
            |n: &u64| table.lock_one(EVICTS, &n.to_be_bytes()).look(&n.to_be_bytes()) != Look::Nothing;
        range.filter(there).count()
    };
    let held = table.records_of(EVICTS);
    assert!(held > 6_000, "most of the cap is in use: {held}");
    // Some go at a time, and each shard looks only at its own: the order is kept nearly, not to the last value.
    assert!(stays(0..4_000) > 3_200, "those that end last stay: {}", stays(0..4_000));
    assert!(stays(9_000..37_000) < 2_800, "those that end soonest went: {}", stays(9_000..37_000));
    assert_eq!(table.evicted(), 40_000 - held);
    // Others keep theirs, and are told when there is no room left for them.
    let keeps = (0..20_000_u64).take_while(|n| {
        let key = n.to_be_bytes();
        let version = Version(Hlc::from_ms(START_MS));
        table.lock_one(KEEPS, &key).put(&key, &[&value], version, Expiry::NEVER).is_ok()
    });
    let kept = keeps.count() as u64;
    assert_eq!(table.records_of(KEEPS), kept, "none of them went");
    assert_eq!(table.records_of(EVICTS), held, "nor did others for them");
}

#[test]
fn a_hot_key_leaves_no_growth_however_its_size_and_end_change() {
    let table = table(0, 5);
    let mut rng = SeededRng::new(5);
    let value = [7; 3_000];
    // Others beside it, so that its shard is never empty and begins anew.
    for n in 0..10_000_u64 {
        let key = n.to_be_bytes();
        let version = Version(Hlc::from_ms(START_MS));
        table.lock_one(KEEPS, &key).put(&key, &[b"other"], version, Expiry::NEVER).unwrap();
    }
    let others = table.usage().accounted_bytes;
    let (mut most, mut now_ms) = (0, START_MS);
    for n in 0..1_000_000_u64 {
        if n % 1_000 == 0 {
            now_ms += 10;
            most = most.max(table.usage().accounted_bytes - others);
        }
        let version = Version::from_u64((now_ms << 16) + n % 1_000);
        let expiry = match rng.below(10) {
            0 => Expiry::NEVER,
            _ => Expiry::at_ms(now_ms + 1_000 + skewed(&mut rng, 40)),
        };
        let len = skewed(&mut rng, 11) as usize;
        let mut locked = table.lock_one(KEEPS, b"hot");
        if n % 3 == 0 {
            // As bad as it gets: each begins anew with a timer of its own.
            locked.remove(b"hot", version, EventKind::Deleted);
        }
        locked.put(b"hot", &[&value[..len]], version, expiry).unwrap();
    }
    table.check_all();
    assert!(most < 64 << 10, "a key of at most 2 KiB held {most} bytes");
    table.clear(KEEPS, Version(Hlc::MAX));
    assert_eq!(table.usage().accounted_bytes, 0);
}

#[test]
fn what_expires_gives_its_memory_back_and_what_stays_is_packed() {
    let table = table(0, 6);
    let value = [1; 300];
    for n in 0..150_000_u64 {
        let key = n.to_be_bytes();
        let expiry = if n % 10 == 0 { Expiry::NEVER } else { Expiry::at_ms(START_MS + 1_000 + n % 5_000) };
        table.lock_one(KEEPS, &key).put(&key, &[&value], Version(Hlc::from_ms(START_MS)), expiry).unwrap();
    }
    let full = table.usage();
    assert!(full.accounted_bytes < full.payload_bytes * 5 / 4, "{full:?}");
    let mut removed = 0;
    loop {
        let swept = table.sweep(Hlc::from_ms(START_MS + 7_000), 512);
        removed += swept.removed;
        if !swept.more {
            break;
        }
    }
    assert_eq!(removed, 135_000);
    let after = table.usage();
    assert_eq!(after.records, 15_000);
    // 1,024 shards of fifteen values each: a quarter and a page of 4 KiB may be dead, another not full yet.
    assert!(after.accounted_bytes < after.payload_bytes * 3 / 2 + 1024 * 9_000, "{after:?}");
    table.check_all();
}

#[test]
fn of_few_large_values_those_that_end_soonest_go_as_well() {
    let table = table(32 << 20, 3);
    let value = vec![5; 256 << 10];
    let key = |n: u64| n.to_be_bytes();
    // In an order that has nothing to do with their ends, which are seconds apart and days away.
    let ends = |n: u64| n * 367 % 600;
    for n in 0..600_u64 {
        let expiry = Expiry::at_ms(START_MS + 300_000_000 + ends(n) * 1_000);
        table
            .lock_one(EVICTS, &key(n))
            .put(&key(n), &[&value], Version(Hlc::from_ms(START_MS)), expiry)
            .unwrap();
    }
    let held = table.records_of(EVICTS);
    assert!(held > 90, "most of the cap is in use: {held}");
    // What came last could not be let go before it came; of the others those stay that end last.
    let there = (0..600).filter(|n| table.lock_one(EVICTS, &key(*n)).look(&key(*n)) != Look::Nothing);
    let late = there.filter(|n| ends(*n) >= 600 - 2 * held).count() as u64;
    assert!(late * 10 > held * 8, "{late} of {held} end late");
}

#[test]
fn a_key_that_is_there_throughout_is_met_by_every_scan_while_everything_else_comes_and_goes() {
    let table = Arc::new(table(0, 7));
    let stays = |n: u64| format!("stays {n}").into_bytes();
    let version = Version(Hlc::from_ms(START_MS));
    for n in 0..500 {
        table.lock_one(KEEPS, &stays(n)).put(&stays(n), &[b"v"], version, Expiry::NEVER).unwrap();
    }
    let (done, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let churn = std::thread::spawn({
        let (table, done, rounds) = (table.clone(), done.clone(), rounds.clone());
        move || {
            let mut round = 0_u64;
            while !done.load(Ordering::Acquire) {
                for n in 0..30_000_u64 {
                    let key = format!("goes {n}").into_bytes();
                    let expiry = Expiry::at_ms(START_MS + round * 100 + n % 90);
                    table.lock_one(KEEPS, &key).put(&key, &[b"w"], version, expiry).unwrap();
                }
                round += 1;
                while table.sweep(Hlc::from_ms(START_MS + round * 100 + 600), 1_000).more {}
                rounds.store(round, Ordering::Release);
            }
        }
    });
    let mut scans = 0;
    // However the processors are shared: until everything has come and gone several times meanwhile.
    while scans < 20 || rounds.load(Ordering::Acquire) < 4 {
        let count = [1, 7, 10, 100, 1_000][scans % 5];
        scans += 1;
        let (mut met, mut cursor, mut calls) = (BTreeSet::new(), 0, 0);
        loop {
            let mut shown = 0;
            cursor = table.scan_plain(KEEPS, cursor, count, &mut |key, _| {
                shown += 1;
                if key.starts_with(b"stays") {
                    met.insert(key.to_vec());
                }
            });
            calls += 1;
            assert!(shown <= count + 20, "asked for about {count}, shown {shown}");
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(met.len(), 500, "count {count}, after {calls} calls");
    }
    done.store(true, Ordering::Release);
    churn.join().unwrap();
}

#[test]
fn a_small_namespace_in_a_large_table_is_gone_through_without_all_the_rest() {
    let table = table(0, 12);
    let version = Version(Hlc::from_ms(START_MS));
    for n in 0..400_000_u64 {
        let key = n.to_be_bytes();
        table.lock_one(KEEPS, &key).put(&key, &[b"v"], version, Expiry::NEVER).unwrap();
    }
    for n in 0..5_u64 {
        let key = n.to_be_bytes();
        table.lock_one(EVICTS, &key).put(&key, &[b"v"], version, Expiry::NEVER).unwrap();
    }
    let scan = |namespace| {
        let (mut met, mut cursor, mut calls) = (0, 0, 0);
        loop {
            cursor = table.scan_plain(namespace, cursor, 10, &mut |_, _| met += 1);
            calls += 1;
            if cursor == 0 {
                return (met, calls);
            }
        }
    };
    // A call looks at 4,096 buckets at most, and the table has half a million.
    let (met, calls) = scan(EVICTS);
    assert!(met == 5 && calls <= 2, "{met} values in {calls} calls");
    assert_eq!(scan(NamespaceId(99)), (0, 1), "nothing to be found is found at once");
    assert!(table.random_key(EVICTS, 77, Hlc::from_ms(START_MS)).is_some());
    assert_eq!(table.clear(EVICTS, version), 5);
    assert_eq!(scan(EVICTS), (0, 1));
    table.check_all();
}

#[test]
fn many_threads_never_hold_more_than_the_cap() {
    let cap = 3_000_000;
    let table = table(cap, 8);
    let (most, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (table, most, refused) = (&table, &most, &refused);
            scope.spawn(move || {
                let mut rng = SeededRng::new(thread);
                let value = [3; 40_000];
                for n in 0..12_000_u64 {
                    let key = (rng.below(20_000)).to_be_bytes();
                    let namespace = if rng.below(2) == 0 { KEEPS } else { EVICTS };
                    let version = Version(Hlc::from_ms(START_MS + n));
                    let len = skewed(&mut rng, 15) as usize;
                    let expiry = Expiry::at_ms(START_MS + n + rng.below(3_000));
                    let mut locked = table.lock_one(namespace, &key);
                    match locked.put(&key, &[&value[..len]], version, expiry) {
                        Err(StoreError::Full { .. }) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        other => other.unwrap(),
                    }
                    drop(locked);
                    most.fetch_max(table.usage().accounted_bytes, Ordering::Relaxed);
                    if n % 100 == thread {
                        table.sweep(Hlc::from_ms(START_MS + n), 1_000);
                    }
                }
            });
        }
    });
    table.check_all();
    let (most, refused) = (most.into_inner(), refused.into_inner());
    assert!(most <= cap && most > cap / 10 * 9, "at most {most} of {cap}");
    assert!(refused > 30, "the cap was felt: {refused}");
}

/// Sums move between keys under locks of several: whoever locks all sees the whole, always, and nobody waits for ever.
#[test]
fn keys_locked_together_change_together_and_nobody_waits_in_a_circle() {
    const KEYS: u64 = 24;
    let table = table(0, 9);
    let name = |n: u64| format!("account {n}").into_bytes();
    let amount = |locked: &Locked<'_>, key: &[u8]| match locked.look(key) {
        Look::Plain(seen) => u64::from_le_bytes(seen.value.try_into().unwrap()),
        other => panic!("{other:?}"),
    };
    let version = Version(Hlc::from_ms(START_MS));
    for n in 0..KEYS {
        let key = name(n);
        table.lock_one(KEEPS, &key).put(&key, &[&100_u64.to_le_bytes()], version, Expiry::NEVER).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                let mut rng = SeededRng::new(100 + thread);
                for round in 0..5_000 {
                    let keys: Vec<Vec<u8>> = (0..2 + rng.below(4)).map(|_| name(rng.below(KEYS))).collect();
                    let mut locked = table.lock_keys(KEEPS, keys.iter().map(Vec::as_slice));
                    let (from, to) = (&keys[0], &keys[1]);
                    let has = amount(&locked, from);
                    if has > 0 && from != to {
                        let gets = amount(&locked, to) + 1;
                        locked.put(from, &[&(has - 1).to_le_bytes()], version, Expiry::NEVER).unwrap();
                        locked.put(to, &[&gets.to_le_bytes()], version, Expiry::NEVER).unwrap();
                    }
                    drop(locked);
                    if round % 50 == thread {
                        let all = table.lock_all(KEEPS);
                        let sum: u64 = (0..KEYS).map(|n| amount(&all, &name(n))).sum();
                        assert_eq!(sum, KEYS * 100, "a transfer was seen half done");
                    }
                    if round % 10 == 0 {
                        let keys: Vec<Vec<u8>> = (0..KEYS).map(name).collect();
                        let some = table.lock_keys(KEEPS, keys.iter().rev().map(Vec::as_slice));
                        let sum: u64 = keys.iter().map(|key| amount(&some, key)).sum();
                        assert_eq!(sum, KEYS * 100);
                    }
                }
            });
        }
    });
}

#[test]
fn watchers_are_told_once_of_every_kind_of_change() {
    let table = table(0, 10);
    let version = Version(Hlc::from_ms(START_MS));
    let watched = |key: &[u8]| {
        let flag = Arc::new(AtomicBool::new(false));
        table.lock_one(KEEPS, key).watch(key, &flag);
        flag
    };
    let is_set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Acquire);
    let (by_put, other) = (watched(b"a"), watched(b"b"));
    table.lock_one(KEEPS, b"a").put(b"a", &[b"1"], version, Expiry::NEVER).unwrap();
    assert!(is_set(&by_put) && !is_set(&other), "another key is another's business");
    let by_touch = watched(b"a");
    assert!(table.lock_one(KEEPS, b"a").touch(b"a", version, Expiry::at_ms(START_MS + 5)));
    assert!(is_set(&by_touch));
    let by_end = watched(b"a");
    assert_eq!(table.sweep(Hlc::from_ms(START_MS + 4), 100).removed, 0);
    assert!(!is_set(&by_end));
    assert_eq!(table.sweep(Hlc::from_ms(START_MS + 600), 100).removed, 1);
    assert!(is_set(&by_end));
    let absent = watched(b"a");
    assert!(!table.lock_one(KEEPS, b"a").remove(b"a", version, EventKind::Deleted));
    assert!(!is_set(&absent), "nothing was there to be removed");
    table.lock_one(KEEPS, b"a").put(b"a", &[b"1"], version, Expiry::NEVER).unwrap();
    let by_clear = watched(b"a");
    assert_eq!(table.clear(KEEPS, version), 1);
    assert!(is_set(&by_clear) && is_set(&absent));
    // A record that others change counts as well.
    let by_update = watched(b"a");
    let key = Key::new(Bytes::from_static(b"a")).unwrap();
    let at = Address { namespace: KEEPS, slot: Slot::of_raw(b"a"), key: &key };
    let live = Live { takes_left: Some(1), ..Live::default() };
    let state =
        RecordState { version, expiry: Expiry::NEVER, content: Content::Live(live), operations: Vec::new() };
    let slot = RecordSlot { ballots: None, state: Some(state) };
    let _done = table.update(at, &mut |_| Ok(Next::Store(slot.clone()))).unwrap();
    assert!(is_set(&by_update));
    // A million who go away leave nothing behind that grows.
    for n in 0..100_000_u64 {
        drop(watched(&n.to_be_bytes()));
    }
    assert!(!is_set(&other));
}

#[test]
fn a_random_key_is_one_that_is_there_and_any_may_be_chosen() {
    let table = table(0, 11);
    let version = Version(Hlc::from_ms(START_MS));
    let now = Hlc::from_ms(START_MS);
    assert_eq!(table.random_key(KEEPS, 5, now), None);
    for n in 0..50_u64 {
        let key = n.to_be_bytes();
        let expiry = if n % 2 == 0 { Expiry::at_ms(START_MS) } else { Expiry::NEVER };
        table.lock_one(KEEPS, &key).put(&key, &[b"v"], version, expiry).unwrap();
    }
    let mut rng = SeededRng::new(1);
    let mut chosen = BTreeSet::new();
    for _ in 0..2_000 {
        let key = table.random_key(KEEPS, rng.u64(), now).unwrap();
        assert_eq!(key[7] % 2, 1, "its time is not up");
        chosen.insert(key);
    }
    assert!(chosen.len() > 20, "{} of 25 were chosen", chosen.len());
    assert_eq!(table.random_key(EVICTS, 5, now), None, "another namespace");
}
