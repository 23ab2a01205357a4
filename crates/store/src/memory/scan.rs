//! Going through a table: shard by shard, in each by the key's hash with its bits read backwards. A place in that order
//! is all a cursor holds, and it means the same however the buckets grow and shrink meanwhile: a key that is there from
//! the beginning of a scan to its end is met.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_RECORDS_MAX};
use larder_format::record::{Key, Version};
use parking_lot::MutexGuard;

use super::MemoryTable;
use super::arena::NONE;
use super::entry::{At, Entry, Space};
use super::locked::{Locked, Look, Seen};
use super::shard::Shard;
use crate::api::{ScanPage, ScanRequest, StoreError, Ticket};
use crate::feed::{Change, EventKind};

/// Buckets looked at under one lock.
const PORTION: usize = 256;

/// Buckets a scan of plain values looks at for each value it was asked for, so that one among many of another namespace
/// does not take long over one answer.
const LOOK_FACTOR: usize = 16;

/// Least buckets it looks at.
const LOOK_MIN: usize = 4096;

/// Length of a scan cursor: a place.
const CURSOR_LEN: usize = 8;

/// A place in the order of a whole table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At64(u64);

impl At64 {
    fn shard(self) -> usize {
        (self.0 >> 32) as usize
    }

    fn place(self) -> u32 {
        self.0 as u32
    }

    fn of(shard: usize, place: u64) -> Self {
        // The end of a shard is the beginning of the next.
        Self(((shard as u64) << 32) + place)
    }
}

/// A shard that is looked at: locked for the look, or by somebody who holds all of them.
enum Reached<'a> {
    Now(MutexGuard<'a, Shard>),
    Held(&'a Shard),
}

impl std::ops::Deref for Reached<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        match self {
            Reached::Now(shard) => shard,
            Reached::Held(shard) => shard,
        }
    }
}

