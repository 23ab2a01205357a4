//! So many requests a second for an address, with a burst. One number an address: the time at which its bucket
//! would be full again (the generic cell rate algorithm), in a table whose size is fixed.
//!
//! The table has sets of [`WAYS`] places, chosen by a seeded hash. Where a set has no free place, the fullest
//! bucket in it gives way: the one whose loss is worth least. Somebody with very many addresses can thus make
//! others' limits looser for a moment, never tighter, and never the table larger.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use crate::caller::Network;

/// Sets of the table. With [`WAYS`] places of 16 bytes each the table takes one mebibyte and remembers 65,536
/// networks that asked within the last few seconds.
const SETS: usize = 8192;

/// Places of a set.
const WAYS: usize = 8;

/// Most requests a second that can be asked for; beyond it the arithmetic in nanoseconds is too coarse.
pub const RATE_MAX: u32 = 1_000_000;

/// Largest burst that can be asked for.
pub const BURST_MAX: u32 = 10_000_000;

/// How much one address may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run; 0: no limit.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1 counts.
    pub burst: u32,
}

#[derive(Clone, Copy, Default)]
struct Place {
    network: u64,
    /// When the bucket is full again, in nanoseconds of the monotonic clock; 0: nobody's place.
    full_ns: u64,
}

/// The buckets.
pub struct Buckets {
    interval_ns: u64,
    tolerance_ns: u64,
    sets: Box<[Mutex<[Place; WAYS]>]>,
    hasher: RandomState,
}

impl Buckets {
    /// Empty buckets; `None` where there is no limit.
    #[must_use]
    pub fn new(rate: Rate) -> Option<Self> {
        if rate.per_second == 0 {
            return None;
        }
        let interval_ns = 1_000_000_000 / u64::from(rate.per_second.min(RATE_MAX));
        Some(Self {
            interval_ns,
            tolerance_ns: interval_ns * u64::from(rate.burst.clamp(1, BURST_MAX)),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        })
    }

    /// Takes one request out of a network's bucket. `now` is time since some fixed moment.
    ///
    /// # Errors
    /// How long to wait until there is one again; nothing was taken.
    pub fn take(&self, network: Network, now: Duration) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1);
        let key = network.to_u64();
        let hash = self.hasher.hash_one(key);
        let set = usize::try_from(hash % SETS as u64).unwrap_or(0);
        let mut places = self.sets[set].lock();
        let place = match places.iter().position(|place| place.full_ns != 0 && place.network == key) {
            Some(at) => &mut places[at],
            None => {
                let fullest = places.iter_mut().min_by_key(|place| place.full_ns);
                let Some(place) = fullest else { return Ok(()) };
                *place = Place { network: key, full_ns: now_ns };
                place
            }
        };
        let full_ns = place.full_ns.max(now_ns).saturating_add(self.interval_ns);
        let ahead_ns = full_ns - now_ns;
        if ahead_ns > self.tolerance_ns {
            return Err(Duration::from_nanos(ahead_ns - self.tolerance_ns));
        }
        place.full_ns = full_ns;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(IpAddr::from(number.to_be_bytes()))
    }

    fn buckets(per_second: u32, burst: u32) -> Buckets {
        Buckets::new(Rate { per_second, burst }).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = buckets(100, 200);
        let start = Duration::from_secs(5);
        for _ in 0..200 {
            assert_eq!(buckets.take(network(1), start), Ok(()));
        }
        assert_eq!(buckets.take(network(1), start), Err(Duration::from_millis(10)));
        assert_eq!(buckets.take(network(2), start), Ok(()), "each address for itself");
        let later = start + Duration::from_secs(1);
        let passed = (0..500).filter(|_| buckets.take(network(1), later).is_ok()).count();
        assert_eq!(passed, 100);
        assert!(Buckets::new(Rate { per_second: 0, burst: 9 }).is_none());
    }

    #[test]
    fn very_many_addresses_take_no_more_room_and_block_nobody() {
        let buckets = buckets(1, 1);
        let now = Duration::from_secs(1);
        for high in 0..200_000_u128 {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (high << 64)));
            assert_eq!(buckets.take(Network::of(address), now), Ok(()));
        }
    }

    proptest! {
        /// However requests are spread over time, no more pass than burst plus rate times time, and whoever waits
        /// as long as told passes.
        #[test]
        fn never_more_than_promised(rate in 1u32..2000, burst in 1u32..50, gaps in prop::collection::vec(0u64..20_000_000, 1..400)) {
            let buckets = buckets(rate, burst);
            let mut now = Duration::from_secs(1);
            let start = now;
            let mut passed = 0_u64;
            for gap in gaps {
                now += Duration::from_nanos(gap);
                match buckets.take(network(7), now) {
                    Ok(()) => passed += 1,
                    Err(wait) => {
                        now += wait;
                        prop_assert!(buckets.take(network(7), now).is_ok());
                        passed += 1;
                    }
                }
            }
            let interval = 1_000_000_000 / u64::from(rate);
            let elapsed = u64::try_from((now - start).as_nanos()).unwrap();
            prop_assert!(passed <= u64::from(burst) + elapsed / interval + 1);
        }
    }
}
