//! Pages in which nothing is alive any more: kept for a moment for whoever opens the next page, then given back to the
//! operating system, a few at a time.
//!
//! Giving a page back is dear where it happens: every processor that runs the program has to forget where the page was, and
//! the one that gives it back waits for all of them, some tens of microseconds on a virtual machine. Hence never under a
//! shard's lock, unless the cap is reached; and a page that is used again costs neither that nor being mapped and cleared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;
use parking_lot::Mutex;

/// Rounds after which what nobody wanted meanwhile is given back. A round follows each sweep that has nothing left to do:
/// twenty a second.
const WAIT_ROUNDS: u32 = 8;

/// What is not wanted goes back in so many rounds, ...
const GIVE_ROUNDS: u64 = 16;

/// ... but at least so many bytes in each.
const GIVE_MIN: u64 = 4 << 20;

/// A page without entries, and how many of its bytes were touched and stay charged.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) map: MmapMut,
    pub(super) charged: usize,
}

/// All of a table's.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Bytes charged for them, those included that are just being given back.
    held: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By length. Those that came last go first: their memory may still be near.
    pages: BTreeMap<usize, Vec<Spare>>,
    /// Bytes charged for these.
    bytes: u64,
    /// Fewest bytes held since the last look.
    least: u64,
    /// Bytes that nobody wanted between the last two looks and that are still to be given back, ...
    surplus: u64,
    /// ... so many in a round.
    portion: u64,
    rounds: u32,
}

impl Spares {
    /// Bytes charged for them, until [`Spares::gone`].
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Keeps a page that stays charged.
    pub(super) fn keep(&self, spare: Spare) {
        let mut kept = self.kept.lock();
        self.held.fetch_add(spare.charged as u64, Ordering::Relaxed);
        kept.bytes += spare.charged as u64;
        kept.pages.entry(spare.map.len()).or_default().push(spare);
    }

    /// A page of this length, with its charge, if there is one.
    pub(super) fn reuse(&self, len: usize) -> Option<Spare> {
        if self.held() == 0 {
            return None;
        }
        let mut kept = self.kept.lock();
        let spare = kept.pages.get_mut(&len)?.pop()?;
        kept.less(spare.charged as u64);
        self.gone(spare.charged as u64);
        Some(spare)
    }

    /// Pages of `need` bytes, or all, to be given back at once.
    #[cold]
    pub(super) fn take_now(&self, need: u64) -> Vec<Spare> {
        self.kept.lock().take(need)
    }

    /// A round of giving back what was not wanted for a while: some of it.
    pub(super) fn take_round(&self) -> Vec<Spare> {
        let mut kept = self.kept.lock();
        kept.rounds += 1;
        if kept.rounds >= WAIT_ROUNDS {
            kept.rounds = 0;
            kept.surplus = kept.least;
            // Of what is left of a surplus no smaller portion is made: it would never end.
            let portion = (kept.surplus / GIVE_ROUNDS).max(GIVE_MIN);
            kept.portion = if kept.surplus == 0 { 0 } else { portion.max(kept.portion) };
            kept.least = kept.bytes;
        }
        let portion = kept.portion.min(kept.surplus);
        kept.take(portion)
    }

    /// These bytes are not charged for spare pages any more.
    pub(super) fn gone(&self, bytes: u64) {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more went than was kept");
    }
}

impl Kept {
    fn less(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.least = self.least.min(self.bytes);
        self.surplus = self.surplus.min(self.bytes);
    }

    /// Takes out pages of so many bytes or a little more, the longest first: fewest calls for what they hold.
    fn take(&mut self, bytes: u64) -> Vec<Spare> {
        let (mut taken, mut sum) = (Vec::new(), 0);
        while sum < bytes {
            let Some(mut longest) = self.pages.last_entry() else { break };
            match longest.get_mut().pop() {
                Some(spare) => {
                    sum += spare.charged as u64;
                    taken.push(spare);
                }
                None => drop(longest.remove()),
            }
        }
        self.less(sum);
        self.surplus = self.surplus.saturating_sub(sum);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(len: usize) -> Spare {
        Spare { map: MmapMut::map_anon(len).unwrap(), charged: len / 2 }
    }

    /// Gives pages back; answers the bytes that were charged for them.
    fn give(spares: &Spares, given: Vec<Spare>) -> u64 {
        let bytes = given.iter().map(|spare| spare.charged as u64).sum();
        let held = spares.held();
        drop(given);
        assert_eq!(spares.held(), held, "they are charged for until they are gone");
        spares.gone(bytes);
        bytes
    }

    #[test]
    fn a_page_is_used_again_or_goes_back_when_nobody_wants_it() {
        let spares = Spares::default();
        for _ in 0..32 {
            spares.keep(spare(1 << 20));
        }
        spares.keep(spare(64 << 10));
        let all = (32 << 19) + (32 << 10);
        assert_eq!(spares.held(), all);
        assert!(spares.reuse(128 << 10).is_none(), "there is none of this length");
        assert_eq!(spares.reuse(1 << 20).unwrap().charged, 1 << 19);

        // Whoever writes all the time finds what was freed a moment before.
        for _ in 0..20 * WAIT_ROUNDS {
            let used = spares.reuse(64 << 10).expect("it is wanted again and again");
            assert!(spares.reuse(64 << 10).is_none());
            spares.keep(used);
            give(&spares, spares.take_round());
        }
        assert!(spares.held() <= 64 << 10, "the others went back: {}", spares.held());

        // And when nobody wants anything, all of it goes back soon.
        let mut given = 0;
        for _ in 0..3 * WAIT_ROUNDS {
            given += give(&spares, spares.take_round());
        }
        assert_eq!((given, spares.held()), (32 << 10, 0));
    }

    #[test]
    fn much_goes_back_in_many_small_portions() {
        let spares = Spares::default();
        for _ in 0..640 {
            spares.keep(spare(1 << 20));
        }
        let portions: Vec<u64> = (0..2 * WAIT_ROUNDS as usize + GIVE_ROUNDS as usize)
            .map(|_| give(&spares, spares.take_round()))
            .collect();
        assert_eq!((portions.iter().sum::<u64>(), spares.held()), (320 << 20, 0));
        assert!(portions.iter().all(|portion| *portion <= 20 << 20), "{portions:?}");
    }

    #[test]
    fn a_full_table_gets_what_it_needs_at_once() {
        let spares = Spares::default();
        spares.keep(spare(64 << 10));
        spares.keep(spare(1 << 20));
        assert_eq!(give(&spares, spares.take_now(1)), 1 << 19, "the longest first");
        assert_eq!(give(&spares, spares.take_now(u64::MAX)), 32 << 10);
        assert!(spares.take_now(1).is_empty() && spares.held() == 0);
    }
}
