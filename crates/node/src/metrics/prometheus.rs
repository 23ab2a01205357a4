//! Metrics for Prometheus: the OpenMetrics text format, written by `prometheus-client`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::door::BOUNDS_NS;
use super::family::{Family, Kind, Value};

/// Media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            // The encoder adds `_total` to counters, and a full stop to the help.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let mut metric = encoder.encode_descriptor(name, &format!("{}.", family.help), None, kind)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    value(&mut metric, family.kind, &sample.value)?;
                } else {
                    let labels: Vec<_> =
                        sample.labels.iter().map(|(name, of)| (*name, escaped(of))).collect();
                    value(&mut metric.encode_family(&labels)?, family.kind, &sample.value)?;
                }
            }
        }
        Ok(())
    }
}

/// A label's value as the text format has it; the encoder writes it as it is.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn value(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => metric.encode_counter::<NoLabelSet, u64, f64>(count, None),
        (Kind::Counter, Value::Number(number)) => metric.encode_counter::<NoLabelSet, f64, f64>(number, None),
        (_, Value::Count(count)) => metric.encode_gauge(&(*count as f64)),
        (_, Value::Number(number)) => metric.encode_gauge(number),
        (_, Value::Histogram { buckets, sum_ns }) => {
            let bounds = BOUNDS_NS.iter().map(|ns| seconds(*ns)).chain([f64::MAX]);
            let pairs: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
            metric.encode_histogram::<NoLabelSet>(seconds(*sum_ns), buckets.iter().sum(), &pairs, None)
        }
    }
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The text.
pub(crate) fn text(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(families)));
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut out, &registry);
    out
}

#[cfg(test)]
mod tests {
    use super::super::family::{Sample, Section, label};
    use super::*;

    #[test]
    fn as_prometheus_reads_it() {
        let family = |name, kind, samples| Family {
            section: Section::Network,
            name,
            kind,
            help: "Some help",
            samples,
        };
        let mut buckets = vec![0; BOUNDS_NS.len() + 1];
        (buckets[0], buckets[BOUNDS_NS.len()]) = (2, 1);
        let text = text(vec![
            family(
                "larder_x_total",
                Kind::Counter,
                vec![Sample { labels: vec![label("a", "b\"c")], value: Value::Count(3) }],
            ),
            family("larder_y", Kind::Gauge, vec![Sample { labels: Vec::new(), value: Value::Number(0.5) }]),
            family(
                "larder_z_seconds",
                Kind::Histogram,
                vec![Sample {
                    labels: vec![label("a", "b")],
                    value: Value::Histogram { buckets, sum_ns: 1_500_000_000 },
                }],
            ),
            family("larder_none", Kind::Gauge, Vec::new()),
        ]);
        for line in [
            "# HELP larder_x Some help.",
            "# TYPE larder_x counter",
            "larder_x_total{a=\"b\\\"c\"} 3",
            "larder_y 0.5",
            "larder_z_seconds_sum{a=\"b\"} 1.5",
            "larder_z_seconds_count{a=\"b\"} 3",
            "larder_z_seconds_bucket{le=\"0.000025\",a=\"b\"} 2",
            "larder_z_seconds_bucket{le=\"+Inf\",a=\"b\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("larder_none"));
    }
}
