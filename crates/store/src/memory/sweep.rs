//! Values that go by themselves: because their time is up, a few under each lock; or, where their namespace says so,
//! because the table is full, those that end soonest first.
//!
//! Only values that are bytes (plain, or a sealed head and body) and an end go here. Records that are more come up in
//! [`due`](crate::api::RecordStore::due) and are the register's to remove.

use std::sync::atomic::{AtomicUsize, Ordering};

use larder_format::clock::Hlc;
use parking_lot::MutexGuard;

use super::ahead::AHEAD_MAX;
use super::entry::{Entry, Kind, Space};
use super::shard::{Found, Shard, Shared};
use super::wheel;
use super::{MemoryTable, Place};
use crate::feed::{Change, EventKind};

/// Timers looked at under one lock: some ten microseconds of work.
const SWEEP_PORTION: usize = 128;

/// Least values let go at a time when the table is full.
const EVICT_MIN: usize = 16;

/// A shard with no more values is not much of a sample of all: others are asked as well.
const EVICT_FEW: u64 = EVICT_MIN as u64;

/// So many bytes let go are enough, however few values they were.
const EVICT_BYTES: u64 = 64 << 10;

/// Values let go at a time, as a part of a shard: enough that some page can be emptied after a few times, so that what
/// follows finds room for long.
const EVICT_PART: u64 = 32;

/// How often others are asked for values to let go before a write is refused, and once more for each so many bytes that it
/// needs.
const EVICT_ROUNDS: usize = 16;
const EVICT_ROUND_LEN: usize = 16 << 10;

/// Least that a value takes. Whoever needs so many bytes has values let go as often as that many values may be needed for
/// it, because it may meet one at a time; no more often, because others may take the room each time.
const VALUE_LEN_MIN: usize = 64;

/// Most timers looked at in one round, for the sake of whoever waits for the lock.
const EVICT_LOOK_MAX: usize = 16 << 10;

/// How often values are let go before a write of so many bytes is refused after all.
pub(super) fn evict_rounds(need: usize) -> usize {
    EVICT_ROUNDS + need / VALUE_LEN_MIN
}

/// Timers looked at for each value that may be let go: others may be of no use, or of a namespace that keeps its values.
const EVICT_LOOK_FACTOR: usize = 8;

/// Shards among which the one with the soonest end is chosen.
const EVICT_SAMPLE: usize = 8;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Values removed.
    pub removed: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Whether there is more to do already.
    pub more: bool,
    /// If not: when to look again, in milliseconds, as far as known now.
    pub next_ms: Option<u64>,
}

/// What went in one go, counted at the end of each stretch of one namespace.
struct Gone<'s> {
    shared: &'s Shared,
    space: Space,
    records: i64,
    bytes: i64,
}

impl<'s> Gone<'s> {
    fn new(shared: &'s Shared) -> Self {
        Self { shared, space: super::spaces::NOWHERE, records: 0, bytes: 0 }
    }

    fn add(&mut self, space: Space, bytes: u64) {
        if space != self.space {
            self.flush();
            self.space = space;
        }
        self.records += 1;
        self.bytes += bytes.cast_signed();
    }

