//! What came of a run: written as JSON for programs, read again for comparison. Everything of it is in
//! `docs/operate/load-testing.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::LoadError;
use crate::keys::Distribution;
use crate::measure::{FAULTS, Latencies, Window};
use crate::pace::Arrivals;
use crate::plan::{Phase, Plan};

/// Version of the report's form. Fields may be added without a new one.
pub const FORMAT: u32 = 1;

/// Largest report that is read, in bytes: real ones are below 1 MiB.
pub const REPORT_LEN_MAX: usize = 64 << 20;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Of the program.
    pub version: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Where it went.
    pub target: String,
    /// `steady`, `ramp` or `stress`.
    pub profile: String,
    /// Somebody ended it early.
    pub interrupted: bool,
    /// Its keys are still on the server.
    pub keys_left_behind: bool,
    /// What was asked for.
    pub settings: Settings,
    /// What was measured.
    pub phases: Vec<PhaseReport>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Connections; in a ramp the most.
    pub connections: u32,
    /// Threads.
    pub threads: u32,
    /// Requests under way on each connection.
    pub pipeline: u32,
    /// Keys.
    pub keys: u32,
    /// `uniform` or `zipfian`.
    pub distribution: String,
    /// Of zipfian keys.
    pub skew: Option<f64>,
    /// Reads among a hundred requests.
    pub reads_percent: u32,
    /// Shortest value, in bytes.
    pub value_len_min: usize,
    /// Longest value, in bytes.
    pub value_len_max: usize,
    /// How long values live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Requests a second, in an open loop; `null`: a closed one.
    pub rate: Option<f64>,
    /// `even` or `poisson`, in an open loop.
    pub arrivals: Option<String>,
    /// Measured time asked for, in milliseconds.
    pub duration_ms: u64,
    /// Requests asked for.
    pub requests: Option<u64>,
    /// Time that was not measured, in milliseconds a phase.
    pub warmup_ms: u64,
    /// Whether answers were compared with what was written.
    pub verified: bool,
}

/// A phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Its name; empty if there is only one.
    pub name: String,
    /// Connections.
    pub connections: u32,
    /// Longest value, in bytes.
    pub value_len_max: usize,
    /// When measuring began, in milliseconds since 1970.
    #[serde(default)]
    pub measured_from_ms: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// Answers.
    pub requests: u64,
    /// Answers a second.
    pub rate: f64,
    /// Bytes sent a second.
    pub sent_bytes_per_second: f64,
    /// Bytes received a second.
    pub received_bytes_per_second: f64,
    /// Processor time of the generator for each answer, in microseconds.
    pub generator_cpu_us: f64,
    /// Reads and writes together.
    pub all: Figures,
    /// Reads alone.
    pub reads: Figures,
    /// Writes alone.
    pub writes: Figures,
    /// Everything that went wrong.
    pub errors: u64,
    /// Answers other than what was stored, among the errors.
    pub false_answers: u64,
    /// The errors by kind.
    pub faults: BTreeMap<String, u64>,
    /// A few of them in words.
    pub samples: Vec<String>,
    /// Values that were compared and found right.
    pub verified: u64,
    /// Reads that found nothing, rightly.
    pub absent: u64,
    /// Latency over percentile, of all: percent, microseconds.
    pub percentiles: Vec<(f64, f64)>,
    /// Time after time.
    pub windows: Vec<Point>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many requests.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Half are within.
    pub p50_us: f64,
    /// 90 % are within.
    pub p90_us: f64,
    /// 95 % are within.
    pub p95_us: f64,
    /// 99 % are within.
    pub p99_us: f64,
    /// 99.9 % are within.
    pub p99_9_us: f64,
    /// 99.99 % are within.
    pub p99_99_us: f64,
    /// Longest.
    pub max_us: f64,
}

/// A window of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its end, in milliseconds since measuring began.
    pub at_ms: u64,
    /// Answers in it.
    pub requests: u64,
    /// Answers a second.
    pub rate: f64,
    /// Half are within, in microseconds.
    pub p50_us: f64,
    /// 99 % are within, in microseconds.
    pub p99_us: f64,
    /// 99.9 % are within, in microseconds.
    pub p99_9_us: f64,
    /// Errors.
    pub errors: u64,
}

#[allow(clippy::cast_precision_loss, reason = "kept to three digits anyway")]
fn us(ns: u64) -> f64 {
    (ns as f64 / 10.0).round() / 100.0
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

impl Figures {
    fn of(latencies: &Latencies) -> Self {
        if latencies.count() == 0 {
            return Self::default();
        }
        let at = |percent| us(latencies.percentile_ns(percent));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of positive times"
        )]
        let mean_ns = latencies.mean_ns() as u64;
        Self {
            count: latencies.count(),
            mean_us: us(mean_ns),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p95_us: at(95.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: us(latencies.max_ns()),
        }
    }
}

