//! The cap of a memory table, kept exactly: whatever the table allocates is taken from here first, so that what is
//! counted never exceeds the cap, not even for a moment.
//!
//! A part of the cap is left to upkeep (moving what is alive out of half-dead pages, filing timers anew): a table that
//! is full must be able to make room.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::StoreError;

/// The part of the cap that only upkeep may use: one in this many.
const RESERVE_PART: u64 = 32;

/// Least bytes left to upkeep: a page and what goes with it.
const RESERVE_MIN: u64 = 8 << 10;

/// Most bytes left to upkeep: far more pages than threads that could be copying one.
const RESERVE_MAX: u64 = 64 << 20;

/// The part of that which only timers may use: one in this many.
const TIMERS_PART: u64 = 4;

/// What memory is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Something new.
    Write,
    /// Moving what is alive out of half-dead pages, so that memory can be given back.
    Moving,
    /// Timers of values that are there: without them nothing would go by itself.
    Timers,
}

/// Bytes allocated, and the most there may be.
#[derive(Debug)]
pub(super) struct Budget {
    cap: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes; 0: no limit.
    pub(super) fn new(cap: u64) -> Self {
        Self { cap, used: AtomicU64::new(0) }
    }

    /// The cap in bytes; 0: none.
    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    /// Bytes allocated now.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn limit(&self, purpose: Purpose) -> u64 {
        if self.cap == 0 {
            return u64::MAX;
        }
        let reserve = (self.cap / RESERVE_PART).clamp(RESERVE_MIN, RESERVE_MAX);
        self.cap.saturating_sub(match purpose {
            Purpose::Write => reserve,
            Purpose::Moving => reserve / TIMERS_PART,
            Purpose::Timers => 0,
        })
    }

    /// Takes bytes that are about to be allocated.
    ///
    /// # Errors
    /// [`StoreError::Full`]; then nothing was taken.
    pub(super) fn take(&self, bytes: u64, purpose: Purpose) -> Result<(), StoreError> {
        let limit = self.limit(purpose);
        let within = |used: u64| used.checked_add(bytes).filter(|after| *after <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(before) => {
                debug_assert!(self.cap == 0 || before + bytes <= self.cap, "the cap holds at every moment");
                Ok(())
            }
            Err(used) => Err(StoreError::Full { what: "memory cap", used, max: self.cap }),
        }
    }

    /// Gives back what was freed.
    pub(super) fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more was given back than was taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_take_at_once_get_exactly_what_there_is() {
        let budget = Budget::new(1 << 20);
        let taken: u64 = std::thread::scope(|scope| {
            let takers: Vec<_> = (1..5)
                .map(|size| {
                    let budget = &budget;
                    scope.spawn(move || {
                        let mut taken = 0;
                        for round in 0..200_000_u64 {
                            match budget.take(size, Purpose::Timers) {
                                Ok(()) => taken += size,
                                // Somebody gives a little back, and all go for it.
                                Err(_) if taken >= 64 && round % 8 == size => {
                                    budget.give(64);
                                    taken -= 64;
                                }
                                Err(_) => assert!(budget.used() <= budget.cap()),
                            }
                        }
                        taken
                    })
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, budget.used());
        assert!(taken <= budget.cap());
        assert!(budget.take(budget.cap() / 2, Purpose::Write).is_err());
        budget.give(taken);
        assert!(budget.take(budget.cap(), Purpose::Write).is_err(), "a part is left to upkeep");
        assert!(budget.take(budget.cap(), Purpose::Timers).is_ok());
    }
}