    fn flush(&mut self) {
        self.shared.spaces.count(self.space, -self.records, -self.bytes);
        (self.records, self.bytes) = (0, 0);
    }
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Shard {
    /// The entry for which a timer was filed.
    fn timed(&self, shared: &Shared, tick: u64, hash: u32) -> Option<Found> {
        let armed = Some(tick as u32);
        self.find_by(hash, |_, entry| entry.armed() == armed && shared.hash_of(entry) == hash)
    }

    /// Notes that an entry has no timer any more.
    fn disarm(&mut self, handle: u32) {
        self.arena.entry_mut(handle).set_armed(None);
        self.armed -= 1;
    }

    /// Removes an entry by itself, and tells whoever wants to know. Answers its bytes.
    fn let_go(&mut self, shared: &Shared, found: Found, hash: u32, gone: &mut Gone<'_>) -> u64 {
        let entry = self.arena.entry(found.handle);
        let (space, bytes, version) = (entry.space(), self.payload_of(entry), entry.version());
        if shared.feed.is_on() {
            let change = Change { kind: EventKind::Expired, version };
            shared.feed.push_next(shared.spaces.namespace(space), entry.key(), change);
        }
        self.watched.changed(hash);
        self.floor.round = self.floor.round.max(version.to_u64());
        self.take_out(shared, found);
        gone.add(space, bytes);
        bytes
    }

    /// Removes what is due, looking at `budget` timers at most; answers how many it looked at.
    fn sweep(&mut self, shared: &Shared, now: Hlc, budget: usize, swept: &mut Swept) -> usize {
        let now_tick = wheel::tick_at(now.ms());
        self.swept_tick = self.swept_tick.max(now_tick);
        if self.lacks_timers {
            self.file_anew(shared);
        }
        let mut gone = Gone::new(shared);
        for looked in 0..budget {
            if looked % AHEAD_MAX == 0 {
                self.bring_near_due(now_tick);
            }
            let Some((tick, hash)) = self.wheel.pop(now_tick, &shared.budget) else {
                self.pack(shared);
                return looked + 1;
            };
            let Some(found) = self.timed(shared, tick, hash) else { continue };
            let expiry = self.arena.entry(found.handle).expiry();
            if expiry.is_past(now) {
                swept.bytes += self.let_go(shared, found, hash, &mut gone);
                swept.removed += 1;
                continue;
            }
            self.disarm(found.handle);
            if let Some(due) = wheel::tick_of(expiry) {
                self.arm(shared, hash, found.handle, wheel::slot_tick(due, now_tick));
            }
        }
        budget
    }

    /// Lets some values go before their time, those that end soonest first: some at least, and `need` bytes if there are
    /// as many. Answers how many.
    fn evict(&mut self, shared: &Shared, need: usize) -> usize {
        if self.lacks_timers {
            self.file_anew(shared);
        }
        let most = EVICT_MIN.max((self.records / EVICT_PART) as usize);
        let mut gone = Gone::new(shared);
        let (mut evicted, mut bytes, mut refiled, mut kept) = (0, 0, 0, Vec::new());
        for looked in 0..EVICT_LOOK_MAX {
            let is_enough = bytes >= need as u64 && (evicted >= most || bytes >= EVICT_BYTES);
            if is_enough || (evicted == 0 && looked > 2 * most * EVICT_LOOK_FACTOR) {
                break;
            }
            let Some((tick, hash)) = self.wheel.pop(u64::MAX, &shared.budget) else { break };
            let Some(found) = self.timed(shared, tick, hash) else { continue };
            let entry = self.arena.entry(found.handle);
            let Some(due) = wheel::tick_of(entry.expiry()) else {
                self.disarm(found.handle);
                continue;
            };
            // Within a wide slot the order is not known: its timers are filed anew, as if its time had come. Not further
            // ahead of the real time than ever, though, or which of two ticks is earlier could not be told.
            let ahead = wheel::AHEAD_TICKS_MAX + self.swept_tick.max(wheel::tick_of_version(entry.version()));
            let wide = Some(wheel::slot_tick(due.min(ahead), tick)).filter(|at| *at > tick);
            if let Some(at) = wide.filter(|_| refiled < most * EVICT_LOOK_FACTOR) {
                refiled += 1;
                self.arm(shared, hash, found.handle, at);
                continue;
            }
            if shared.spaces.evicts(entry.space()) {
                bytes += self.let_go(shared, found, hash, &mut gone);
                evicted += 1;
            } else {
                kept.push((found.handle, tick, hash));
            }
        }
        for (handle, tick, hash) in kept {
            self.arm(shared, hash, handle, tick);
        }
        self.shrink(shared, 2 * evicted);
        shared.evicted.fetch_add(evicted as u64, Ordering::Relaxed);
        evicted
    }

    /// When the value ends that may go and ends soonest, in milliseconds. Of many it is known only which stretch of time
    /// that is in, and when the stretch begins.
    fn soonest_to_go(&self, shared: &Shared) -> Option<u64> {
        if self.records > EVICT_FEW {
            return self.wheel.soonest().and_then(wheel::begin_ms);
        }
        let mut soonest = None;
        self.arena.each_live(|_, entry| {
            if let Some(ms) = entry.expiry().ms()
                && entry.kind() != Kind::Record
                && shared.spaces.evicts(entry.space())
            {
                soonest = Some(soonest.map_or(ms, |other: u64| other.min(ms)));
            }
        });
        soonest
    }

    /// Entries of whole records that are due, soonest first, until `each` says that it is enough; answers whether it did.
    pub(super) fn each_due_record(&self, now: Hlc, each: &mut dyn FnMut(u64, Entry<'_>) -> bool) -> bool {
        let mut due = self.due_records.range(..=(now.ms(), u32::MAX));
        due.any(|(ms, handle)| !each(*ms, self.arena.entry(*handle)))
    }

    /// Entries of all kinds that are due, soonest first or nearly so.
    pub(super) fn each_due(
        &self,
        shared: &Shared,
        now: Hlc,
        each: &mut dyn FnMut(u64, Entry<'_>) -> bool,
    ) -> bool {
        if self.each_due_record(now, each) {
            return true;
        }
        if self.lacks_timers {
            self.arena.each_live(|_, entry| {
                if let Some(ms) = entry.expiry().ms().filter(|ms| *ms <= now.ms()) {
                    each(ms, entry);
                }
            });
            return false;
        }
        // Ends within the tick that has begun are filed under the next.
        self.wheel.due(wheel::tick_at(now.ms()) + 1).any(|(tick, hash)| {
            let Some(found) = self.timed(shared, tick, hash) else { return false };
            let entry = self.arena.entry(found.handle);
            let due = entry.expiry().ms().filter(|ms| *ms <= now.ms());
            due.is_some_and(|ms| !each(ms, entry))
        })
    }
}

/// Where the next sweep begins.
#[derive(Default)]
pub(super) struct Turn(AtomicUsize);

impl MemoryTable {
    /// Removes values whose time is up at `now`, looking at `budget` timers at most, a few under each lock. Tells the
    /// feed. Values whose time is up are to be hidden in any case: a sweep only gives their memory back.
    pub fn sweep(&self, now: Hlc, budget: usize) -> Swept {
        let now_tick = wheel::tick_at(now.ms());
        let count = self.places.len();
        let first = self.turn.0.load(Ordering::Relaxed) % count;
        let (mut swept, mut left, mut next_tick) = (Swept::default(), budget, u64::MAX);
        for step in 0..count {
            let place = &self.places[(first + step) % count];
            let soonest = place.cell.soonest.load(Ordering::Relaxed);
            if soonest > now_tick {
                next_tick = next_tick.min(soonest);
                continue;
            }
            if left == 0 {
                self.turn.0.store(first + step, Ordering::Relaxed);
                swept.more = true;
                return swept;
            }
            let mut shard = place.shard.lock();
            left -= shard.sweep(&self.shared, now, left.min(SWEEP_PORTION), &mut swept);
            place.publish(&shard);
            swept.more |= place.cell.soonest.load(Ordering::Relaxed) <= now_tick;
            // Whoever waits for this shard comes before the next portion of it.
            MutexGuard::unlock_fair(shard);
        }
        if !swept.more {
            swept.next_ms = wheel::begin_ms(next_tick);
            self.shared.budget.give_spares();
        }
        swept
    }

    /// Makes room for a write of `need` bytes in a full table by letting values go that end soonest: of the shard that is
    /// written to, which is a sample of all as good as any, unless it has few; then of the one among it and some others
    /// that hold something and that nobody has locked whose soonest ends first. Answers whether any went.
    pub(super) fn evict_for(&self, own: &mut Shard, need: usize, random: u32) -> bool {
        let is_sample = own.records > EVICT_FEW;
        if is_sample && own.evict(&self.shared, need) > 0 {
            return true;
        }
        for round in 0..EVICT_ROUNDS + need / EVICT_ROUND_LEN {
            let start =
                random.wrapping_add(round as u32).wrapping_mul(0x9e37_79b1) as usize % self.places.len();
            let from_there = (start..self.places.len()).chain(0..start);
            let others = from_there.filter(|at| self.places[*at].cell.records.load(Ordering::Relaxed) > 0);
            let sample = others.take(EVICT_SAMPLE).filter_map(|at| {
                Some((self.places[at].shard.try_lock()?.soonest_to_go(&self.shared)?, Some(at)))
            });
            let here = own.soonest_to_go(&self.shared).filter(|_| !is_sample).map(|ms| (ms, None));
            let evicted = match sample.chain(here).min() {
                None => continue,
                Some((_, None)) => own.evict(&self.shared, need),
                Some((_, Some(at))) => self.evict_at(at, need),
            };
            if evicted > 0 {
                return true;
            }
        }
        false
    }

    /// Lets values of another shard go, if nobody has locked it; answers how many.
    fn evict_at(&self, at: usize, need: usize) -> usize {
        let Some(mut shard) = self.places[at].shard.try_lock() else { return 0 };
        let evicted = shard.evict(&self.shared, need);
        // What went has to leave a page: the own shard may hold nothing and need a whole new one.
        shard.reclaim(&self.shared, need);
        shard.pack(&self.shared);
        self.places[at].publish(&shard);
        evicted
    }
}

impl Place {
    /// Shows what changed to those who do not take the lock.
    #[inline]
    pub(super) fn publish(&self, shard: &Shard) {
        self.cell.records.store(shard.records, Ordering::Relaxed);
        self.cell.payload.store(shard.payload, Ordering::Relaxed);
        let soonest = if shard.lacks_timers || shard.is_packing { Some(0) } else { shard.wheel.soonest() };
        self.cell.soonest.store(soonest.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
