//! One shard: its pages, buckets, timers and what lies outside, joined. Whoever calls holds its lock.
//!
//! Whatever needs memory reserves it before anything is changed, so that a refusal leaves everything as it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use larder_format::record::{Ballot, Expiry, RecordMeta, RecordSlot, RecordState, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::arena::{Arena, NONE};
use super::budget::{Budget, Purpose};
use super::entry::{At, Content, Entry, Kind, Space, room_for};
use super::index::Index;
use super::outside::{self, List, Outside};
use super::spaces::Spaces;
use super::tally::Tally;
use super::watched::Watched;
use super::wheel::{self, Wheel};
use crate::api::StoreError;
use crate::feed::Feed;

/// Room that a shorter value may leave unused in the place of a longer one, in bytes, if it is not a quarter of it.
const SLACK: usize = 64;

/// Buckets that are taken away with each entry, if there are too many: twice as fast as they can become too many.
const SHRINK_STEP: usize = 2;

/// What all shards of a table share.
pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) spaces: Spaces,
    pub(super) seed: u64,
    pub(super) feed: Arc<Feed>,
    /// Values that went before their time because the table was full.
    pub(super) evicted: AtomicU64,
}

impl Shared {
    /// The hash of a key. Seeded at random, so that nobody outside can choose keys that collide.
    #[inline]
    pub(super) fn hash(&self, space: Space, key: &[u8]) -> u64 {
        let seed = self.seed ^ u64::from(space.0).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        xxh3_64_with_seed(key, seed)
    }

    /// The half of it by which a shard finds its entries.
    #[inline]
    pub(super) fn hash_of(&self, entry: Entry<'_>) -> u32 {
        self.hash(entry.space(), entry.key()) as u32
    }
}

/// What leads to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// It is the first of a bucket.
    Bucket(usize),
    /// It comes after another.
    After(u32),
}

/// An entry and what leads to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) link: Link,
    pub(super) handle: u32,
}

/// See above. What a read needs comes first, beside the lock: one or two lines of the processor's cache.
#[derive(Default)]
#[repr(C)]
pub(super) struct Shard {
    pub(super) index: Index,
    pub(super) arena: Arena,
    pub(super) wheel: Wheel,
    pub(super) outside: List,
    pub(super) watched: Watched,
    pub(super) tally: Tally,
    /// At least every version dropped here, of all namespaces: one number for all is safe, because a floor may always
    /// be higher, and versions are moments in time.
    pub(super) floor: Ballot,
    /// When whole records are due, and their handles.
    pub(super) due_records: BTreeSet<(u64, u32)>,
    pub(super) records: u64,
    /// Bytes of keys and values.
    pub(super) payload: u64,
    /// Entries for which a timer is filed.
    pub(super) armed: usize,
    /// Some entry with an end has no timer, because there was no room for one.
    pub(super) lacks_timers: bool,
    /// A sweep left dead bytes and is to come back for them.
    pub(super) is_packing: bool,
    /// The last tick that was swept.
    pub(super) swept_tick: u64,
}

