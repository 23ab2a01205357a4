//! So many requests a second, with a burst: for one caller each ([`Buckets`]), or for all together ([`Bucket`]). A
//! bucket is one number: the time at which it would be full again (the generic cell rate algorithm).
//!
//! The table of buckets has sets of [`WAYS`] places, chosen by a seeded hash. Where a set has no free place, the fullest
//! bucket in it gives way: the one whose loss is worth least. Somebody with very many addresses can thus make
//! others' limits looser for a moment, never tighter, and never the table larger.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Sets of a table. With [`WAYS`] places of 16 bytes each it takes one mebibyte, from the first request that is counted
/// on, and remembers 65,536 callers that asked within the last few seconds.
const SETS: usize = 8192;

/// Places of a set.
const WAYS: usize = 8;

/// Most requests a second that can be asked for; beyond it the arithmetic in nanoseconds is too coarse.
pub const RATE_MAX: u32 = 1_000_000;

/// Largest burst that can be asked for.
pub const BURST_MAX: u32 = 10_000_000;

/// How much may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run; 0: no limit.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1 counts.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const NONE: Self = Self { per_second: 0, burst: 0 };
}

/// How many of the requests that came at once pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// So many, counted from the first.
    pub count: u32,
    /// How long to wait until there is room for one more; `None` if all passed.
    pub retry_after: Option<Duration>,
}

/// A rate as a bucket counts with it.
#[derive(Debug, Clone, Copy)]
struct Pace {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Pace {
    fn of(rate: Rate) -> Option<Self> {
        if rate.per_second == 0 {
            return None;
        }
        let interval_ns = 1_000_000_000 / u64::from(rate.per_second.min(RATE_MAX));
        let tolerance_ns = interval_ns * u64::from(rate.burst.clamp(1, BURST_MAX));
        Some(Self { interval_ns, tolerance_ns })
    }

