//! Records that live in memory: compact entries in pages of their own, 1,024 shards under short locks, a wheel of timers
//! in each, and a cap that is never exceeded. `docs/design/memory.md` has the layout and the reasons.
//!
//! | file | what it does |
//! |---|---|
//! | `locked.rs` | plain values under locks of one key, several, all |
//! | `ahead.rs` | what lookups of several keys will read, read for all of them side by side |
//! | `records.rs` | the contract of [`RecordStore`](crate::api::RecordStore), for records of every kind |
//! | `scan.rs` | pages of records, scans of plain values, random keys, clearing |
//! | `sweep.rs` | what goes by itself: its time is up, or the table is full |
//! | `shard.rs`, `upkeep.rs` | one shard: find, put, remove; moving what is alive out of half-dead pages |
//! | `entry.rs`, `arena.rs`, `index.rs`, `wheel.rs`, `outside.rs` | bytes, pages, buckets, timers, what does not fit a page |
//! | `budget.rs`, `spare.rs` | the cap; pages that are empty, on their way to their next use or back to the system |
//! | `spaces.rs`, `tally.rs`, `watched.rs` | the namespaces, which shard has some of which, who wants to know |
//!
//! Nothing survives a restart. Whether a record's time is up is for the caller to judge on each read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};
use larder_format::record::{Expiry, Version};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::api::StoreError;
use crate::feed::Feed;
use crate::used::UsedTable;

mod ahead;
mod arena;
mod budget;
mod entry;
mod index;
mod locked;
mod outside;
mod records;
mod scan;
mod shard;
mod spaces;
mod spare;
mod sweep;
mod tally;
mod upkeep;
mod watched;
mod wheel;

pub use ahead::AHEAD_MAX;
pub use locked::{Locked, Look, Seen};
pub use sweep::Swept;

use budget::Budget;
use entry::{At, Content, INLINE_LEN_MAX, Kind, fits};
use outside::Outside;
use shard::{Shard, Shared};
use spaces::Spaces;

/// Most shards of a table: enough that threads seldom meet, and that what is done to one at once is little.
pub const SHARDS_MAX: usize = 1024;

/// Least bytes of the cap for each shard: a table with a small cap has fewer shards, so that pages are not what fills it.
const SHARD_BYTES_MIN: u64 = 64 << 10;

/// How a memory table is set up.
#[derive(Debug, Clone, Copy)]
pub struct MemoryConfig {
    /// Most bytes it may hold, overhead counted; 0: no cap.
    pub cap_bytes: u64,
    /// Random, so that nobody outside can choose keys whose hashes collide.
    pub hash_seed: u64,
}

/// Records of class memory.
pub struct MemoryTable {
    places: Box<[Place]>,
    /// Bits of a hash's upper half that choose the shard.
    shard_bits: u32,
    shared: Shared,
    time: AtomicU64,
    turn: sweep::Turn,
}

/// A shard, and what of it is seen without its lock. Apart from its neighbours, so that locking one does not slow down
/// the next.
#[repr(C, align(128))]
#[derive(Default)]
struct Place {
    shard: Mutex<Shard>,
    cell: Cell,
}

struct Cell {
    records: AtomicU64,
    payload: AtomicU64,
    /// The soonest tick at which something is to be looked at; all ones for never.
    soonest: AtomicU64,
}

impl Default for Cell {
    fn default() -> Self {
        Self { records: 0.into(), payload: 0.into(), soonest: u64::MAX.into() }
    }
}

