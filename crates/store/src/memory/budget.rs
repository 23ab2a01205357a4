//! The cap of a memory table, kept exactly: whatever the table allocates is taken from here first, so that what is
//! counted never exceeds the cap, not even for a moment.
//!
//! A part of the cap is left to upkeep (moving what is alive out of half-dead pages, filing timers anew): a table that
//! is full must be able to make room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::spare::{Spare, Spares};
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
    /// Pages that hold nothing and stay charged until they are given back.
    spares: Spares,
}

impl Budget {
    /// A budget of so many bytes; 0: no limit.
    pub(super) fn new(cap: u64) -> Self {
        Self { cap, used: AtomicU64::new(0), spares: Spares::default() }
    }

    /// The cap in bytes; 0: none.
    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    /// Bytes allocated now for what is there. Spare pages are not among them, though they count against the cap: whoever
    /// needs their room gets it.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed).saturating_sub(self.spares.held())
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
        loop {
            match self.take_within(bytes, limit) {
                Ok(()) => return Ok(()),
                Err(used) => {
                    let spares = self.spares.take_now(used.saturating_add(bytes).saturating_sub(limit));
                    if spares.is_empty() {
                        return Err(StoreError::Full { what: "memory cap", used, max: self.cap });
                    }
                    self.unmap(spares);
                }
            }
        }
    }

    fn take_within(&self, bytes: u64, limit: u64) -> Result<(), u64> {
        let within = |used: u64| used.checked_add(bytes).filter(|after| *after <= limit);
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)?;
        debug_assert!(self.cap == 0 || before + bytes <= self.cap, "the cap holds at every moment");
        Ok(())
    }

    /// Gives back what was freed.
    pub(super) fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more was given back than was taken");
    }

    /// Keeps a page that holds nothing any more. It stays charged.
    pub(super) fn keep_spare(&self, spare: Spare) {
        self.spares.keep(spare);
    }

    /// A spare page of this length, with its charge.
    pub(super) fn reuse_spare(&self, len: usize) -> Option<Spare> {
        self.spares.reuse(len)
    }

    /// Gives some of the pages back to the operating system that nobody wanted for a while.
    pub(super) fn give_spares(&self) {
        self.unmap(self.spares.take_round());
    }

    /// Gives pages back to the operating system. Until that is done they are charged, and told as spare.
    fn unmap(&self, spares: Vec<Spare>) {
        let bytes = spares.iter().map(|spare| spare.charged as u64).sum();
        drop(spares);
        self.give(bytes);
        self.spares.gone(bytes);
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
