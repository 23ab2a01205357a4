//! When to look at which entries of a shard: timers of four bytes (the key's hash), filed under the moment to look.
//!
//! It is a hierarchical wheel without empty slots: near moments have slots of one tick, later ones slots that span more
//! the further away they are, so that there are 16 for each doubling of the distance. A timer in a wide slot is
//! looked at when the slot begins and filed again, nearer. A timer is a hint: whoever is handed it looks at the entry
//! and drops it if the entry is gone, is filed elsewhere, or has longer to live.

use larder_format::record::{Expiry, Version};

use super::budget::{Budget, Purpose};
use crate::api::StoreError;

/// Bits of milliseconds in a tick: 64 ms. A value is hidden when its time is up; this is how much longer
/// its memory is held, and how late somebody who watches may be told. Shorter ticks would have more slots to hold.
const TICK_BITS: u32 = 6;

/// Distances below this many ticks have slots of one tick.
const NEAR_TICKS: u64 = 32;

/// Furthest a timer is filed ahead, in ticks (two years), so that the low 32 bits of a tick tell which of two is
/// earlier. Later ends are looked at then and filed again.
pub(super) const AHEAD_TICKS_MAX: u64 = 1 << 30;

/// Bytes of a timer.
const TIMER_LEN: u64 = size_of::<u32>() as u64;

struct Slot {
    tick: u64,
    timers: Vec<u32>,
}

/// Timers of a shard.
#[derive(Default)]
pub(super) struct Wheel {
    /// The soonest last.
    slots: Vec<Slot>,
    timers: usize,
}

/// The tick of a moment: the last that has begun by then.
pub(super) fn tick_at(ms: u64) -> u64 {
    ms >> TICK_BITS
}

/// When a tick begins; `None` for one that never does.
pub(super) fn begin_ms(tick: u64) -> Option<u64> {
    tick.checked_mul(1 << TICK_BITS)
}

/// The tick at whose beginning a time is up; `None` for never.
pub(super) fn tick_of(expiry: Expiry) -> Option<u64> {
    expiry.ms().map(|ms| tick_at(ms) + 1)
}

/// The moment a version was made, as good as now for filing.
pub(super) fn tick_of_version(version: Version) -> u64 {
    tick_at(version.0.ms())
}

/// Under which tick to file a timer for `due`.
pub(super) fn slot_tick(due: u64, now: u64) -> u64 {
    let due = due.min(now + AHEAD_TICKS_MAX);
    let distance = due.saturating_sub(now);
    if distance < NEAR_TICKS {
        return due;
    }
    let shift = (distance / NEAR_TICKS).ilog2() + 1;
    due >> shift << shift
}

/// Whether a timer filed under a tick with these low bits is in time for something due at `due`.
pub(super) fn is_in_time(armed: u32, due: u64) -> bool {
    (due as u32).wrapping_sub(armed) as i32 >= 0
}

impl Wheel {
    /// How many timers there are, those included that no entry needs any more.
    pub(super) fn len(&self) -> usize {
        self.timers
    }

    /// The soonest tick that has timers.
    pub(super) fn soonest(&self) -> Option<u64> {
        self.slots.last().map(|slot| slot.tick)
    }

