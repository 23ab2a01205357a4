//! What a run has to reach, for programs that act on it: `p99<2ms`, `rate>=50k`, `errors=0`, `reads.p99.9<=5ms`.
//! A requirement holds if it holds in every phase.

use std::fmt;
use std::str::FromStr;

use crate::LoadError;
use crate::measure::FAULTS;
use crate::report::{Figures, PhaseReport, Report};

/// A figure, and a bound for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    text: String,
    metric: Metric,
    sign: Sign,
    bound: f64,
    /// The bound is a share of all requests, in percent.
    percent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Metric {
    Latency(Which, &'static str),
    Rate,
    Errors,
    FalseAnswers,
    Fault(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Reads,
    Writes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

const LATENCIES: [&str; 8] = ["mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];

const ALLOWED: &str = "a requirement is METRIC<BOUND (also <=, =, >=, >), for instance p99<2ms, reads.p99.9<=5ms, \
    rate>=50k, errors=0, errors<0.1%, false=0; metrics are mean, p50, p90, p95, p99, p99.9, p99.99, max (also of \
    reads. and writes.), rate, errors, false and each kind of error";

/// A requirement that was not met.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmet {
    /// As it was written.
    pub requirement: String,
    /// The phase; empty if there is only one.
    pub phase: String,
    /// What was measured, in the unit of the metric.
    pub measured: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.phase.is_empty() { String::new() } else { format!(" at {}", self.phase) };
        write!(f, "{} is not met{at}: {}", self.requirement, self.measured)
    }
}

impl FromStr for Requirement {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let wrong = || LoadError::Plan(format!("{ALLOWED} requirement={text}"));
        let at = text.find(['<', '>', '=']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(at);
        let (sign, bound) = [
            ("<=", Sign::AtMost),
            (">=", Sign::AtLeast),
            ("==", Sign::Equal),
            ("<", Sign::Less),
            (">", Sign::More),
            ("=", Sign::Equal),
        ]
        .iter()
        .find_map(|(sign, meaning)| rest.strip_prefix(sign).map(|bound| (*meaning, bound.trim())))
        .ok_or_else(wrong)?;
        let metric = metric(name.trim()).ok_or_else(wrong)?;
        let is_latency = matches!(metric, Metric::Latency(..));
        let is_count = !is_latency && metric != Metric::Rate;
        let (bound, percent) = match bound.strip_suffix('%') {
            Some(share) if is_count => (share.trim().parse().map_err(|_| wrong())?, true),
            Some(_) => return Err(wrong()),
            None => (number(bound, is_latency).ok_or_else(wrong)?, false),
        };
        if !f64::is_finite(bound) || bound < 0.0 {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), metric, sign, bound, percent })
    }
}

fn metric(name: &str) -> Option<Metric> {
    let (which, rest) = match name.split_once('.') {
        Some(("reads", rest)) => (Which::Reads, rest),
        Some(("writes", rest)) => (Which::Writes, rest),
        _ => (Which::All, name),
    };
    if let Some(latency) = LATENCIES.iter().find(|known| **known == rest) {
        return Some(Metric::Latency(which, latency));
    }
    match name {
        "rate" => Some(Metric::Rate),
        "errors" => Some(Metric::Errors),
        "false" => Some(Metric::FalseAnswers),
        _ => FAULTS.iter().find(|(_, known)| *known == name).map(|(_, known)| Metric::Fault(known)),
    }
}

/// A time in microseconds (its unit is needed), or a plain number with `k` or `M`.
fn number(text: &str, is_time: bool) -> Option<f64> {
    let units: &[(&str, f64)] = if is_time {
        &[("ns", 1e-3), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
    } else {
        &[("k", 1e3), ("M", 1e6), ("/s", 1.0), ("", 1.0)]
    };
    units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?.trim();
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        plain.then(|| digits.parse::<f64>().ok().map(|number| number * factor)).flatten()
    })
}

impl Requirement {
    /// Whether it is about errors in general, so that the rule that there be none does not hold beside it.
    #[must_use]
    pub fn is_about_errors(&self) -> bool {
        self.metric == Metric::Errors
    }

