//! When the next request is due, where the rate is given and does not wait for the server (open loop).
//!
//! The times are fixed in advance. A latency counts from the time at which its request was due, not from when there was
//! room to send it: a server that stalls for a second delays all that was due in that second, and a generator that waits
//! for it before asking again (closed loop) would see one slow answer only (coordinated omission).

use larder_format::rng::{Rng, SeededRng};

/// Groups that requests are counted in that were never sent.
const GROUPS_MAX: u64 = 100_000;

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// The same time between any two.
    Even,
    /// As from many clients that know nothing of each other (a Poisson process).
    Poisson,
}

/// The times of one thread's requests, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Pace {
    interval_ns: f64,
    arrivals: Arrivals,
    next_ns: f64,
    end_ns: u64,
    rng: SeededRng,
}

impl Pace {
    /// `rate` requests a second over all of `threads`, of which this is `thread`, from `start_ns` to `end_ns`.
    #[must_use]
    pub fn new(rate: f64, arrivals: Arrivals, thread: u32, threads: u32, start_ns: u64, end_ns: u64) -> Self {
        let interval_ns = 1e9 / rate * f64::from(threads);
        // Threads take turns, so that together they are even.
        let offset = 1e9 / rate * f64::from(thread);
        let rng = SeededRng::new(0x9ace ^ u64::from(thread));
        #[allow(clippy::cast_precision_loss, reason = "53 bits of nanoseconds are 104 days")]
        let next_ns = start_ns as f64 + offset;
        Self { interval_ns, arrivals, next_ns, end_ns, rng }
    }

    /// When the next request is due; `None` if there are no more.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are positive")]
        let next = self.next_ns as u64;
        (next < self.end_ns).then_some(next)
    }

    /// How many are due by now, at most `most`.
    #[must_use]
    pub fn due(&self, now_ns: u64, most: usize) -> usize {
        match self.next_ns() {
            Some(next) if next <= now_ns => {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a positive number of requests, cut at `most`"
                )]
                let about = ((now_ns - next) as f64 / self.interval_ns) as usize;
                about.saturating_add(1).min(most)
            }
            _ => 0,
        }
    }

    /// All that is left, in groups: when the first of each was due, and how many they are. Of millions that nobody will
    /// send, each alone is of no interest.
    #[must_use]
    pub fn rest(&self) -> Vec<(u64, u32)> {
        let Some(next_ns) = self.next_ns() else { return Vec::new() };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a positive number of requests"
        )]
        let count = ((self.end_ns - next_ns) as f64 / self.interval_ns).ceil() as u64;
        let groups = count.min(GROUPS_MAX);
        let part = |group: u64| {
            let before = u128::from(count) * u128::from(group) / u128::from(groups);
            u64::try_from(before).unwrap_or(count)
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "53 bits of nanoseconds are 104 days"
        )]
        let due = |index: u64| next_ns + (index as f64 * self.interval_ns) as u64;
        let size = |group: u64| u32::try_from(part(group + 1) - part(group)).unwrap_or(u32::MAX);
        (0..groups).map(|group| (due(part(group)), size(group))).collect()
    }

    /// Takes the next request if it is due by now, and says when it was.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.next_ns().filter(|next| *next <= now_ns)?;
        let step = match self.arrivals {
            Arrivals::Even => self.interval_ns,
            Arrivals::Poisson => {
                #[allow(clippy::cast_precision_loss, reason = "53 random bits fit a float exactly")]
                let part = ((self.rng.u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                -part.ln() * self.interval_ns
            }
        };
        self.next_ns += step;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_whatever_happens_between() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let mut total = 0;
            for thread in 0..2 {
                let mut pace = Pace::new(1000.0, arrivals, thread, 2, 5_000, 10_000_005_000);
                // Nobody asks for nine seconds; all that was due is still there, with the times it was due at.
                let mut last = 0;
                while let Some(due) = pace.take(9_000_000_000) {
                    assert!(due >= last && due <= 9_000_000_000);
                    last = due;
                    total += 1;
                }
                while pace.take(u64::MAX).is_some() {
                    total += 1;
                }
                assert_eq!((pace.next_ns(), pace.due(u64::MAX, 5)), (None, 0));
            }
            assert!((9_700..=10_300).contains(&total), "{arrivals:?}: {total}");
        }
    }

    #[test]
    fn how_many_are_due_is_known_without_taking_them() {
        let mut pace = Pace::new(100.0, Arrivals::Even, 0, 1, 0, u64::MAX);
        assert_eq!(pace.due(0, 100), 1);
        assert_eq!(pace.due(95_000_000, 100), 10);
        assert_eq!(pace.due(95_000_000, 3), 3);
        assert_eq!(pace.take(0), Some(0));
        assert_eq!((pace.due(9_000_000, 9), pace.next_ns()), (0, Some(10_000_000)));
    }

    #[test]
    fn what_is_left_is_all_of_it_however_much_that_is() {
        let mut pace = Pace::new(100.0, Arrivals::Even, 0, 1, 0, 1_000_000_000);
        pace.take(0);
        let rest = pace.rest();
        assert_eq!((rest.len(), rest[0], rest[98]), (99, (10_000_000, 1), (990_000_000, 1)));
        let rest = Pace::new(1e8, Arrivals::Even, 0, 1, 0, 100_000_000_000).rest();
        let all: u64 = rest.iter().map(|(_, count)| u64::from(*count)).sum();
        assert_eq!((all, rest.len()), (10_000_000_000, 100_000));
        assert!(rest.last().unwrap().0 > 99_990_000_000);
    }
}
