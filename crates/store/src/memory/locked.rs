//! Plain values: what a door that knows only keys, bytes and lifetimes needs of the memory table, without an
//! allocation per read. Whoever holds a [`Locked`] sees its keys unchanged by anybody else until it is dropped: one key,
//! several keys (locked in order, so that nobody waits for each other in a circle) or all of a table.
//!
//! A value is plain if it is bytes and an end and nothing else: no reads left to count, no leases, no remembered
//! operations, no ballots, no sealed head. Anything else under the key shows as [`Look::Other`] and is left to
//! [`RecordStore`](crate::api::RecordStore). The rules by which values change are the caller's (`larder-mesh`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::record::{Expiry, RecordMeta, Version};
use parking_lot::MutexGuard;

use super::{MemoryTable, Shard};
use crate::api::StoreError;
use crate::feed::{Change, EventKind};

/// A plain value, as it lies in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Which value.
    pub version: Version,
    /// When its time is up. It may be: whether it is shown is for the caller to judge.
    pub expiry: Expiry,
    /// Its bytes.
    pub value: &'a [u8],
}

/// What there is under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look<'a> {
    /// Nothing.
    Nothing,
    /// A plain value.
    Plain(Seen<'a>),
    /// A record that is more than bytes and an end: takes, leases, operations, ballots, a sealed head, a shadow.
    Other(RecordMeta),
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Values removed.
    pub removed: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Whether there is more to do already.
    pub more: bool,
}

/// Keys of one namespace, held still.
pub struct Locked<'t> {
    table: &'t MemoryTable,
    namespace: NamespaceId,
    shards: Vec<(usize, MutexGuard<'t, Shard>)>,
}

impl MemoryTable {
    /// Locks what holds one key.
    #[must_use]
    pub fn lock_one(&self, namespace: NamespaceId, key: &[u8]) -> Locked<'_> {
        self.lock_keys(namespace, [key])
    }

    /// Locks what holds all of these keys. Two who lock the same keys in different orders do not wait for each other.
    pub fn lock_keys<'k>(
        &self,
        namespace: NamespaceId,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Locked<'_> {
        let mut wanted: Vec<usize> = keys.into_iter().map(|key| self.shard_at(namespace, key).0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let shards = wanted.into_iter().map(|at| (at, self.shards[at].lock())).collect();
        Locked { table: self, namespace, shards }
    }

    /// Locks everything; the keys asked for are those of this namespace.
    #[must_use]
    pub fn lock_all(&self, namespace: NamespaceId) -> Locked<'_> {
        let shards = self.shards.iter().enumerate().map(|(at, shard)| (at, shard.lock())).collect();
        Locked { table: self, namespace, shards }
    }

    /// Removes plain values whose time is up at `now`, `budget` of them at most, a few under each lock.
    pub fn sweep(&self, now: Hlc, budget: usize) -> Swept {
        let mut swept = Swept::default();
        for (namespace, _, key) in crate::api::RecordStore::due(self, now, budget) {
            let mut locked = self.lock_one(namespace, key.as_bytes());
            let Look::Plain(seen) = locked.look(key.as_bytes()) else { continue };
            if seen.expiry.is_past(now) {
                let (version, len) = (seen.version, key.as_bytes().len() + seen.value.len());
                locked.remove(key.as_bytes(), version, EventKind::Expired);
                swept.removed += 1;
                swept.bytes += len as u64;
            }
        }
        swept.more = swept.removed == budget as u64;
        swept
    }

    /// How many records a namespace has here, those included whose time is up and that nobody has removed yet.
    #[must_use]
    pub fn records_of(&self, namespace: NamespaceId) -> u64 {
        self.used.of(namespace).look().records
    }
}

impl Locked<'_> {
    fn at(&self, key: &[u8]) -> (usize, u64) {
        let (shard, hash) = self.table.shard_at(self.namespace, key);
        let at = self.shards.binary_search_by_key(&shard, |(at, _)| *at);
        (at.expect("only keys that were locked are asked about"), hash)
    }

    /// What there is under a key.
    ///
    /// # Panics
    /// If the key is not one of those that were locked; so do all methods here that take one.
    #[must_use]
    pub fn look(&self, key: &[u8]) -> Look<'_> {
        let (at, hash) = self.at(key);
        self.shards[at].1.look(self.namespace, key, hash)
    }

    /// Versions made for this key must be above this.
    #[must_use]
    pub fn floor(&self, key: &[u8]) -> Version {
        let (at, _) = self.at(key);
        let floor = self.shards[at].1.floors.get(&self.namespace).copied().unwrap_or_default();
        Version::from_u64(floor.round)
    }

    /// Puts a plain value, `value` being its parts in order, in place of whatever is there.
    ///
    /// # Errors
    /// [`StoreError::Full`]; [`StoreError::TooLarge`] for a key or value beyond any limit. Nothing was changed.
    pub fn put(
        &mut self,
        key: &[u8],
        value: &[&[u8]],
        version: Version,
        expiry: Expiry,
    ) -> Result<(), StoreError> {
        let (at, hash) = self.at(key);
        self.table.put_plain(
            &mut self.shards[at].1,
            self.namespace,
            (key, hash),
            value,
            (version, expiry),
        )?;
        self.tell(at, hash, key, EventKind::Changed, version);
        Ok(())
    }

    /// Gives a plain value another version and end. Answers whether there is one.
    pub fn touch(&mut self, key: &[u8], version: Version, expiry: Expiry) -> bool {
        let (at, hash) = self.at(key);
        let touched = self.shards[at].1.touch_plain(self.namespace, key, hash, version, expiry);
        if touched {
            self.tell(at, hash, key, EventKind::Changed, version);
        }
        touched
    }

    /// Removes whatever is there, and raises the floor of what comes after. `floor` is the version of the removal, or,
    /// of a value whose time is up, its own. Answers whether there was anything.
    pub fn remove(&mut self, key: &[u8], floor: Version, why: EventKind) -> bool {
        let (at, hash) = self.at(key);
        let removed = self.table.remove_plain(&mut self.shards[at].1, self.namespace, (key, hash), floor);
        if removed {
            self.tell(at, hash, key, why, floor);
        }
        removed
    }

    /// Sets `flag` once the key is changed or removed by anybody, or removed because its time is up; once only. What
    /// nobody holds any more is forgotten. A value whose time is up and that nobody has removed yet sets nothing.
    pub fn watch(&mut self, key: &[u8], flag: &Arc<AtomicBool>) {
        let (at, hash) = self.at(key);
        self.shards[at].1.watched.add(hash, flag);
    }

    fn tell(&mut self, at: usize, hash: u64, key: &[u8], kind: EventKind, version: Version) {
        self.shards[at].1.watched.changed(hash);
        if self.table.feed.is_on() {
            self.table.feed.push_next(self.namespace, key, Change { kind, version });
        }
    }
}