impl Point {
    pub(crate) fn of(window: &Window, index: u64, len_ns: u64) -> Self {
        let all = window.all();
        #[allow(clippy::cast_precision_loss, reason = "a fraction of a minute")]
        let seconds = len_ns as f64 / 1e9;
        Self {
            at_ms: (index + 1) * len_ns / 1_000_000,
            requests: all.count(),
            rate: per_second(all.count(), seconds),
            p50_us: us(all.percentile_ns(50.0)),
            p99_us: us(all.percentile_ns(99.0)),
            p99_9_us: us(all.percentile_ns(99.9)),
            errors: window.counts.errors(),
        }
    }
}

/// Percentiles of the curve: evenly spread over the logarithm of what is beyond, as far as there are requests.
fn curve(latencies: &Latencies) -> Vec<(f64, f64)> {
    if latencies.count() == 0 {
        return Vec::new();
    }
    let mut points = Vec::new();
    for step in 0..=70 {
        let beyond = 10_f64.powf(-f64::from(step) / 10.0);
        #[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        if beyond * (latencies.count() as f64) < 1.0 {
            break;
        }
        let percent = 100.0 * (1.0 - beyond);
        points.push(((percent * 1e6).round() / 1e6, us(latencies.percentile_ns(percent))));
    }
    points.push((100.0, us(latencies.max_ns())));
    points
}

impl PhaseReport {
    pub(crate) fn of(
        phase: &Phase,
        total: &Window,
        windows: Vec<Point>,
        seconds: f64,
        cpu_seconds: f64,
    ) -> Self {
        let all = total.all();
        let counts = &total.counts;
        let faults = FAULTS.iter().map(|(fault, name)| ((*name).to_owned(), counts.of(*fault))).collect();
        #[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        let generator_cpu_us = if all.count() == 0 { 0.0 } else { cpu_seconds * 1e6 / all.count() as f64 };
        Self {
            name: phase.name.clone(),
            connections: phase.connections,
            value_len_max: phase.value_len.1,
            measured_from_ms: 0,
            seconds: (seconds * 1000.0).round() / 1000.0,
            requests: all.count(),
            rate: per_second(all.count(), seconds),
            sent_bytes_per_second: per_second(counts.sent_bytes, seconds),
            received_bytes_per_second: per_second(counts.received_bytes, seconds),
            generator_cpu_us: (generator_cpu_us * 1000.0).round() / 1000.0,
            all: Figures::of(&all),
            reads: Figures::of(&total.reads),
            writes: Figures::of(&total.writes),
            errors: counts.errors(),
            false_answers: counts.false_answers(),
            faults,
            samples: counts.samples.clone(),
            verified: counts.verified,
            absent: counts.absent,
            percentiles: curve(&all),
            windows,
        }
    }
}

impl Settings {
    pub(crate) fn of(plan: &Plan) -> Self {
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let arrivals = match plan.arrivals {
            Arrivals::Even => "even",
            Arrivals::Poisson => "poisson",
        };
        Self {
            connections: plan.connections,
            threads: plan.threads,
            pipeline: plan.pipeline,
            keys: plan.keys,
            distribution: plan.distribution.name().to_owned(),
            skew: match plan.distribution {
                Distribution::Zipfian { skew } => Some(skew),
                Distribution::Uniform => None,
            },
            reads_percent: plan.reads_percent,
            value_len_min: plan.value_len.0,
            value_len_max: plan.value_len.1,
            ttl_ms: plan.ttl.map(ms),
            rate: plan.rate,
            arrivals: plan.rate.map(|_| arrivals.to_owned()),
            duration_ms: ms(plan.duration),
            requests: plan.requests,
            warmup_ms: ms(plan.warmup),
            verified: plan.verify,
        }
    }
}

impl Report {
    /// Reads what `--json` wrote.
    ///
    /// # Errors
    /// [`LoadError::Report`] if it is none, or of a newer form.
    pub fn parse(json: &[u8]) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let report = |error: serde_json::Error| LoadError::Report(error.to_string());
        let form: Form = serde_json::from_slice(json).map_err(report)?;
        if form.format != FORMAT {
            return Err(LoadError::Report(format!("written by another version format={}", form.format)));
        }
        serde_json::from_slice(json).map_err(report)
    }

    /// Everything that went wrong.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.phases.iter().map(|phase| phase.errors).sum()
    }

    /// Answers other than what was stored.
    #[must_use]
    pub fn false_answers(&self) -> u64 {
        self.phases.iter().map(|phase| phase.false_answers).sum()
    }
}
