//! What is counted of the Redis door: commands by name and outcome, and how long what came at once took, beside what every
//! door counts. Pipelines make commands cheap, so they are counted in runs ([`Run`]) and timed together.

use std::time::Duration;

use larder_door::Refusal;
use larder_door::http::suspicion::Suspicion;
use larder_door::resp::Verb;
use larder_door::resp::table::NAMES;

use super::cells::Cells;
use super::door::{BOUNDS_NS, DoorMetrics, Families};
use super::family::{Sample, Value, label};

/// Outcomes of a command.
const OUTCOMES: [&str; 2] = ["ok", "error"];

/// Places for commands: those that the table does not have are counted together behind it.
const COMMANDS: usize = Verb::COUNT + 1;

/// The door's counters.
pub(crate) struct RedisMetrics {
    door: DoorMetrics,
    calls: Cells,
    took: Cells,
}

/// All there was, for `INFO`.
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) commands: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) rejected: u64,
}

/// Commands of the same kind and outcome that came one after the other.
#[derive(Debug, Default)]
pub(crate) struct Run {
    at: usize,
    count: u64,
}

impl RedisMetrics {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            door: DoorMetrics::new("redis", &[], &[]),
            calls: Cells::new(COMMANDS * OUTCOMES.len()),
            took: Cells::new(BOUNDS_NS.len() + 2),
        }
    }

    /// A command was answered. It is counted with the run that it goes on, or begins.
    pub(crate) fn command(&self, run: &mut Run, verb: Option<Verb>, has_error: bool) {
        let at = verb.map_or(Verb::COUNT, |verb| verb as usize) * OUTCOMES.len() + usize::from(has_error);
        if at != run.at {
            self.end(run);
            run.at = at;
        }
        run.count += 1;
    }

    /// A run is over.
    pub(crate) fn end(&self, run: &mut Run) {
        if run.count > 0 {
            self.calls.add(run.at, run.count);
            run.count = 0;
        }
    }

    /// What came at once was answered.
    pub(crate) fn batch(&self, took: Duration, received: usize, sent: usize) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.took.add(BOUNDS_NS.partition_point(|bound| *bound < took_ns), 1);
        self.took.add(BOUNDS_NS.len() + 1, took_ns);
        self.door.received(received as u64);
        self.door.sent(sent as u64);
    }

    /// Bytes were sent that are no answers.
    pub(crate) fn sent(&self, bytes: usize) {
        self.door.sent(bytes as u64);
    }

    /// What every door counts.
    pub(crate) fn door(&self) -> &DoorMetrics {
        &self.door
    }

    /// Something was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.door.refused(refusal);
    }

    /// Something looked suspicious.
    pub(crate) fn suspicious(&self, suspicion: Suspicion) {
        self.door.suspicious(suspicion);
    }

    /// How often a command succeeded, and failed.
    pub(crate) fn calls(&self, verb: Verb) -> (u64, u64) {
        let at = verb as usize * OUTCOMES.len();
        (self.calls.get(at), self.calls.get(at + 1))
    }

    /// All there was.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            connections: self.door.opened_ever(),
            commands: (0..COMMANDS * OUTCOMES.len()).map(|at| self.calls.get(at)).sum(),
            received_bytes: self.door.received_bytes(),
            sent_bytes: self.door.sent_bytes(),
            rejected: self.door.refusals(Refusal::Crowded),
        }
    }

    /// Adds what there is to the families.
    pub(crate) fn collect(&self, families: &mut Families) {
        self.door.collect(families);
        let names = NAMES.iter().copied().chain(["none"]);
        for (command, name) in names.enumerate() {
            for (at, outcome) in OUTCOMES.iter().enumerate() {
                let count = self.calls.get(command * OUTCOMES.len() + at);
                // Those that never happened would be noise.
                if count > 0 {
                    let labels =
                        vec![label("door", "redis"), label("operation", name), label("outcome", outcome)];
                    families.add_request(Sample { labels, value: Value::Count(count) });
                }
            }
        }
        let buckets = (0..=BOUNDS_NS.len()).map(|bucket| self.took.get(bucket)).collect();
        let value = Value::Histogram { buckets, sum_ns: self.took.get(BOUNDS_NS.len() + 1) };
        families.add_duration(Sample {
            labels: vec![label("door", "redis"), label("operation", "batch")],
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_commands_are_counted_in_full() {
        let metrics = RedisMetrics::new();
        let mut run = Run::default();
        for verb in [Verb::Get, Verb::Get, Verb::Set, Verb::Get] {
            metrics.command(&mut run, Some(verb), false);
        }
        metrics.command(&mut run, Some(Verb::Set), true);
        metrics.command(&mut run, None, true);
        assert_eq!(metrics.calls(Verb::Get), (3, 0), "the last run is not over");
        metrics.end(&mut run);
        assert_eq!((metrics.calls(Verb::Get), metrics.calls(Verb::Set)), ((3, 0), (1, 1)));
        assert_eq!(metrics.totals().commands, 6);
    }
}