    /// Takes up to this many out of a bucket that is full at `full_ns`; answers when it is full then, too.
    fn take(self, full_ns: u64, now_ns: u64, wanted: u32) -> (u64, Passed) {
        let from_ns = full_ns.max(now_ns);
        let ahead_ns = from_ns - now_ns;
        let room = self.tolerance_ns.saturating_sub(ahead_ns) / self.interval_ns;
        let count = u64::from(wanted).min(room);
        let full_ns = from_ns.saturating_add(count * self.interval_ns);
        let retry_after = (count < u64::from(wanted)).then(|| {
            let next_ns = (full_ns - now_ns).saturating_add(self.interval_ns);
            Duration::from_nanos(next_ns.saturating_sub(self.tolerance_ns))
        });
        // No more than were wanted.
        (full_ns, Passed { count: count as u32, retry_after })
    }
}

fn ns(now: Duration) -> u64 {
    // Zero is nobody's place.
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// One bucket for all who ask.
#[derive(Debug)]
pub struct Bucket {
    pace: Pace,
    full_ns: AtomicU64,
}

impl Bucket {
    /// A full one; `None` where there is no limit.
    #[must_use]
    pub fn new(rate: Rate) -> Option<Self> {
        Some(Self { pace: Pace::of(rate)?, full_ns: AtomicU64::new(0) })
    }

    /// Takes up to this many requests out of it. `now` is time since some fixed moment.
    pub fn take(&self, wanted: u32, now: Duration) -> Passed {
        let now_ns = ns(now);
        let mut full_ns = self.full_ns.load(Ordering::Relaxed);
        loop {
            let (then_ns, passed) = self.pace.take(full_ns, now_ns, wanted);
            let changed =
                self.full_ns.compare_exchange_weak(full_ns, then_ns, Ordering::Relaxed, Ordering::Relaxed);
            match changed {
                Ok(_) => return passed,
                Err(other) => full_ns = other,
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    whose: u64,
    /// When the bucket is full again, in nanoseconds of the monotonic clock; 0: nobody's place.
    full_ns: u64,
}

type Set = Mutex<[Place; WAYS]>;

/// A bucket for each caller.
pub struct Buckets {
    pace: Pace,
    /// Made when the first request is counted: a door on loopback never does.
    sets: OnceLock<Box<[Set]>>,
    hasher: RandomState,
}

impl Buckets {
    /// Full buckets; `None` where there is no limit.
    #[must_use]
    pub fn new(rate: Rate) -> Option<Self> {
        Some(Self { pace: Pace::of(rate)?, sets: OnceLock::new(), hasher: RandomState::new() })
    }

    /// Takes up to this many requests out of a caller's bucket. `whose` stands for the caller; two with the same number
    /// share a bucket. `now` is time since some fixed moment.
    pub fn take(&self, whose: u64, wanted: u32, now: Duration) -> Passed {
        let now_ns = ns(now);
        let sets = self.sets.get_or_init(|| (0..SETS).map(|_| Mutex::default()).collect());
        let set = usize::try_from(self.hasher.hash_one(whose) % SETS as u64).unwrap_or(0);
        let mut places = sets[set].lock();
        let place = match places.iter().position(|place| place.full_ns != 0 && place.whose == whose) {
            Some(at) => &mut places[at],
            None => {
                let fullest = places.iter_mut().min_by_key(|place| place.full_ns);
                let Some(place) = fullest else { return Passed { count: wanted, retry_after: None } };
                *place = Place { whose, full_ns: now_ns };
                place
            }
        };
        let (full_ns, passed) = self.pace.take(place.full_ns, now_ns, wanted);
        place.full_ns = full_ns;
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::caller::Network;

    fn buckets(per_second: u32, burst: u32) -> Buckets {
        Buckets::new(Rate { per_second, burst }).unwrap()
    }

    fn all(count: u32) -> Passed {
        Passed { count, retry_after: None }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = buckets(100, 200);
        let start = Duration::from_secs(5);
        for _ in 0..200 {
            assert_eq!(buckets.take(1, 1, start), all(1));
        }
        let refused = Passed { count: 0, retry_after: Some(Duration::from_millis(10)) };
        assert_eq!(buckets.take(1, 1, start), refused);
        assert_eq!(buckets.take(2, 1, start), all(1), "each for itself");
        let later = start + Duration::from_secs(1);
        let passed = (0..500).filter(|_| buckets.take(1, 1, later).count == 1).count();
        assert_eq!(passed, 100);
        assert!(
            Buckets::new(Rate::NONE).is_none() && Bucket::new(Rate { per_second: 0, burst: 9 }).is_none()
        );
    }

    #[test]
    fn of_many_at_once_the_first_pass() {
        let bucket = Bucket::new(Rate { per_second: 10, burst: 20 }).unwrap();
        let start = Duration::from_secs(1);
        assert_eq!(bucket.take(15, start), all(15));
        let some = Passed { count: 5, retry_after: Some(Duration::from_millis(100)) };
        assert_eq!(bucket.take(50, start), some);
        assert_eq!(bucket.take(0, start), all(0));
        assert_eq!(bucket.take(1, start + Duration::from_millis(100)), all(1));
    }

    #[test]
    fn very_many_addresses_take_no_more_room_and_block_nobody() {
        let buckets = buckets(1, 1);
        let now = Duration::from_secs(1);
        for high in 0..200_000_u128 {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (high << 64)));
            assert_eq!(buckets.take(Network::of(address).to_u64(), 1, now), all(1));
        }
    }

    #[test]
    fn threads_share_one_bucket_and_take_no_more_than_there_is() {
        let bucket = Bucket::new(Rate { per_second: 1, burst: 1000 }).unwrap();
        let passed: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope
                        .spawn(|| (0..500).map(|_| bucket.take(1, Duration::from_secs(1)).count).sum::<u32>())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    proptest! {
        /// However requests are spread over time, no more pass than burst plus rate times time, and whoever waits
        /// as long as told passes.
        #[test]
        fn never_more_than_promised(
            rate in 1u32..2000,
            burst in 1u32..50,
            asked in prop::collection::vec((0u64..20_000_000, 1u32..5), 1..400),
        ) {
            let (buckets, bucket) = (buckets(rate, burst), Bucket::new(Rate { per_second: rate, burst }).unwrap());
            let mut now = Duration::from_secs(1);
            let start = now;
            let mut passed = 0_u64;
            for (gap, wanted) in asked {
                now += Duration::from_nanos(gap);
                let some = buckets.take(7, wanted, now);
                prop_assert_eq!(some, bucket.take(wanted, now), "both count alike");
                prop_assert_eq!(some.retry_after.is_some(), some.count < wanted);
                passed += u64::from(some.count);
                if let Some(wait) = some.retry_after {
                    now += wait;
                    prop_assert_eq!(buckets.take(7, 1, now).count, 1);
                    prop_assert_eq!(bucket.take(1, now).count, 1);
                    passed += 1;
                }
            }
            let interval = 1_000_000_000 / u64::from(rate);
            let elapsed = u64::try_from((now - start).as_nanos()).unwrap();
            prop_assert!(passed <= u64::from(burst) + elapsed / interval + 1);
        }
    }
}