    /// The phases in which a report does not meet it.
    #[must_use]
    pub fn unmet(&self, report: &Report) -> Vec<Unmet> {
        report.phases.iter().filter_map(|phase| self.unmet_in(phase)).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn unmet_in(&self, phase: &PhaseReport) -> Option<Unmet> {
        let count = |n: u64| {
            let share = 100.0 * n as f64 / (phase.requests.max(1)) as f64;
            if self.percent { (share, format!("{share:.4} %")) } else { (n as f64, n.to_string()) }
        };
        let (measured, shown) = match &self.metric {
            Metric::Latency(which, name) => {
                let figures = match which {
                    Which::All => &phase.all,
                    Which::Reads => &phase.reads,
                    Which::Writes => &phase.writes,
                };
                let us = of(figures, name);
                // Of no requests nothing is known.
                (if figures.count == 0 { f64::NAN } else { us }, time(us, figures.count))
            }
            Metric::Rate => (phase.rate, format!("{:.0}/s", phase.rate)),
            Metric::Errors => count(phase.errors),
            Metric::FalseAnswers => count(phase.false_answers),
            Metric::Fault(name) => count(phase.faults.get(*name).copied().unwrap_or(0)),
        };
        #[allow(clippy::float_cmp, reason = "equal is asked of counts")]
        let met = match self.sign {
            Sign::Less => measured < self.bound,
            Sign::AtMost => measured <= self.bound,
            Sign::Equal => measured == self.bound,
            Sign::AtLeast => measured >= self.bound,
            Sign::More => measured > self.bound,
        };
        (!met).then(|| Unmet { requirement: self.text.clone(), phase: phase.name.clone(), measured: shown })
    }
}

fn of(figures: &Figures, name: &str) -> f64 {
    match name {
        "mean" => figures.mean_us,
        "p50" => figures.p50_us,
        "p90" => figures.p90_us,
        "p95" => figures.p95_us,
        "p99" => figures.p99_us,
        "p99.9" => figures.p99_9_us,
        "p99.99" => figures.p99_99_us,
        _ => figures.max_us,
    }
}

fn time(us: f64, count: u64) -> String {
    if count == 0 { "there were no such requests".to_owned() } else { show_us(us) }
}

/// A time for people: three digits and a unit.
#[must_use]
pub fn show_us(us: f64) -> String {
    let (number, unit) = match us {
        us if us >= 999_500.0 => (us / 1e6, "s"),
        us if us >= 999.5 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    match number {
        n if n >= 99.95 => format!("{n:.0} {unit}"),
        n if n >= 9.995 => format!("{n:.1} {unit}"),
        n => format!("{n:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Fault, Window};
    use crate::plan::Plan;
    use crate::target::Target;

    fn report() -> Report {
        let mut window = Window::default();
        for us in 1..=1000_u64 {
            window.reads.record(us * 1_000, 1);
        }
        window.counts.fault(Fault::Refused, 2, || "no".to_owned());
        let plan = Plan::new(Target::parse("redis://h").unwrap());
        let phase = PhaseReport::of(&plan.phases()[0], &window, Vec::new(), 0.01, 0.001);
        Report {
            format: crate::report::FORMAT,
            version: String::new(),
            started_ms: 0,
            target: plan.target.shown(),
            profile: "steady".to_owned(),
            interrupted: false,
            keys_left_behind: false,
            settings: crate::report::Settings::of(&plan),
            phases: vec![phase],
        }
    }

    #[test]
    fn requirements_are_met_or_not() {
        for (text, met) in [
            ("p50<501us", true),
            ("p50 <= 0.4ms", false),
            ("p99<1ms", true),
            ("reads.p99.9<=1s", true),
            ("max>2ms", false),
            ("writes.p50<1s", false),
            ("rate>=100k", true),
            ("rate>0.1M", false),
            ("errors=0", false),
            ("errors<=2", true),
            ("errors<0.3%", true),
            ("errors<0.1%", false),
            ("refused==2", true),
            ("false=0", true),
            ("torn=0", true),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            assert_eq!(requirement.unmet(&report()).is_empty(), met, "{text}");
        }
    }

    #[test]
    fn what_is_no_requirement_is_refused_with_what_is() {
        for text in
            ["", "p99", "p98<1ms", "p99<1", "p99<x ms", "rate>1ms", "errors<-1", "p99<5%", "x=1", "p99<nans"]
        {
            let error = text.parse::<Requirement>().unwrap_err().to_string();
            assert!(error.contains("for instance p99<2ms"), "{text}: {error}");
        }
    }

    #[test]
    fn times_for_people() {
        for (us, shown) in [
            (0.5, "0.50 µs"),
            (12.34, "12.3 µs"),
            (999.7, "1.00 ms"),
            (123_456.0, "123 ms"),
            (2.5e6, "2.50 s"),
        ] {
            assert_eq!(show_us(us), shown);
        }
    }

    #[test]
    fn a_report_is_read_back_and_nothing_else_is() {
        let report = report();
        let json = serde_json::to_vec(&report).unwrap();
        assert_eq!(Report::parse(&json).unwrap(), report);
        for bad in [&b"{}"[..], b"", b"[]", br#"{"format":2}"#, br#"{"format":1}"#] {
            assert!(Report::parse(bad).is_err());
        }
    }
}