impl Shard {
    /// The entry of a key.
    #[inline]
    pub(super) fn get(&self, at: &At<'_>) -> Option<Entry<'_>> {
        let mut handle = self.index.first_of(at.hash);
        while handle != NONE {
            let entry = self.arena.entry(handle);
            if entry.is(at.space, at.key) {
                return Some(entry);
            }
            handle = entry.next();
        }
        None
    }

    pub(super) fn find(&self, at: &At<'_>) -> Option<Found> {
        self.find_by(at.hash, |_, entry| entry.is(at.space, at.key))
    }

    /// The first entry in a hash's bucket that is the right one.
    pub(super) fn find_by(&self, hash: u32, is_it: impl Fn(u32, Entry<'_>) -> bool) -> Option<Found> {
        if self.index.is_empty() {
            return None;
        }
        let bucket = self.index.bucket_of(hash);
        let (mut link, mut handle) = (Link::Bucket(bucket), self.index.first(bucket));
        while handle != NONE {
            let entry = self.arena.entry(handle);
            if is_it(handle, entry) {
                return Some(Found { link, handle });
            }
            (link, handle) = (Link::After(handle), entry.next());
        }
        None
    }

    pub(super) fn set_link(&mut self, link: Link, handle: u32) {
        match link {
            Link::Bucket(bucket) => self.index.set_first(bucket, handle),
            Link::After(before) => self.arena.entry_mut(before).set_next(handle),
        }
    }

    /// Bytes of an entry's value.
    pub(super) fn value_len(&self, entry: Entry<'_>) -> usize {
        match entry.kind() {
            Kind::Plain => entry.value().len(),
            Kind::Headed => entry.value().len() - 2,
            Kind::Large | Kind::Record => self.outside.get(entry.outside()).value_len(),
        }
    }

    /// Bytes of an entry's key and value.
    pub(super) fn payload_of(&self, entry: Entry<'_>) -> u64 {
        (entry.key().len() + self.value_len(entry)) as u64
    }

    /// The record that an entry stands for, if it lies outside.
    pub(super) fn record_of(&self, entry: Entry<'_>) -> Option<&RecordSlot> {
        match entry.kind() {
            Kind::Record => match self.outside.get(entry.outside()) {
                Outside::Record(record) => Some(record),
                Outside::Large(_) => None,
            },
            _ => None,
        }
    }

    /// The small part of an entry's state.
    pub(super) fn meta(&self, entry: Entry<'_>) -> Option<RecordMeta> {
        if entry.kind() == Kind::Record {
            return self.record_of(entry)?.state.as_ref().map(RecordState::meta);
        }
        Some(RecordMeta {
            version: entry.version(),
            expiry: entry.expiry(),
            shadow: None,
            takes_left: None,
            has_operations: false,
            value_len: self.value_len(entry) as u32,
        })
    }

    /// Under which tick an entry needs a timer, if the one it has comes too late or it has none.
    fn timer_wanted(&self, armed: Option<u32>, version: Version, expiry: Expiry) -> Option<u64> {
        let now = self.swept_tick.max(wheel::tick_of_version(version));
        let due = wheel::tick_of(expiry)?.min(now + wheel::AHEAD_TICKS_MAX);
        let in_time = armed.is_some_and(|armed| wheel::is_in_time(armed, due));
        (!in_time).then(|| wheel::slot_tick(due, now))
    }

    /// Puts what lies in the page in place of whatever is there for the key; answers the handle.
    ///
    /// # Errors
    /// [`StoreError::Full`]; nothing was changed.
    pub(super) fn put(
        &mut self,
        shared: &Shared,
        at: &At<'_>,
        content: &Content<'_>,
    ) -> Result<u32, StoreError> {
        match self.put_once(shared, at, content) {
            Err(StoreError::Full { .. }) if self.reclaim(shared, room_for(at.key.len(), content.len)) => {
                self.put_once(shared, at, content)
            }
            other => other,
        }
    }

    fn put_once(&mut self, shared: &Shared, at: &At<'_>, content: &Content<'_>) -> Result<u32, StoreError> {
        let need = room_for(at.key.len(), content.len);
        let found = self.find(at);
        let before = found.map(|found| self.arena.entry(found.handle));
        let (room, armed) = before.map_or((0, None), |entry| (entry.room(), entry.armed()));
        let timer = self.timer_wanted(armed, content.version, content.expiry);
        if let Some(tick) = timer {
            self.wheel.reserve(tick, &shared.budget, Purpose::Write)?;
        }
        let handle = match found {
            Some(found) if need <= room && room - need <= SLACK.max(room / 4) => {
                self.forget_content(shared, found.handle);
                self.arena.entry_mut(found.handle).replace(content);
                found.handle
            }
            _ => {
                if found.is_none() {
                    self.index.reserve(&shared.budget)?;
                }
                self.arena.reserve(need, &shared.budget, Purpose::Write)?;
                let handle = self.arena.append(need);
                self.arena.entry_mut(handle).write(at.space, at.key, need, content);
                self.link(shared, at.hash, handle, found);
                handle
            }
        };
        self.payload += self.payload_of(self.arena.entry(handle));
        if let Some(tick) = timer {
            self.wheel.push(tick, at.hash);
            self.arena.entry_mut(handle).set_armed(Some(tick as u32));
            self.armed += usize::from(armed.is_none());
        }
        Ok(handle)
    }

    /// Puts a new entry in its bucket, in place of the one found.
    fn link(&mut self, shared: &Shared, hash: u32, handle: u32, found: Option<Found>) {
        if let Some(Found { link, handle: before }) = found {
            let entry = self.arena.entry(before);
            let (next, armed) = (entry.next(), entry.armed());
            let mut new = self.arena.entry_mut(handle);
            new.set_next(next);
            new.set_armed(armed);
            self.set_link(link, handle);
            self.forget_content(shared, before);
            self.arena.release(before, &shared.budget);
            return;
        }
        if self.index.is_empty() {
            self.index.grow(0);
        }
        let bucket = self.index.bucket_of(hash);
        let next = self.index.first(bucket);
        self.arena.entry_mut(handle).set_next(next);
        self.index.set_first(bucket, handle);
        self.tally.add(self.arena.entry(handle).space());
        self.records += 1;
        self.grow(shared);
    }

    /// Spreads one bucket over two if there are too many records for the buckets there are.
    fn grow(&mut self, shared: &Shared) {
        let Some(split) = self.index.grow(self.records as usize) else { return };
        let mut rest = self.index.first(split.from);
        let (mut stays, mut goes) = (NONE, NONE);
        while rest != NONE {
            let entry = self.arena.entry(rest);
            let next = entry.next();
            let list =
                if shared.hash_of(entry) & split.mask == split.to as u32 { &mut goes } else { &mut stays };
            let before = std::mem::replace(list, rest);
            self.arena.entry_mut(rest).set_next(before);
            rest = next;
        }
        self.index.set_first(split.from, stays);
        self.index.set_first(split.to, goes);
    }

    /// Takes away up to so many buckets that are not needed any more; answers whether there may be others.
    pub(super) fn shrink(&mut self, shared: &Shared, buckets: usize) -> bool {
        for _ in 0..buckets {
            let Some((first, parent)) = self.index.shrink(self.records as usize, &shared.budget) else {
                return false;
            };
            if first == NONE {
                continue;
            }
            let mut last = first;
            loop {
                match self.arena.entry(last).next() {
                    NONE => break,
                    next => last = next,
                }
            }
            let rest = self.index.first(parent);
            self.arena.entry_mut(last).set_next(rest);
            self.index.set_first(parent, first);
        }
        true
    }

    /// What an entry holds is about to go: it is not counted any more, and what lies outside is given up.
    fn forget_content(&mut self, shared: &Shared, handle: u32) {
        let entry = self.arena.entry(handle);
        self.payload -= self.payload_of(entry);
        if !entry.kind().is_outside() {
            return;
        }
        let number = entry.outside();
        if let Some(ms) = self.record_of(entry).and_then(outside::due_ms) {
            self.due_records.remove(&(ms, handle));
        }
        if let Some(gone) = self.outside.remove(number) {
            shared.budget.give(gone.cost());
        }
    }

    /// Puts what lies outside in place of whatever is there for the key.
    ///
    /// # Errors
    /// [`StoreError::Full`]; nothing was changed.
    pub(super) fn put_outside(
        &mut self,
        shared: &Shared,
        at: &At<'_>,
        outside: Outside,
        version: Version,
        expiry: Expiry,
    ) -> Result<(), StoreError> {
        let cost = outside.cost();
        let (kind, due, expiry) = match &outside {
            Outside::Large(_) => (Kind::Large, None, expiry),
            Outside::Record(record) => (Kind::Record, outside::due_ms(record), Expiry::NEVER),
        };
        shared.budget.take(cost, Purpose::Write)?;
        let number = self.outside.add(outside);
        let value = number.to_le_bytes();
        let content = Content { kind, parts: &[&value], len: value.len(), version, expiry };
        match self.put(shared, at, &content) {
            Ok(handle) => {
                self.due_records.extend(due.map(|ms| (ms, handle)));
                Ok(())
            }
            Err(error) => {
                self.outside.remove(number);
                shared.budget.give(cost);
                Err(error)
            }
        }
    }

    /// Gives an entry another version and end.
    pub(super) fn touch(
        &mut self,
        shared: &Shared,
        hash: u32,
        handle: u32,
        version: Version,
        expiry: Expiry,
    ) {
        let armed = self.arena.entry(handle).armed();
        self.arena.entry_mut(handle).set_times(version, expiry);
        if let Some(tick) = self.timer_wanted(armed, version, expiry) {
            self.arm(shared, hash, handle, tick);
        }
    }

    /// Files a timer for an entry, out of what is left to upkeep.
    pub(super) fn arm(&mut self, shared: &Shared, hash: u32, handle: u32, tick: u64) {
        if self.wheel.reserve(tick, &shared.budget, Purpose::Timers).is_err() {
            self.lacks_timers = true;
            return;
        }
        self.wheel.push(tick, hash);
        let was_armed = self.arena.entry(handle).armed().is_some();
        self.arena.entry_mut(handle).set_armed(Some(tick as u32));
        self.armed += usize::from(!was_armed);
    }

    /// Takes an entry out.
    pub(super) fn unlink(&mut self, shared: &Shared, found: Found) {
        self.take_out(shared, found);
        self.shrink(shared, SHRINK_STEP);
    }

    /// Takes an entry out, and leaves it to the caller to take buckets away that are not needed any more.
    pub(super) fn take_out(&mut self, shared: &Shared, found: Found) {
        let entry = self.arena.entry(found.handle);
        let (next, is_armed) = (entry.next(), entry.armed().is_some());
        self.tally.remove(entry.space());
        self.set_link(found.link, next);
        self.forget_content(shared, found.handle);
        self.arena.release(found.handle, &shared.budget);
        self.armed -= usize::from(is_armed);
        self.records -= 1;
        if self.records == 0 {
            self.shrink(shared, SHRINK_STEP);
            self.wheel.clear(&shared.budget);
            self.lacks_timers = false;
        }
    }
}
