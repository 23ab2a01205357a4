//! Metrics as JSON and for people: the same families, by section.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::door::BOUNDS_NS;
use super::family::{Family, Sample, Section, Value};
use super::prometheus::seconds;

/// As JSON: `{"files":{…},"values":{…},"network":{…},"storage":{…},"errors":{…},"system":{…}}`. A metric without
/// labels is a number; one with labels a list of objects with the labels and `value`; a histogram has `count`,
/// `sum_seconds` and quantiles.
pub(crate) fn json(families: &[Family]) -> Json {
    let mut sections = Map::new();
    for section in Section::ALL {
        let mut metrics = Map::new();
        for family in families.iter().filter(|family| family.section == section) {
            let value = match &family.samples[..] {
                [one] if one.labels.is_empty() => number(&one.value),
                samples => samples.iter().map(labelled).collect(),
            };
            metrics.insert(short(family.name).to_owned(), value);
        }
        sections.insert(section.name().to_owned(), metrics.into());
    }
    sections.into()
}

fn short(name: &str) -> &str {
    name.strip_prefix("larder_").unwrap_or(name)
}

fn labelled(sample: &Sample) -> Json {
    let mut object: Map<String, Json> =
        sample.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    object.insert("value".to_owned(), number(&sample.value));
    object.into()
}

fn number(value: &Value) -> Json {
    match value {
        Value::Count(count) => (*count).into(),
        // Whole numbers look like what they are.
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).into(),
        Value::Number(number) => (*number).into(),
        Value::Histogram { buckets, sum_ns } => json!({
            "count": buckets.iter().sum::<u64>(),
            "sum_seconds": seconds(*sum_ns),
            "p50_seconds": quantile(buckets, 0.5),
            "p90_seconds": quantile(buckets, 0.9),
            "p99_seconds": quantile(buckets, 0.99),
        }),
    }
}

/// An upper bound of a quantile: the end of the bucket it lies in. `None` without any counts, or beyond the last
/// bound.
fn quantile(buckets: &[u64], part: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = (total as f64 * part).ceil().max(1.0);
    let mut seen = 0;
    let at = buckets.iter().position(|count| {
        seen += count;
        seen as f64 >= wanted
    })?;
    BOUNDS_NS.get(at).map(|ns| seconds(*ns))
}

/// For people: sections with aligned lines.
pub(crate) fn human(families: &[Family]) -> String {
    let mut out = String::new();
    for section in Section::ALL {
        let lines: Vec<(String, String)> = families
            .iter()
            .filter(|family| family.section == section)
            .flat_map(|family| family.samples.iter().map(move |sample| line(family, sample)))
            .flatten()
            .collect();
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", section.name());
        for (name, value) in lines {
            let _ = writeln!(out, "  {name:<width$}  {value}");
        }
        out.push('\n');
    }
    out
}

/// One line; none for what has not happened yet and is only there for programs.
fn line(family: &Family, sample: &Sample) -> Option<(String, String)> {
    let mut name = short(family.name).to_owned();
    name = name.trim_end_matches("_total").replace('_', " ");
    let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
    let value = match &sample.value {
        Value::Count(0) if !labels.is_empty() => return None,
        Value::Histogram { buckets, sum_ns } => {
            let count: u64 = buckets.iter().sum();
            let mean_ns = sum_ns.checked_div(count)?;
            let p99 = quantile(buckets, 0.99).map_or("more than 10 s".to_owned(), |s| time((s * 1e9) as u64));
            format!("mean {}, 99 % within {p99}, of {count}", time(mean_ns))
        }
        Value::Count(count) => amount(family.name, *count as f64),
        Value::Number(number) => amount(family.name, *number),
    };
    if !labels.is_empty() {
        name = format!("{name} ({})", labels.join(", "));
    }
    Some((name, value))
}

fn amount(name: &str, number: f64) -> String {
    if name.contains("_bytes") {
        return size(number);
    }
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}

fn size(bytes: f64) -> String {
    let mut amount = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 || unit == "TiB" {
            return if unit == "B" { format!("{amount:.0} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    String::new()
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", seconds(ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::{Kind, label};
    use super::*;

    fn families() -> Vec<Family> {
        let mut buckets = vec![0; BOUNDS_NS.len() + 1];
        buckets[2] = 99;
        buckets[5] = 1;
        vec![
            Family::one(Section::Files, Kind::Gauge, "larder_blob_bytes", "h", Value::Number(1_572_864.0)),
            Family {
                section: Section::Network,
                name: "larder_request_duration_seconds",
                kind: Kind::Histogram,
                help: "h",
                samples: vec![Sample {
                    labels: vec![label("operation", "get")],
                    value: Value::Histogram { buckets, sum_ns: 9_000_000 },
                }],
            },
            Family::by(
                (Section::Errors, Kind::Counter),
                "larder_refused_total",
                "h",
                "reason",
                &[("x", 0), ("y", 2)],
            ),
        ]
    }

    #[test]
    fn json_has_every_section() {
        let json = json(&families());
        assert_eq!(json["files"]["blob_bytes"], 1_572_864);
        let histogram = &json["network"]["request_duration_seconds"][0];
        assert_eq!(histogram["operation"], "get");
        assert_eq!(histogram["value"]["p50_seconds"], 0.0001);
        assert_eq!(histogram["value"]["p99_seconds"], 0.0001);
        assert_eq!(histogram["value"]["count"], 100);
        assert_eq!(json["errors"]["refused_total"][1], json!({ "reason": "y", "value": 2 }));
        assert_eq!(json["system"], json!({}));
    }

    #[test]
    fn people_see_units_and_no_noise() {
        let text = human(&families());
        assert!(text.contains("blob bytes  1.5 MiB"), "{text}");
        assert!(text.contains("(get)  mean 90 µs, 99 % within 100 µs, of 100"), "{text}");
        assert!(text.contains("refused (y)  2") && !text.contains("(x)"), "{text}");
    }
}
