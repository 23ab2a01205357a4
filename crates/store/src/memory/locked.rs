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
use larder_format::record::{Expiry, RecordMeta, RecordState, Version};
use parking_lot::MutexGuard;

use super::MemoryTable;
use super::entry::{At, Kind, Space, fits};
use super::shard::Shard;
use crate::api::{Current, Next, StoreError, Want};
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

/// Keys of one namespace, held still.
pub struct Locked<'t> {
    table: &'t MemoryTable,
    namespace: NamespaceId,
    space: Space,
    guards: Guards<'t>,
}

/// Shards by number. Of a single key, the usual case, without an allocation.
enum Guards<'t> {
    /// With the lower half of the key's hash.
    One(usize, u32, MutexGuard<'t, Shard>),
    Many(Vec<(usize, MutexGuard<'t, Shard>)>),
}

impl MemoryTable {
    /// Locks what holds one key.
    #[must_use]
    #[inline]
    pub fn lock_one(&self, namespace: NamespaceId, key: &[u8]) -> Locked<'_> {
        let (shard, at) = self.at(namespace, key);
        let guards = Guards::One(shard, at.hash, self.places[shard].shard.lock());
        Locked { table: self, namespace, space: at.space, guards }
    }

    /// Locks what holds all of these keys. Two who lock the same keys in different orders do not wait for each other.
    pub fn lock_keys<'k>(
        &self,
        namespace: NamespaceId,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Locked<'_> {
        let mut wanted: Vec<usize> = keys.into_iter().map(|key| self.at(namespace, key).0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let guards = wanted.into_iter().map(|at| (at, self.places[at].shard.lock())).collect();
        Locked {
            table: self,
            namespace,
            space: self.shared.spaces.of(namespace),
            guards: Guards::Many(guards),
        }
    }

    /// Locks everything; the keys asked for are those of this namespace.
    #[must_use]
    pub fn lock_all(&self, namespace: NamespaceId) -> Locked<'_> {
        let guards = self.places.iter().enumerate().map(|(at, place)| (at, place.shard.lock())).collect();
        Locked {
            table: self,
            namespace,
            space: self.shared.spaces.of(namespace),
            guards: Guards::Many(guards),
        }
    }
}

