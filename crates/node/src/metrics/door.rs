//! What is counted of one door, whichever protocol it speaks: requests by operation and outcome, how long they took,
//! bytes, connections, refusals, suspicion.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use larder_door::Refusal;
use larder_door::http::suspicion::Suspicion;

use super::cells::Cells;
use super::family::{Family, Kind, Sample, Section, Value, label};

/// Upper bounds of the latency histogram's buckets, in nanoseconds: from below what a value in memory takes to a
/// disk in trouble.
pub(crate) const BOUNDS_NS: [u64; 16] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// Cells of one histogram: its buckets, the one beyond, and the sum in nanoseconds.
const HISTOGRAM: usize = BOUNDS_NS.len() + 2;

/// Refusals of those who asked too much, whoever's limit it was.
const LIMITED: [&str; 3] = ["rate_limited", "rate_limited_total", "rate_limited_identity"];

/// One door's counters.
pub(crate) struct DoorMetrics {
    name: &'static str,
    operations: &'static [&'static str],
    /// Name and whether it is an error of the node's own (not of the request).
    outcomes: &'static [(&'static str, bool)],
    cells: Cells,
    open: AtomicI64,
}

impl DoorMetrics {
    /// All zero.
    pub(crate) fn new(
        name: &'static str,
        operations: &'static [&'static str],
        outcomes: &'static [(&'static str, bool)],
    ) -> Self {
        let len = operations.len() * (outcomes.len() + HISTOGRAM)
            + 3
            + Refusal::NAMES.len()
            + Suspicion::NAMES.len();
        Self { name, operations, outcomes, cells: Cells::new(len), open: AtomicI64::new(0) }
    }

    fn request_at(&self, operation: usize, outcome: usize) -> usize {
        operation * self.outcomes.len() + outcome
    }

    fn histogram_at(&self, operation: usize) -> usize {
        self.operations.len() * self.outcomes.len() + operation * HISTOGRAM
    }

    fn plain_at(&self, number: usize) -> usize {
        self.histogram_at(self.operations.len()) + number
    }

    fn refusal_at(&self, index: usize) -> usize {
        self.plain_at(3) + index
    }

    fn suspicion_at(&self, index: usize) -> usize {
        self.refusal_at(Refusal::NAMES.len()) + index
    }

    /// A request was answered.
    pub(crate) fn request(&self, operation: usize, outcome: usize, took: Duration) {
        self.cells.add(self.request_at(operation, outcome), 1);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < took_ns);
        let at = self.histogram_at(operation);
        self.cells.add(at + bucket, 1);
        self.cells.add(at + HISTOGRAM - 1, took_ns);
    }

    /// Bytes of bodies came in.
    pub(crate) fn received(&self, bytes: u64) {
        self.cells.add(self.plain_at(0), bytes);
    }

    /// Bytes of bodies went out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.cells.add(self.plain_at(1), bytes);
    }

    /// A connection was accepted.
    pub(crate) fn opened(&self) {
        self.cells.add(self.plain_at(2), 1);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Something was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.cells.add(self.refusal_at(refusal.index()), 1);
    }

    /// Something looked suspicious.
    pub(crate) fn suspicious(&self, suspicion: Suspicion) {
        self.cells.add(self.suspicion_at(suspicion.index()), 1);
    }

    /// Connections accepted since the start.
    pub(crate) fn opened_ever(&self) -> u64 {
        self.cells.get(self.plain_at(2))
    }

    /// Bytes that came in.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.cells.get(self.plain_at(0))
    }

    /// Bytes that went out.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.cells.get(self.plain_at(1))
    }

    /// How often something was refused for this reason.
    pub(crate) fn refusals(&self, refusal: Refusal) -> u64 {
        self.cells.get(self.refusal_at(refusal.index()))
    }

    fn sample(&self, labels: Vec<(&'static str, String)>, value: Value) -> Sample {
        let mut all = vec![label("door", self.name)];
        all.extend(labels);
        Sample { labels: all, value }
    }

    /// Adds what there is to the families: [`families`] makes them.
    pub(crate) fn collect(&self, families: &mut Families) {
        for (o, operation) in self.operations.iter().enumerate() {
            let mut errors = 0;
            for (s, (outcome, is_error)) in self.outcomes.iter().enumerate() {
                let count = self.cells.get(self.request_at(o, s));
                // Every pair is there from the first answer on; those that never happened would be noise.
                if count > 0 {
                    let labels = vec![label("operation", operation), label("outcome", outcome)];
                    families.requests.push(self.sample(labels, Value::Count(count)));
                }
                errors += if *is_error { count } else { 0 };
            }
            let labels = || vec![label("operation", operation)];
            families.errors.push(self.sample(labels(), Value::Count(errors)));
            families.durations.push(self.sample(labels(), self.histogram(o)));
        }
        families.received.push(self.plain(0));
        families.sent.push(self.plain(1));
        // A door whose connections somebody else counts has none here.
        if self.cells.get(self.plain_at(2)) > 0 {
            families.connections.push(self.plain(2));
            let open = self.open.load(Ordering::Relaxed).max(0);
            families.open.push(self.sample(Vec::new(), Value::Number(open as f64)));
        }
        let count = |at| Value::Count(self.cells.get(at));
        for (at, name) in Refusal::NAMES.iter().enumerate() {
            families.refused.push(self.sample(vec![label("reason", name)], count(self.refusal_at(at))));
        }
        let of = |names: &[&str]| -> u64 {
            let places = Refusal::NAMES.iter().enumerate().filter(|(_, name)| names.contains(name));
            places.map(|(at, _)| self.cells.get(self.refusal_at(at))).sum()
        };
        families.rate_limited.push(self.sample(Vec::new(), Value::Count(of(&LIMITED))));
        let oversized = of(&["head_too_large", "body_too_large"]);
        families.oversized.push(self.sample(Vec::new(), Value::Count(oversized)));
        for (at, name) in Suspicion::NAMES.iter().enumerate() {
            families.suspicious.push(self.sample(vec![label("kind", name)], count(self.suspicion_at(at))));
        }
    }

    fn plain(&self, number: usize) -> Sample {
        self.sample(Vec::new(), Value::Count(self.cells.get(self.plain_at(number))))
    }

    fn histogram(&self, operation: usize) -> Value {
        let at = self.histogram_at(operation);
        let buckets = (0..=BOUNDS_NS.len()).map(|bucket| self.cells.get(at + bucket)).collect();
        Value::Histogram { buckets, sum_ns: self.cells.get(at + HISTOGRAM - 1) }
    }
}

