//! Many seeds, on all cores. The result does not depend on the number of cores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checker::Verdict;
use super::plan::Settings;
use super::run;

/// Seeds a core takes at a time.
const BATCH: u64 = 32;

/// What came of many seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Client requests.
    pub calls: u64,
    /// Messages sent.
    pub messages: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Requests that were answered with an outcome.
    pub answered: u64,
    /// Runs the checker gave up on.
    pub undecided: u64,
    /// The lowest of them.
    pub undecided_seed: Option<u64>,
    /// The lowest seed that violates the specification.
    pub violation: Option<u64>,
}

impl Summary {
    fn add(&mut self, other: &Summary) {
        self.runs += other.runs;
        self.calls += other.calls;
        self.messages += other.messages;
        self.faults += other.faults;
        self.answered += other.answered;
        self.undecided += other.undecided;
        self.undecided_seed = [self.undecided_seed, other.undecided_seed].into_iter().flatten().min();
        self.violation = [self.violation, other.violation].into_iter().flatten().min();
    }
}

/// Runs seeds, on as many threads as there are cores. With `stop_early`, seeds above the lowest violation
/// found so far are skipped: the lowest is found all the same.
///
/// # Panics
/// If a run panics.
#[must_use]
pub fn sweep(seeds: Range<u64>, settings: Settings, stop_early: bool) -> Summary {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let lowest = AtomicU64::new(u64::MAX);
    let work = || {
        let mut sum = Summary::default();
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= seeds.end {
                return sum;
            }
            for seed in from..(from + BATCH).min(seeds.end) {
                if stop_early && seed > lowest.load(Ordering::Relaxed) {
                    return sum;
                }
                let one = judge(seed, settings);
                if one.violation.is_some() {
                    lowest.fetch_min(seed, Ordering::Relaxed);
                }
                sum.add(&one);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut total = Summary::default();
        for thread in threads {
            total.add(&thread.join().expect("a run that panics is a defect of the simulation"));
        }
        total
    })
}

fn judge(seed: u64, settings: Settings) -> Summary {
    let report = run(seed, settings);
    let undecided = matches!(report.verdict, Verdict::Undecided { .. });
    Summary {
        runs: 1,
        calls: report.calls.len() as u64,
        messages: report.messages,
        faults: report.faults,
        answered: report.calls.iter().filter(|c| c.outcome().is_some()).count() as u64,
        undecided: u64::from(undecided),
        undecided_seed: undecided.then_some(seed),
        violation: matches!(report.verdict, Verdict::Violation { .. }).then_some(seed),
    }
}
