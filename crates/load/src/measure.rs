//! What is counted while load runs: latencies in histograms, faults by kind, one window of time after the other.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::ledger::Verdict;

/// Shortest latency that is told from others, in nanoseconds.
const LATENCY_NS_MIN: u64 = 1_000;
/// Longest latency that is told from longer ones: an hour, in nanoseconds.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits that latencies are kept with.
const DIGITS: u8 = 3;

/// Texts of faults that are kept of each window.
const SAMPLES_MAX: usize = 3;
/// Length of such a text, in bytes.
const SAMPLE_LEN_MAX: usize = 200;

/// A histogram of latencies in nanoseconds, exact to three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u32>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS);
        Self(histogram.expect("the bounds are constants that fit each other"))
    }
}

impl Latencies {
    /// Counts so many requests of one latency.
    pub fn record(&mut self, ns: u64, count: u32) {
        self.0.saturating_record_n(ns, count);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that so many percent stay within, in nanoseconds; 0 if there are none.
    #[must_use]
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(percent / 100.0).min(self.0.max()) }
    }

    /// The longest, in nanoseconds.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// The mean, in nanoseconds.
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        self.0.mean()
    }
}

/// Ways in which a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A value of another key or run, or that was never written.
    Wrong,
    /// A value that is damaged, cut, or put together from several.
    Torn,
    /// A value older than an acknowledged one.
    Stale,
    /// No value where one was acknowledged and its time is not up.
    Missing,
    /// A value whose time was up long before.
    Outlived,
    /// The server said no.
    Refused,
    /// The server said that it does not know whether it was done.
    Unknown,
    /// What came back is not the protocol.
    Garbled,
    /// The connection ended before the answer.
    Lost,
    /// No answer in time.
    TimedOut,
    /// Due by its rate, and never sent before the end: the server did not keep up.
    Unsent,
}

/// All faults, in the order of reports.
pub const FAULTS: [(Fault, &str); 11] = [
    (Fault::Wrong, "wrong"),
    (Fault::Torn, "torn"),
    (Fault::Stale, "stale"),
    (Fault::Missing, "missing"),
    (Fault::Outlived, "outlived"),
    (Fault::Refused, "refused"),
    (Fault::Unknown, "unknown"),
    (Fault::Garbled, "garbled"),
    (Fault::Lost, "lost"),
    (Fault::TimedOut, "timed_out"),
    (Fault::Unsent, "unsent"),
];

/// How many of them say that the server answered with other than what was stored.
pub const FALSE_ANSWERS: usize = 5;

impl Fault {
    /// The fault of a verdict, if it is one.
    #[must_use]
    pub fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Right | Verdict::Absent => None,
            Verdict::Missing => Some(Fault::Missing),
            Verdict::Stale => Some(Fault::Stale),
            Verdict::Wrong => Some(Fault::Wrong),
            Verdict::Torn => Some(Fault::Torn),
            Verdict::Outlived => Some(Fault::Outlived),
        }
    }
}

/// Everything that is counted beside latencies.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    faults: [u64; FAULTS.len()],
    /// Values that were compared and found right.
    pub verified: u64,
    /// Reads that found nothing, rightly.
    pub absent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// What went wrong, in words; the first few.
    pub samples: Vec<String>,
}

impl Counts {
    /// Counts a fault, and keeps its words if there is room.
    pub fn fault(&mut self, fault: Fault, count: u64, words: impl FnOnce() -> String) {
        self.faults[fault as usize] += count;
        if self.samples.len() < SAMPLES_MAX && count > 0 {
            let mut text = words();
            let end = (0..=SAMPLE_LEN_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            if !self.samples.contains(&text) {
                self.samples.push(text);
            }
        }
    }

    /// How many of one kind.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// How many answers were other than what was stored.
    #[must_use]
    pub fn false_answers(&self) -> u64 {
        self.faults[..FALSE_ANSWERS].iter().sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
        self.verified += other.verified;
        self.absent += other.absent;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        for sample in &other.samples {
            if self.samples.len() < SAMPLES_MAX && !self.samples.contains(sample) {
                self.samples.push(sample.clone());
            }
        }
    }
}

/// What happened in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Latencies of reads.
    pub reads: Latencies,
    /// Latencies of writes.
    pub writes: Latencies,
    /// The rest.
    pub counts: Counts,
}

impl Window {
    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.reads.count() + self.writes.count()
    }

    /// Reads and writes together.
    #[must_use]
    pub fn all(&self) -> Latencies {
        let mut all = self.reads.clone();
        all.add(&self.writes);
        all
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.counts.add(&other.counts);
    }
}

/// How long windows are, so that there are about 120 of them whatever the length of the run, but none shorter than a
/// tenth of a second.
#[must_use]
pub fn window_len(duration: Duration) -> Duration {
    (duration / 120).clamp(Duration::from_millis(100), Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_three_digits_and_everything_is_counted() {
        let mut latencies = Latencies::default();
        for us in 1..=10_000_u64 {
            latencies.record(us * 1_000, 1);
        }
        latencies.record(u64::MAX, 1);
        assert_eq!(latencies.count(), 10_001);
        for (percent, us) in [(50.0, 5_000.0), (99.0, 9_900.0)] {
            let measured = latencies.percentile_ns(percent) as f64 / 1e3;
            assert!((measured / us - 1.0).abs() < 0.002, "{percent} {measured}");
        }
        assert!(latencies.max_ns() >= LATENCY_NS_MAX);
        assert_eq!(Latencies::default().percentile_ns(99.0), 0);
    }

    #[test]
    fn faults_are_counted_by_kind_with_a_few_samples() {
        for (at, (fault, _)) in FAULTS.iter().enumerate() {
            assert_eq!(*fault as usize, at, "the table is in the order of the kinds");
        }
        let mut counts = Counts::default();
        for n in 0..10 {
            counts.fault(Fault::Refused, 1, || format!("no {n} {}", "é".repeat(200)));
        }
        counts.fault(Fault::Wrong, 2, String::new);
        let mut all = Counts::default();
        all.add(&counts);
        all.add(&counts);
        assert_eq!((all.of(Fault::Refused), all.errors(), all.false_answers()), (20, 24, 4));
        assert!(all.samples.len() == SAMPLES_MAX && all.samples.iter().all(|s| s.len() <= SAMPLE_LEN_MAX));
    }
}
