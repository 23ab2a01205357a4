//! Counters on hot paths: an array of numbers for each of a few groups of threads, summed when somebody looks.
//! Adding is one relaxed atomic addition in memory that other cores seldom touch.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Groups of threads. More than the cores of most machines; threads beyond share.
const GROUPS: usize = 8;

/// Numbers by index.
pub(crate) struct Cells {
    groups: [Box<[AtomicU64]>; GROUPS],
}

thread_local! {
    static GROUP: Cell<usize> = const { Cell::new(usize::MAX) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

fn group() -> usize {
    GROUP.with(|group| {
        if group.get() == usize::MAX {
            group.set(NEXT.fetch_add(1, Ordering::Relaxed) % GROUPS);
        }
        group.get()
    })
}

impl Cells {
    /// This many, all zero.
    pub(crate) fn new(len: usize) -> Self {
        Self { groups: std::array::from_fn(|_| (0..len).map(|_| AtomicU64::new(0)).collect()) }
    }

    /// Adds to one.
    pub(crate) fn add(&self, index: usize, by: u64) {
        if let Some(cell) = self.groups[group()].get(index) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// One as it is now.
    pub(crate) fn get(&self, index: usize) -> u64 {
        let cells = self.groups.iter().filter_map(|group| group.get(index));
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let cells = Cells::new(3);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| cells.add(1, 2)));
            }
        });
        assert_eq!((cells.get(0), cells.get(1), cells.get(2)), (0, 40_000, 0));
        cells.add(3, 1);
        assert_eq!(cells.get(3), 0, "what is not there is not counted");
    }
}
