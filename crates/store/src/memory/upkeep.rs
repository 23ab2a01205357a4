//! What a shard does beside its work, a little at each change: moving entries out of pages that are mostly dead, and
//! filing timers anew when most of them are of no use any more.

use super::arena::NONE;
use super::budget::Purpose;
use super::entry::{Entry, HEADER_LEN, room_for};
use super::shard::{Found, Link, Shard, Shared};
use super::wheel;

/// Dead bytes that are left alone: a page.
const DEAD_ALLOWED: u64 = 4 << 10;

/// Beyond that, dead bytes are left alone up to this part of those alive: together a quarter of all.
const DEAD_PART: u64 = 3;

/// Least bytes moved at a time.
const MOVE_MIN: usize = 1 << 10;

/// Bytes moved for each byte that came or went. Three would do where a quarter is dead; more gets ahead.
const MOVE_FACTOR: usize = 5;

/// Bytes moved under one lock by a sweep that has nothing else to do.
const PACK_LEN: usize = 64 << 10;

/// Buckets taken away under one lock by such a sweep.
const PACK_BUCKETS: usize = 2048;

/// Dead bytes a full table looks for, as a part of all of the shard's: copying more for less is not worth it, ...
const RECLAIM_PART: u64 = 8;

/// ... unless the page is as short as this, in bytes: then emptying it takes some ten microseconds.
const RECLAIM_PAGE_LEN: usize = 64 << 10;

/// Timers of no use that are left alone.
const STALE_ALLOWED: usize = 512;

impl Shard {
    /// Does what is due after a change of `bytes` bytes.
    #[inline]
    pub(super) fn keep_up(&mut self, shared: &Shared, bytes: usize) {
        if self.is_loose() {
            self.move_some(shared, MOVE_MIN.max(MOVE_FACTOR * bytes));
        }
        if self.wheel.len() > 2 * self.armed + STALE_ALLOWED {
            self.file_anew(shared);
        }
    }

    /// Whether more of the shard's pages is dead than may be.
    pub(super) fn is_loose(&self) -> bool {
        self.arena.dead() > DEAD_ALLOWED + self.arena.live() / DEAD_PART
    }

    /// Packs what a sweep left, as much of it as may be done under one lock.
    pub(super) fn pack(&mut self, shared: &Shared) {
        let has_buckets_left = self.shrink(shared, PACK_BUCKETS);
        let is_loose = self.is_loose() && self.move_some(shared, PACK_LEN) && self.is_loose();
        self.is_packing = has_buckets_left || is_loose;
    }

    /// Moves entries of about so many bytes out of the page that is being emptied. Answers whether all could be moved.
    fn move_some(&mut self, shared: &Shared, bytes: usize) -> bool {
        let mut moved = 0;
        while moved < bytes {
            let Some(handle) = self.arena.next_to_move() else { break };
            moved += self.arena.entry(handle).room();
            if !self.relocate(shared, handle) {
                return false;
            }
        }
        true
    }

    /// Moves an entry to the end of the open page; `false` if there is no room for it.
    fn relocate(&mut self, shared: &Shared, handle: u32) -> bool {
        let entry = self.arena.entry(handle);
        let need = room_for(entry.key().len(), entry.value().len());
        let hash = shared.hash_of(entry);
        let due = self.record_of(entry).and_then(super::outside::due_ms);
        if self.arena.reserve(need, &shared.budget, Purpose::Moving).is_err() {
            return false;
        }
        let Some(Found { link, .. }) = self.find_by(hash, |at, _| at == handle) else {
            debug_assert!(false, "every entry alive is in its bucket");
            return false;
        };
        let moved = self.arena.copy(handle, need);
        self.set_link(link, moved);
        if let Some(ms) = due {
            self.due_records.remove(&(ms, handle));
            self.due_records.insert((ms, moved));
        }
        self.arena.release(handle, &shared.budget);
        true
    }

    /// Makes room in a full table for `need` bytes by emptying half-dead pages at once. Answers whether any was made.
    #[cold]
    pub(super) fn reclaim(&mut self, shared: &Shared, need: usize) -> bool {
        let dead = self.arena.dead();
        let Some((page_len, dead_there)) = self.arena.next_emptied() else { return false };
        let is_quick = page_len <= RECLAIM_PAGE_LEN && dead_there >= need / 2;
        if !is_quick && dead * RECLAIM_PART <= self.arena.live() + dead {
            return false;
        }
        // To the end of a page that is being emptied already, and through another.
        for _ in 0..2 {
            if !self.move_some(shared, usize::MAX) {
                break;
            }
        }
        self.arena.dead() < dead
    }

    /// Drops all timers and files one for each entry that has an end.
    #[cold]
    pub(super) fn file_anew(&mut self, shared: &Shared) {
        self.wheel.clear(&shared.budget);
        (self.armed, self.lacks_timers) = (0, false);
        let mut ends = Vec::new();
        self.arena.each_live(|handle, entry| {
            let now = self.swept_tick.max(wheel::tick_of_version(entry.version()));
            let tick = wheel::tick_of(entry.expiry()).map(|due| wheel::slot_tick(due, now));
            ends.push((handle, tick, shared.hash_of(entry)));
        });
        for (handle, tick, hash) in ends {
            self.arena.entry_mut(handle).set_armed(None);
            if let Some(tick) = tick {
                self.arm(shared, hash, handle, tick);
            }
        }
    }

    /// Checks that everything in the shard agrees with everything else. For tests.
    ///
    /// # Panics
    /// If it does not.
    pub(super) fn check(&self, shared: &Shared) {
        let (mut records, mut payload, mut live, mut armed) = (0, 0, 0, 0);
        let mut of_spaces = std::collections::BTreeMap::new();
        for bucket in 0..self.index.len() {
            let mut handle = self.index.first(bucket);
            while handle != NONE {
                let entry: Entry<'_> = self.arena.entry(handle);
                assert!(!entry.is_dead(), "a bucket leads to a dead entry");
                assert_eq!(
                    self.index.bucket_of(shared.hash_of(entry)),
                    bucket,
                    "an entry is in another's bucket"
                );
                assert!(entry.room() >= HEADER_LEN + entry.key().len() + entry.value().len());
                records += 1;
                *of_spaces.entry(entry.space().0).or_insert(0) += 1;
                payload += self.payload_of(entry);
                live += entry.room() as u64;
                armed += usize::from(entry.armed().is_some());
                let has_end = entry.expiry().ms().is_some();
                assert!(self.lacks_timers || entry.armed().is_some() || !has_end, "an end without a timer");
                if let Some(ms) = self.record_of(entry).and_then(super::outside::due_ms) {
                    assert!(self.due_records.contains(&(ms, handle)), "a record that is due and not listed");
                }
                handle = entry.next();
            }
        }
        assert_eq!((records, payload), (self.records, self.payload), "records and their bytes");
        assert!(
            self.tally.all().map(|(space, count)| (space.0, count)).eq(of_spaces),
            "records by namespace"
        );
        assert_eq!((live, armed), (self.arena.live(), self.armed), "bytes alive, timers");
        assert!(self.wheel.len() >= armed);
        let mut in_pages = 0;
        self.arena.each_live(|handle, entry| {
            in_pages += 1;
            let found = self.find_by(shared.hash_of(entry), |at, _| at == handle);
            assert!(
                matches!(found, Some(Found { link: Link::Bucket(_) | Link::After(_), .. })),
                "an entry that no bucket leads to"
            );
        });
        assert_eq!(in_pages, records);
    }
}
