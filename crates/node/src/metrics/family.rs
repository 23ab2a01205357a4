//! Metrics as data: what there is when somebody looks, before it is written as text or JSON.

/// Where a metric stands in the JSON and human forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Files: records and blobs on disk.
    Files,
    /// Values in memory.
    Values,
    /// Doors and peers.
    Network,
    /// Disk and memory, and giving them back.
    Storage,
    /// What went wrong.
    Errors,
    /// The process.
    System,
}

impl Section {
    /// All, in the order they are shown.
    pub(crate) const ALL: [Section; 6] = [
        Section::Files,
        Section::Values,
        Section::Network,
        Section::Storage,
        Section::Errors,
        Section::System,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Files => "files",
            Section::Values => "values",
            Section::Network => "network",
            Section::Storage => "storage",
            Section::Errors => "errors",
            Section::System => "system",
        }
    }
}

/// What kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A number, or several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A count.
    Count(u64),
    /// A number that need not be whole.
    Number(f64),
    /// Counts by bucket ([`super::door::BOUNDS_NS`] and one beyond) and the sum of all, in nanoseconds.
    Histogram {
        /// Not cumulated.
        buckets: Vec<u64>,
        /// Of all that was counted.
        sum_ns: u64,
    },
}

/// One line of a family.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Names and values.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// The value.
    pub(crate) value: Value,
}

/// A metric with all its labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    /// Where it is shown.
    pub(crate) section: Section,
    /// As Prometheus has it.
    pub(crate) name: &'static str,
    /// What kind.
    pub(crate) kind: Kind,
    /// One line, without a full stop.
    pub(crate) help: &'static str,
    /// Its samples.
    pub(crate) samples: Vec<Sample>,
}

impl Family {
    /// One number without labels.
    pub(crate) fn one(
        section: Section,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        value: Value,
    ) -> Self {
        Self { section, name, kind, help, samples: vec![Sample { labels: Vec::new(), value }] }
    }

    /// One number for each value of a label.
    pub(crate) fn by(
        (section, kind): (Section, Kind),
        name: &'static str,
        help: &'static str,
        key: &'static str,
        values: &[(&str, u64)],
    ) -> Self {
        let sample = |(of, count): &(&str, u64)| Sample {
            labels: vec![label(key, of)],
            value: if kind == Kind::Counter { Value::Count(*count) } else { Value::Number(*count as f64) },
        };
        Self { section, name, kind, help, samples: values.iter().map(sample).collect() }
    }
}

/// A label.
pub(crate) fn label(name: &'static str, value: &str) -> (&'static str, String) {
    (name, value.to_owned())
}
