//! Two reports beside each other: what became faster or slower, by how much.

use crate::report::{PhaseReport, Report};

/// One figure of both.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The phase; empty if there is only one.
    pub phase: String,
    /// What: `rate`, `p50_us`, `p99_us`, `p99_9_us`, `errors`.
    pub metric: &'static str,
    /// In the first report.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// The second by the first; `null` if the first is 0.
    pub ratio: Option<f64>,
    /// Whether that is worse by more than was allowed.
    pub worse: bool,
}

/// Compares phases of the same name. `tolerance` is how much worse a figure may be, as a share of the first.
#[must_use]
pub fn compare(before: &Report, after: &Report, tolerance: f64) -> Vec<Difference> {
    let pairs = before.phases.iter().filter_map(|first| {
        let second = after.phases.iter().find(|phase| phase.name == first.name)?;
        Some((first, second))
    });
    pairs.flat_map(|(first, second)| differences(first, second, tolerance)).collect()
}

/// What was asked for differently: name, first, second. Such reports are compared all the same, and it is said.
#[must_use]
pub fn settings(before: &Report, after: &Report) -> Vec<(String, String, String)> {
    let of = |report: &Report| {
        let mut value = serde_json::to_value(&report.settings).unwrap_or_default();
        value["profile"] = report.profile.clone().into();
        value
    };
    let (first, second) = (of(before), of(after));
    let mut different = Vec::new();
    for (name, value) in first.as_object().into_iter().flatten() {
        let other = &second[name];
        if value != other {
            different.push((name.clone(), value.to_string(), other.to_string()));
        }
    }
    different
}

fn differences(first: &PhaseReport, second: &PhaseReport, tolerance: f64) -> Vec<Difference> {
    #[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    let rows = [
        ("rate", first.rate, second.rate),
        ("p50_us", first.all.p50_us, second.all.p50_us),
        ("p99_us", first.all.p99_us, second.all.p99_us),
        ("p99_9_us", first.all.p99_9_us, second.all.p99_9_us),
        ("errors", first.errors as f64, second.errors as f64),
    ];
    rows.into_iter()
        .map(|(metric, before, after)| {
            let worse = match metric {
                "rate" => after < before * (1.0 - tolerance),
                "errors" => after > before,
                // The far tail of a short run is a handful of requests: shown, not judged.
                "p99_9_us" => false,
                _ => after > before * (1.0 + tolerance),
            };
            let ratio = (before > 0.0).then(|| after / before);
            Difference { phase: first.name.clone(), metric, before, after, ratio, worse }
        })
        .collect()
}