/// Samples of all doors, family by family.
#[derive(Default)]
pub(crate) struct Families {
    requests: Vec<Sample>,
    errors: Vec<Sample>,
    durations: Vec<Sample>,
    received: Vec<Sample>,
    sent: Vec<Sample>,
    connections: Vec<Sample>,
    open: Vec<Sample>,
    refused: Vec<Sample>,
    rate_limited: Vec<Sample>,
    oversized: Vec<Sample>,
    suspicious: Vec<Sample>,
}

impl Families {
    /// Adds a count of answers.
    pub(super) fn add_request(&mut self, sample: Sample) {
        self.requests.push(sample);
    }

    /// Adds a histogram of how long answers took.
    pub(super) fn add_duration(&mut self, sample: Sample) {
        self.durations.push(sample);
    }

    /// As families with names.
    pub(crate) fn finish(self) -> Vec<Family> {
        let (network, errors) = (Section::Network, Section::Errors);
        let (counter, gauge) = (Kind::Counter, Kind::Gauge);
        let answered = "Requests answered, by operation and outcome (HTTP status, gRPC code)";
        let failed = "Requests that failed through no fault of the request";
        let took = "Time from a request's head to its answer's head";
        let refused = "Requests and connections refused before anything was looked up";
        let limited = "Requests refused because there were too many of an address, an identity or all";
        let oversized = "Requests refused because head or body was too long";
        let suspicious = "Requests that no client of this door sends";
        let table = [
            (network, counter, "larder_requests_total", answered, self.requests),
            (errors, counter, "larder_request_errors_total", failed, self.errors),
            (network, Kind::Histogram, "larder_request_duration_seconds", took, self.durations),
            (network, counter, "larder_received_bytes_total", "Bytes of request bodies", self.received),
            (network, counter, "larder_sent_bytes_total", "Bytes of answer bodies", self.sent),
            (network, counter, "larder_connections_total", "Connections accepted", self.connections),
            (network, gauge, "larder_open_connections", "Connections open now", self.open),
            (errors, counter, "larder_refused_total", refused, self.refused),
            (errors, counter, "larder_rate_limited_requests_total", limited, self.rate_limited),
            (errors, counter, "larder_oversized_requests_total", oversized, self.oversized),
            (errors, counter, "larder_suspicious_requests_total", suspicious, self.suspicious),
        ];
        let family = |(section, kind, name, help, samples)| Family { section, name, kind, help, samples };
        table.into_iter().map(family).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> u64 {
        let family = families.iter().find(|f| f.name == name).unwrap();
        let fits = |s: &&Sample| labels.iter().all(|l| s.labels.iter().any(|(k, v)| (*k, v.as_str()) == *l));
        match family.samples.iter().find(fits).map(|s| &s.value) {
            Some(Value::Count(count)) => *count,
            Some(Value::Histogram { buckets, .. }) => buckets.iter().sum(),
            _ => 0,
        }
    }

    #[test]
    fn each_count_has_a_place_of_its_own() {
        let door = DoorMetrics::new("x", &["get", "put"], &[("200", false), ("500", true)]);
        door.request(0, 0, Duration::from_micros(20));
        door.request(1, 1, Duration::from_secs(60));
        door.request(1, 1, Duration::from_secs(60));
        door.received(5);
        door.sent(7);
        door.opened();
        door.refused(Refusal::HeadTooLarge);
        door.refused(Refusal::BodyTooLarge { max: 1 });
        door.suspicious(Suspicion::Protocol);
        let mut families = Families::default();
        door.collect(&mut families);
        let families = families.finish();
        let of = |name, labels: &[(&str, &str)]| value(&families, name, labels);
        assert_eq!(of("larder_requests_total", &[("operation", "get"), ("outcome", "200")]), 1);
        assert_eq!(of("larder_requests_total", &[("operation", "put"), ("outcome", "500")]), 2);
        assert_eq!(of("larder_request_errors_total", &[("operation", "put")]), 2);
        assert_eq!(of("larder_request_errors_total", &[("operation", "get")]), 0);
        assert_eq!(of("larder_request_duration_seconds", &[("operation", "put")]), 2);
        assert_eq!(of("larder_received_bytes_total", &[]), 5);
        assert_eq!(of("larder_sent_bytes_total", &[]), 7);
        assert_eq!(of("larder_connections_total", &[]), 1);
        assert_eq!(of("larder_refused_total", &[("reason", "head_too_large")]), 1);
        assert_eq!(of("larder_refused_total", &[("reason", "malformed")]), 0);
        assert_eq!(of("larder_oversized_requests_total", &[]), 2);
        assert_eq!(of("larder_suspicious_requests_total", &[("kind", "protocol")]), 1);
    }
}