    /// Makes sure that a timer can be filed under a tick.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub(super) fn reserve(&mut self, tick: u64, budget: &Budget, purpose: Purpose) -> Result<(), StoreError> {
        let at = self.slots.partition_point(|slot| slot.tick > tick);
        if self.slots.get(at).is_none_or(|slot| slot.tick != tick) {
            grow(&mut self.slots, size_of::<Slot>() as u64, budget, purpose)?;
            self.slots.insert(at, Slot { tick, timers: Vec::new() });
        }
        grow(&mut self.slots[at].timers, TIMER_LEN, budget, purpose)
    }

    /// Files a timer, for which [`Wheel::reserve`] has made room.
    pub(super) fn push(&mut self, tick: u64, hash: u32) {
        let at = self.slots.partition_point(|slot| slot.tick > tick);
        let slot = &mut self.slots[at];
        debug_assert_eq!(slot.tick, tick, "room was made");
        slot.timers.push(hash);
        self.timers += 1;
    }

    /// A timer of the soonest slot, if that is at `now` or before.
    pub(super) fn pop(&mut self, now: u64, budget: &Budget) -> Option<(u64, u32)> {
        loop {
            let slot = self.slots.last_mut().filter(|slot| slot.tick <= now)?;
            let Some(hash) = slot.timers.pop() else {
                self.drop_soonest(budget);
                continue;
            };
            self.timers -= 1;
            let tick = slot.tick;
            if slot.timers.is_empty() {
                self.drop_soonest(budget);
            }
            return Some((tick, hash));
        }
    }

    /// Up to `count` of the timers that come next, if their slot is at `now` or before.
    pub(super) fn next(&self, now: u64, count: usize) -> &[u32] {
        let Some(slot) = self.slots.last().filter(|slot| slot.tick <= now) else { return &[] };
        &slot.timers[slot.timers.len().saturating_sub(count)..]
    }

    fn drop_soonest(&mut self, budget: &Budget) {
        let Some(slot) = self.slots.pop() else { return };
        budget.give(slot.timers.capacity() as u64 * TIMER_LEN);
        if self.slots.len() * 4 < self.slots.capacity() {
            let had = self.slots.capacity();
            self.slots.shrink_to(self.slots.len() * 2);
            budget.give((had - self.slots.capacity()) as u64 * size_of::<Slot>() as u64);
        }
    }

    /// All timers filed at `now` or before, soonest first; they stay.
    pub(super) fn due(&self, now: u64) -> impl Iterator<Item = (u64, u32)> {
        let due = self.slots.iter().rev().take_while(move |slot| slot.tick <= now);
        due.flat_map(|slot| slot.timers.iter().map(|hash| (slot.tick, *hash)))
    }

    /// Drops all timers.
    pub(super) fn clear(&mut self, budget: &Budget) {
        let timers: u64 = self.slots.iter().map(|slot| slot.timers.capacity() as u64 * TIMER_LEN).sum();
        budget.give(timers + self.slots.capacity() as u64 * size_of::<Slot>() as u64);
        *self = Self::default();
    }
}

/// Room for one more, a quarter as much again as there was, counted.
fn grow<T>(list: &mut Vec<T>, item_len: u64, budget: &Budget, purpose: Purpose) -> Result<(), StoreError> {
    let had = list.capacity();
    if list.len() < had {
        return Ok(());
    }
    let wanted = had + (had / 4).max(4);
    budget.take(wanted as u64 * item_len, purpose)?;
    list.reserve_exact(wanted - list.len());
    debug_assert_eq!(list.capacity(), wanted, "what is counted is what is allocated");
    budget.give(had as u64 * item_len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_filed_at_or_before_its_moment_and_a_few_times_at_most() {
        for due in [1, 31, 32, 100, 1_000, 14_100, 1_350_000, 200 << 20] {
            let (mut now, mut filed) = (0, 0);
            while now < due {
                let tick = slot_tick(due, now);
                assert!(
                    tick <= due && tick > now && is_in_time(tick as u32, due),
                    "{due} from {now}: {tick}"
                );
                (now, filed) = (tick, filed + 1);
            }
            assert!(filed <= 7, "due in {due} ticks, filed {filed} times");
        }
        assert_eq!(slot_tick(5, 9), 5, "what is due already is filed as such");
        assert!(slot_tick(u64::MAX >> 7, 9) <= 9 + AHEAD_TICKS_MAX);
    }

    #[test]
    fn timers_come_soonest_first_and_leave_nothing_behind() {
        let budget = Budget::new(0);
        let mut wheel = Wheel::default();
        for n in 0..5_000_u32 {
            let tick = u64::from(n.wrapping_mul(2_654_435_761) % 1_000);
            wheel.reserve(tick, &budget, Purpose::Write).unwrap();
            wheel.push(tick, n);
        }
        assert_eq!(wheel.due(10).count(), wheel.due(999).filter(|(tick, _)| *tick <= 10).count());
        let mut last = 0;
        let mut popped = 0;
        while let Some((tick, _)) = wheel.pop(999, &budget) {
            assert!(tick >= last);
            (last, popped) = (tick, popped + 1);
        }
        assert_eq!((popped, wheel.len(), wheel.soonest()), (5_000, 0, None));
        wheel.clear(&budget);
        assert_eq!(budget.used(), 0);
    }
}