impl Shard {
    /// Entries of the bucket at a place that are at or after it; answers the end of the bucket's stretch.
    fn each_from<'a>(
        &'a self,
        place: u32,
        hash_of: impl Fn(Entry<'_>) -> u32,
        mut each: impl FnMut(u32, Entry<'a>),
    ) -> u64 {
        if self.index.is_empty() {
            return 1 << 32;
        }
        let mut handle = self.index.first_of(place.reverse_bits());
        while handle != NONE {
            let entry = self.arena.entry(handle);
            let at = hash_of(entry).reverse_bits();
            if at >= place {
                each(at, entry);
            }
            handle = entry.next();
        }
        self.index.stretch_end(place)
    }
}

impl MemoryTable {
    /// Goes through buckets from a place on, under one lock for a portion of them, until `each` says that it is enough
    /// or `buckets` were looked at; past shards that have nothing of the namespace. Answers where to go on; `None` at the
    /// end. Of what is `held`, nothing is locked.
    fn walk(
        &self,
        (held, space): (Option<&Locked<'_>>, Space),
        mut at: At64,
        mut buckets: usize,
        mut each: impl FnMut(&Shard, u32, Entry<'_>),
        mut is_enough: impl FnMut() -> bool,
    ) -> Option<At64> {
        while at.shard() < self.places.len() {
            if buckets == 0 {
                return Some(at);
            }
            let number = at.shard();
            let shard = match held {
                Some(locked) => Reached::Held(locked.shard(number)),
                None => Reached::Now(self.places[number].shard.lock()),
            };
            if !shard.tally.has(space) {
                // A lock and nothing else.
                at = At64::of(number + 1, 0);
                continue;
            }
            for _ in 0..PORTION.min(buckets) {
                let end = shard.each_from(
                    at.place(),
                    |entry| self.shared.hash_of(entry),
                    |place, entry| {
                        each(&shard, place, entry);
                    },
                );
                buckets -= 1;
                at = At64::of(number, end);
                if is_enough() {
                    return (at.shard() < self.places.len()).then_some(at);
                }
                if at.shard() != number {
                    break;
                }
            }
        }
        None
    }

    /// Shows plain values of a namespace from a cursor on (0: from the beginning), about `count` of them, and answers
    /// where to go on; 0: that was all. A key present throughout a whole scan is shown at least once. There may be none
    /// to show before the end. `visit` must not touch the table: it is called under a shard's lock.
    pub fn scan_plain(
        &self,
        namespace: NamespaceId,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Seen<'_>),
    ) -> u64 {
        self.scan_within(None, namespace, cursor, count, visit)
    }

    pub(super) fn scan_within(
        &self,
        held: Option<&Locked<'_>>,
        namespace: NamespaceId,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Seen<'_>),
    ) -> u64 {
        let space = self.shared.spaces.of(namespace);
        let shown = std::cell::Cell::new(0);
        let each = |shard: &Shard, _, entry: Entry<'_>| {
            if entry.space() == space
                && let Look::Plain(seen) = shard.look_at(entry)
            {
                visit(entry.key(), seen);
                shown.set(shown.get() + 1);
            }
        };
        let buckets = count.saturating_mul(LOOK_FACTOR).max(LOOK_MIN);
        let next = self.walk((held, space), At64(cursor), buckets, each, || shown.get() >= count.max(1));
        next.map_or(0, |at| at.0)
    }

    /// A key of a namespace whose time is not up, chosen by a random number; `None` if there is none.
    #[must_use]
    pub fn random_key(&self, namespace: NamespaceId, random: u64, now: Hlc) -> Option<Vec<u8>> {
        self.random_within(None, namespace, random, now)
    }

    pub(super) fn random_within(
        &self,
        held: Option<&Locked<'_>>,
        namespace: NamespaceId,
        random: u64,
        now: Hlc,
    ) -> Option<Vec<u8>> {
        let space = self.shared.spaces.of(namespace);
        let start = At64::of((random >> 32) as usize % self.places.len(), u64::from(random as u32));
        for start in [start, At64(0)] {
            if self.shared.spaces.records(space) == 0 {
                return None;
            }
            let found = std::cell::RefCell::new(None);
            let each = |shard: &Shard, _, entry: Entry<'_>| {
                let is_alive = |seen: &Seen<'_>| !seen.expiry.is_past(now);
                if entry.space() == space
                    && matches!(shard.look_at(entry), Look::Plain(seen) if is_alive(&seen))
                {
                    found.borrow_mut().get_or_insert_with(|| entry.key().to_vec());
                }
            };
            self.walk((held, space), start, usize::MAX, each, || found.borrow().is_some());
            let found = found.into_inner();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Removes all records of a namespace, a portion under each lock; answers how many. Others see them go one by one.
    /// `floor` is the version of the removal.
    pub fn clear(&self, namespace: NamespaceId, floor: Version) -> u64 {
        let space = self.shared.spaces.of(namespace);
        let (mut at, mut cleared) = (At64(0), 0);
        // A namespace of which nothing is left need not be looked for in what others hold.
        while at.shard() < self.places.len() && self.shared.spaces.records(space) > 0 {
            let mut shard = self.places[at.shard()].shard.lock();
            cleared += self.clear_portion(&mut shard, &mut at, (namespace, space), floor);
            MutexGuard::unlock_fair(shard);
        }
        cleared
    }

    /// As [`MemoryTable::clear`], of a table that is held.
    pub(super) fn clear_within(&self, held: &mut Locked<'_>, namespace: NamespaceId, floor: Version) -> u64 {
        let space = self.shared.spaces.of(namespace);
        let (mut at, mut cleared) = (At64(0), 0);
        while at.shard() < self.places.len() {
            let (_, shard) = held.shard_mut(at.shard());
            cleared += self.clear_portion(shard, &mut at, (namespace, space), floor);
        }
        cleared
    }

    /// Removes the records of a namespace from a place on, a portion of a shard's; the place is then where to go on.
    fn clear_portion(
        &self,
        shard: &mut Shard,
        at: &mut At64,
        (namespace, space): (NamespaceId, Space),
        floor: Version,
    ) -> u64 {
        let number = at.shard();
        if !shard.tally.has(space) {
            *at = At64::of(number + 1, 0);
            return 0;
        }
        let mut keys = Vec::new();
        // Removing changes the buckets, but not the order that the place belongs to.
        while keys.len() < PORTION && at.shard() == number {
            let end = shard.each_from(
                at.place(),
                |entry| self.shared.hash_of(entry),
                |place, entry| {
                    if entry.space() == space {
                        keys.push((place.reverse_bits(), entry.key().to_vec()));
                    }
                },
            );
            *at = At64::of(number, end);
        }
        self.clear_keys(number, shard, (namespace, space), &keys, floor)
    }

    fn clear_keys(
        &self,
        number: usize,
        shard: &mut Shard,
        (namespace, space): (NamespaceId, Space),
        keys: &[(u32, Vec<u8>)],
        floor: Version,
    ) -> u64 {
        let mut cleared = 0;
        for (hash, key) in keys {
            let at = At { namespace, space, key, hash: *hash };
            if self.remove(number, shard, &at, floor) {
                shard.watched.changed(*hash);
                let change = Change { kind: EventKind::Deleted, version: floor };
                // It is told as one, or not at all.
                self.shared.feed.push_by(namespace, key, change, true);
                cleared += 1;
            }
        }
        cleared
    }

    /// One page of a namespace's records. Those that share a place are never split between pages.
    pub(super) fn scan_records(
        &self,
        namespace: NamespaceId,
        request: &ScanRequest,
    ) -> Result<ScanPage, StoreError> {
        let space = self.shared.spaces.of(namespace);
        let limit = request.limit.clamp(1, SCAN_PAGE_RECORDS_MAX);
        let mut page =
            ScanPage { records: Vec::new(), damaged: Vec::new(), next: None, durable: Ticket::done() };
        let mut next = Some(read_cursor(&request.cursor)?);
        let mut bytes = 0;
        while let Some(begin) = next {
            let found = std::cell::RefCell::new(Vec::new());
            let each = |shard: &Shard, place, entry: Entry<'_>| {
                let key = entry.key();
                let matches = entry.space() == space
                    && key.starts_with(&request.prefix)
                    && key.len() <= request.key_len_max;
                if matches
                    && let Some(state) = shard.state(entry, request.want)
                    && let Ok(key) = Key::new(Bytes::copy_from_slice(key))
                {
                    found.borrow_mut().push((place, key, state));
                }
            };
            // One bucket at a time once something was found: what is not in this page is not made.
            next = self.walk((None, space), begin, usize::MAX, each, || !found.borrow().is_empty());
            let mut found = found.into_inner();
            found.sort_by_key(|(place, ..)| *place);
            let shard = next.map_or(self.places.len() - 1, shard_before);
            let mut last = None;
            for (place, key, state) in found {
                let len = key.as_bytes().len() + state.value_len();
                let over = page.records.len() >= limit || bytes + len > SCAN_PAGE_BYTES_MAX;
                if over && !page.records.is_empty() && last != Some(place) {
                    page.next = Some(write_cursor(At64::of(shard, u64::from(place))));
                    return Ok(page);
                }
                bytes += len;
                last = Some(place);
                page.records.push((key, state));
            }
            if page.records.len() >= limit || bytes >= SCAN_PAGE_BYTES_MAX {
                break;
            }
        }
        page.next = next.map(write_cursor);
        Ok(page)
    }
}

/// The shard of the bucket that ends at a place.
fn shard_before(at: At64) -> usize {
    ((at.0 - 1) >> 32) as usize
}

fn read_cursor(cursor: &[u8]) -> Result<At64, StoreError> {
    if cursor.is_empty() {
        return Ok(At64(0));
    }
    let bytes: &[u8; CURSOR_LEN] = cursor
        .try_into()
        .map_err(|_| StoreError::Invalid { what: "scan cursor is not of this store".into() })?;
    Ok(At64(u64::from_be_bytes(*bytes)))
}

fn write_cursor(at: At64) -> Bytes {
    Bytes::copy_from_slice(&at.0.to_be_bytes())
}