impl MemoryTable {
    /// An empty table.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        Self::counting(config, Arc::default())
    }

    /// An empty table that counts what each namespace holds in `used`.
    #[must_use]
    pub fn counting(config: MemoryConfig, used: Arc<UsedTable>) -> Self {
        let shard_bits = match config.cap_bytes {
            0 => SHARDS_MAX.ilog2(),
            cap => (cap / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX as u64).ilog2(),
        };
        let shared = Shared {
            budget: Budget::new(config.cap_bytes),
            spaces: Spaces::new(used),
            seed: config.hash_seed,
            // A life must not be that of another process; the seed is random for each.
            feed: Arc::new(Feed::new(xxh3_64_with_seed(b"feed", config.hash_seed), 0, false)),
            evicted: AtomicU64::new(0),
        };
        Self {
            places: (0..1_usize << shard_bits).map(|_| Place::default()).collect(),
            shard_bits,
            shared,
            time: AtomicU64::new(0),
            turn: sweep::Turn::default(),
        }
    }

    /// Which records changed. Off until somebody turns it on.
    #[must_use]
    pub fn feed(&self) -> Arc<Feed> {
        self.shared.feed.clone()
    }

    /// How many records a namespace has here, those included whose time is up and that nobody has removed yet.
    #[must_use]
    pub fn records_of(&self, namespace: NamespaceId) -> u64 {
        self.shared.spaces.records(self.shared.spaces.of(namespace))
    }

    /// Says whether values of a namespace that have an end may go early, the soonest first, when the table is full. At
    /// first they may not.
    pub fn set_evicts(&self, namespace: NamespaceId, evicts: bool) {
        self.shared.spaces.set_evicts(self.shared.spaces.of(namespace), evicts);
    }

    /// How many values went early because the table was full.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.shared.evicted.load(Ordering::Relaxed)
    }

    /// The shard of a hash: the upper half chooses, and the lower half finds the entry in it.
    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        ((hash >> 32) >> (32 - self.shard_bits)) as usize
    }

    #[inline]
    fn at<'k>(&self, namespace: NamespaceId, key: &'k [u8]) -> (usize, At<'k>) {
        let space = self.shared.spaces.of(namespace);
        let hash = self.shared.hash(space, key);
        (self.shard_of(hash), At { namespace, space, key, hash: hash as u32 })
    }

    /// Makes a change to a shard, lets values go if there is no room and their namespace allows it, and counts what the
    /// change made of the key's namespace. `need` is about how many bytes it wants.
    fn change<T>(
        &self,
        number: usize,
        shard: &mut Shard,
        at: &At<'_>,
        need: usize,
        mut change: impl FnMut(&Self, &mut Shard) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut round = 0;
        let done = loop {
            let before = (shard.records.cast_signed(), shard.payload.cast_signed());
            let done = change(self, shard);
            let after = (shard.records.cast_signed(), shard.payload.cast_signed());
            self.shared.spaces.count(at.space, after.0 - before.0, after.1 - before.1);
            let is_full = matches!(done, Err(StoreError::Full { .. }));
            let may_evict =
                is_full && round < sweep::evict_rounds(need) && self.shared.spaces.evicts(at.space);
            if !may_evict || !self.evict_for(shard, need, at.hash.wrapping_add(round as u32)) {
                let bytes = usize::try_from((after.1 - before.1).unsigned_abs()).unwrap_or(usize::MAX);
                shard.keep_up(&self.shared, bytes.max(need).min(INLINE_LEN_MAX));
                break done;
            }
            round += 1;
        };
        self.places[number].publish(shard);
        done
    }

    /// Puts a plain value, in a page or outside.
    fn put_plain(
        &self,
        shard: &mut Shard,
        at: &At<'_>,
        value: &[&[u8]],
        version: Version,
        expiry: Expiry,
    ) -> Result<(), StoreError> {
        let len = value.iter().map(|part| part.len()).sum::<usize>();
        self.check(at, len, expiry)?;
        if len > INLINE_LEN_MAX {
            let large = Outside::Large(Bytes::from(value.concat()));
            return shard.put_outside(&self.shared, at, large, version, expiry);
        }
        let content = Content { kind: Kind::Plain, parts: value, len, version, expiry };
        shard.put(&self.shared, at, &content).map(|_| ())
    }

    /// Refuses what does not fit an entry or any value's limit.
    fn check(&self, at: &At<'_>, len: usize, expiry: Expiry) -> Result<(), StoreError> {
        let too_large = |what, len: usize, max: usize| {
            Err(StoreError::TooLarge { what, len: len as u64, max: max as u64 })
        };
        if at.key.is_empty() || at.key.len() > KEY_LEN_MAX {
            return too_large("key", at.key.len(), KEY_LEN_MAX);
        }
        if len > VALUE_LEN_MAX {
            return too_large("value", len, VALUE_LEN_MAX);
        }
        if !fits(expiry) {
            return Err(StoreError::Invalid { what: "an end beyond the year 10889".into() });
        }
        if at.space == spaces::NOWHERE {
            return Err(StoreError::Full {
                what: "namespaces of one life of the node",
                used: spaces::PLACES_MAX as u64,
                max: spaces::PLACES_MAX as u64,
            });
        }
        Ok(())
    }

    /// Removes whatever is there, and raises the floor.
    fn remove(&self, number: usize, shard: &mut Shard, at: &At<'_>, floor: Version) -> bool {
        shard.floor.round = shard.floor.round.max(floor.to_u64());
        let removed = self.change(number, shard, at, 0, |table, shard| {
            let Some(found) = shard.find(at) else { return Ok(false) };
            shard.unlink(&table.shared, found);
            Ok(true)
        });
        removed.unwrap_or(false)
    }

    /// Checks that everything in the table agrees with everything else: entries, buckets, timers, pages, counts. For
    /// tests; takes as long as there are records.
    ///
    /// # Panics
    /// If something does not agree.
    pub fn check_all(&self) {
        for place in &self.places {
            let shard = place.shard.lock();
            shard.check(&self.shared);
            assert_eq!(place.cell.records.load(Ordering::Relaxed), shard.records, "published");
        }
        let (cap, used) = (self.shared.budget.cap(), self.shared.budget.used());
        assert!(cap == 0 || used <= cap, "more is held than the cap allows");
    }
}
