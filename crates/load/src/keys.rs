//! Which key comes next: all alike, or few of them most of the time.

use larder_format::rng::{Rng, SeededRng};

use crate::LoadError;

/// How often each key is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The n-th key 1/n^skew as often as the first: Zipf's law.
    Zipfian {
        /// The exponent; 0.99 is what YCSB uses.
        skew: f64,
    },
}

impl Distribution {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian { .. } => "zipfian",
        }
    }
}

/// Draws keys.
#[derive(Debug, Clone)]
pub struct Picker {
    count: u32,
    zipf: Option<Zipf>,
}

impl Picker {
    /// Among `count` keys, numbered from 0.
    ///
    /// # Errors
    /// [`LoadError::Plan`] if there are none, or the skew is not between 0.01 and 10.
    pub fn new(count: u32, distribution: Distribution) -> Result<Self, LoadError> {
        if count == 0 {
            return Err(LoadError::Plan("at least one key is needed".to_owned()));
        }
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipfian { skew } if (0.01..=10.0).contains(&skew) => Some(Zipf::new(count, skew)),
            Distribution::Zipfian { .. } => {
                return Err(LoadError::Plan("the skew of zipfian keys is 0.01 to 10".to_owned()));
            }
        };
        Ok(Self { count, zipf })
    }

    /// The next key.
    pub fn pick(&self, rng: &mut SeededRng) -> u32 {
        match &self.zipf {
            None => {
                let wide = (rng.u64() >> 32) * u64::from(self.count);
                u32::try_from(wide >> 32).unwrap_or(0)
            }
            Some(zipf) => zipf.pick(rng),
        }
    }
}

/// Zipf's law by rejection from a hull of steps (Hörmann and Derflinger, 1996): no table, whatever the number of keys,
/// and rarely more than one try.
#[derive(Debug, Clone)]
struct Zipf {
    count: f64,
    skew: f64,
    /// The hull's integral at the first and at the last step.
    first: f64,
    last: f64,
    /// Below this distance from a whole number nothing needs to be rejected.
    sure: f64,
}

impl Zipf {
    fn new(count: u32, skew: f64) -> Self {
        let count = f64::from(count);
        let mut zipf = Self { count, skew, first: 0.0, last: 0.0, sure: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(count + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.skew)
    }

    /// The integral of the weight, from 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.skew) * log;
        if power.abs() < 1e-8 { log } else { (power.exp_m1() / power) * log }
    }

    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.skew)).max(-1.0);
        if t.abs() < 1e-8 { area.exp() } else { ((t.ln_1p() / t) * area).exp() }
    }

    fn pick(&self, rng: &mut SeededRng) -> u32 {
        loop {
            #[allow(clippy::cast_precision_loss, reason = "53 random bits fit a float exactly")]
            let part = (rng.u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let area = self.last + part * (self.first - self.last);
            let x = self.inverse(area);
            let rank = (x + 0.5).floor().clamp(1.0, self.count);
            if rank - x <= self.sure || area >= self.integral(rank + 0.5) - self.weight(rank) {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between 1 and the number of keys"
                )]
                return rank as u32 - 1;
            }
        }
    }
}

/// Digits of a key's number, so that all keys are of one length.
const DIGITS: usize = 10;

/// Longest prefix of keys, in bytes: with the digits, and percent-encoded, a key stays within what any server takes.
pub const PREFIX_LEN_MAX: usize = 200;

/// Length of a key with this prefix, in bytes.
#[must_use]
pub fn key_len(prefix: &str) -> usize {
    prefix.len() + DIGITS
}

/// Appends the digits of a key's number.
pub fn write_digits(out: &mut Vec<u8>, key: u32) {
    let (mut digits, mut left) = ([b'0'; DIGITS], key);
    for digit in digits.iter_mut().rev() {
        if left == 0 {
            break;
        }
        *digit += u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: u32, distribution: Distribution, draws: u32) -> Vec<f64> {
        let picker = Picker::new(count, distribution).unwrap();
        let mut rng = SeededRng::new(1);
        let mut hits = vec![0_u32; count as usize];
        for _ in 0..draws {
            hits[picker.pick(&mut rng) as usize] += 1;
        }
        hits.into_iter().map(|n| f64::from(n) / f64::from(draws)).collect()
    }

    #[test]
    fn uniform_keys_are_all_alike() {
        for share in shares(10, Distribution::Uniform, 100_000) {
            assert!((share - 0.1).abs() < 0.01, "{share}");
        }
        assert_eq!(shares(1, Distribution::Uniform, 10), [1.0]);
    }

    #[test]
    fn zipfian_keys_follow_the_law() {
        for (count, skew) in [(1, 0.99), (2, 0.99), (100, 0.99), (100, 1.0), (1000, 0.5), (50, 2.5)] {
            let shares = shares(count, Distribution::Zipfian { skew }, 400_000);
            let whole: f64 = (1..=count).map(|n| f64::from(n).powf(-skew)).sum();
            for (rank, share) in shares.iter().enumerate() {
                let expected = (rank as f64 + 1.0).powf(-skew) / whole;
                let spread = 6.0 * (expected / 400_000.0).sqrt() + 1e-5;
                assert!((share - expected).abs() < spread, "{count} {skew} {rank}: {share} {expected}");
            }
        }
    }

    #[test]
    fn the_largest_number_of_keys_works_and_what_makes_no_sense_does_not() {
        let picker = Picker::new(u32::MAX, Distribution::Zipfian { skew: 0.99 }).unwrap();
        let mut rng = SeededRng::new(3);
        assert!((0..1000).map(|_| picker.pick(&mut rng)).max().unwrap() > 1_000_000);
        assert!(Picker::new(0, Distribution::Uniform).is_err());
        for skew in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Picker::new(5, Distribution::Zipfian { skew }).is_err(), "{skew}");
        }
    }

    #[test]
    fn keys_have_one_length() {
        for (key, digits) in [(0, "0000000000"), (42, "0000000042"), (u32::MAX, "4294967295")] {
            let mut out = Vec::new();
            write_digits(&mut out, key);
            assert_eq!(out, digits.as_bytes());
        }
        assert_eq!(key_len("bench:"), 16);
    }
}