impl<'t> Locked<'t> {
    /// Which shard holds a key, and what finds it there.
    #[inline]
    fn at<'k>(&self, key: &'k [u8]) -> (usize, At<'k>) {
        if let Guards::One(number, hash, _) = self.guards {
            // Of one key no other can be asked about, and its hash is known.
            debug_assert_eq!(
                hash,
                self.table.shared.hash(self.space, key) as u32,
                "another key than was locked"
            );
            return (number, At { namespace: self.namespace, space: self.space, key, hash });
        }
        let hash = self.table.shared.hash(self.space, key);
        let at = At { namespace: self.namespace, space: self.space, key, hash: hash as u32 };
        (self.table.shard_of(hash), at)
    }

    #[inline]
    pub(super) fn shard(&self, number: usize) -> &Shard {
        match &self.guards {
            Guards::One(at, _, shard) if *at == number => shard,
            Guards::One(..) => not_locked(),
            Guards::Many(shards) => match shards.binary_search_by_key(&number, |(at, _)| *at) {
                Ok(at) => &shards[at].1,
                Err(_) => not_locked(),
            },
        }
    }

    #[inline]
    pub(super) fn shard_mut(&mut self, number: usize) -> (&'t MemoryTable, &mut Shard) {
        let shard = match &mut self.guards {
            Guards::One(at, _, shard) if *at == number => shard,
            Guards::One(..) => not_locked(),
            Guards::Many(shards) => match shards.binary_search_by_key(&number, |(at, _)| *at) {
                Ok(at) => &mut shards[at].1,
                Err(_) => not_locked(),
            },
        };
        (self.table, shard)
    }

    /// What there is under a key.
    ///
    /// # Panics
    /// If the key is not one of several that were locked, or, with debug assertions, not the one that was; so do all methods here
    /// that take one.
    #[must_use]
    #[inline]
    pub fn look(&self, key: &[u8]) -> Look<'_> {
        let (number, at) = self.at(key);
        let shard = self.shard(number);
        match shard.get(&at) {
            None => Look::Nothing,
            Some(entry) => shard.look_at(entry),
        }
    }

    /// Versions made for this key must be above this.
    #[must_use]
    pub fn floor(&self, key: &[u8]) -> Version {
        let (number, _) = self.at(key);
        Version::from_u64(self.shard(number).floor.round)
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
        let (number, at) = self.at(key);
        let (table, shard) = self.shard_mut(number);
        // Looked at only where somebody wants to know.
        let is_new = table.shared.feed.is_on() && shard.find(&at).is_none();
        let need = value.iter().map(|part| part.len()).sum();
        let put =
            |table: &MemoryTable, shard: &mut Shard| table.put_plain(shard, &at, value, version, expiry);
        table.change(number, shard, &at, need, put)?;
        let kind = if is_new { EventKind::Created } else { EventKind::Changed };
        self.tell(number, &at, kind, version);
        Ok(())
    }

    /// Gives a plain value another version and end. Answers whether there is one.
    pub fn touch(&mut self, key: &[u8], version: Version, expiry: Expiry) -> bool {
        let (number, at) = self.at(key);
        let (table, shard) = self.shard_mut(number);
        let Some(found) = shard.find(&at) else { return false };
        let is_plain = matches!(shard.arena.entry(found.handle).kind(), Kind::Plain | Kind::Large);
        if !is_plain || !fits(expiry) {
            return false;
        }
        shard.touch(&table.shared, at.hash, found.handle, version, expiry);
        shard.keep_up(&table.shared, 0);
        table.places[number].publish(shard);
        self.tell(number, &at, EventKind::Changed, version);
        true
    }

    /// Removes whatever is there, and raises the floor of what comes after. `floor` is the version of the removal, or,
    /// of a value whose time is up, its own. Answers whether there was anything.
    pub fn remove(&mut self, key: &[u8], floor: Version, why: EventKind) -> bool {
        let (number, at) = self.at(key);
        let (table, shard) = self.shard_mut(number);
        let removed = table.remove(number, shard, &at, floor);
        if removed {
            self.tell(number, &at, why, floor);
        }
        removed
    }

    /// As [`RecordStore::update`](crate::api::RecordStore::update): for what shows as [`Look::Other`].
    ///
    /// # Errors
    /// What `decide` returns; [`StoreError::Full`]. Nothing was changed.
    pub fn update(
        &mut self,
        key: &[u8],
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
    ) -> Result<(), StoreError> {
        let (number, at) = self.at(key);
        let (table, shard) = self.shard_mut(number);
        table.update_within(number, shard, &at, decide, true)
    }

    /// A copy of what there is under a key, of whatever kind.
    #[must_use]
    pub fn state(&self, key: &[u8]) -> Option<RecordState> {
        let (number, at) = self.at(key);
        let shard = self.shard(number);
        shard.state(shard.get(&at)?, Want::All)
    }

    /// Sets `flag` once the key is changed or removed by anybody, or removed because its time is up; once only. What
    /// nobody holds any more is forgotten. A value whose time is up and that nobody has removed yet sets nothing.
    pub fn watch(&mut self, key: &[u8], flag: &Arc<AtomicBool>) {
        let (number, at) = self.at(key);
        self.shard_mut(number).1.watched.add(at.hash, flag);
    }

    /// As [`MemoryTable::scan_plain`], of a table that is held.
    ///
    /// # Panics
    /// If not all of it is ([`MemoryTable::lock_all`]); so do the other methods here that are about all keys.
    pub fn scan_plain(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], Seen<'_>)) -> u64 {
        self.table.scan_within(Some(self), self.namespace, cursor, count, visit)
    }

    /// As [`MemoryTable::random_key`], of a table that is held.
    #[must_use]
    pub fn random_key(&self, random: u64, now: Hlc) -> Option<Vec<u8>> {
        self.table.random_within(Some(self), self.namespace, random, now)
    }

    /// As [`MemoryTable::clear`], of a table that is held: for everybody else all of it goes at once.
    pub fn clear(&mut self, floor: Version) -> u64 {
        let (table, namespace) = (self.table, self.namespace);
        table.clear_within(self, namespace, floor)
    }

    #[inline]
    fn tell(&mut self, number: usize, at: &At<'_>, kind: EventKind, version: Version) {
        let (table, shard) = self.shard_mut(number);
        shard.watched.changed(at.hash);
        if table.shared.feed.is_on() {
            // Whoever holds keys knows what it does to them, which is more than a change says.
            table.shared.feed.push_by(at.namespace, at.key, Change { kind, version }, true);
        }
    }
}

#[cold]
fn not_locked() -> ! {
    panic!("a key was asked about that was not locked")
}
