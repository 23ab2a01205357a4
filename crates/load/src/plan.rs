//! What to do: everything that was asked for, checked against itself before a byte is sent, and cut into phases.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::LoadError;
use crate::keys::{Distribution, PREFIX_LEN_MAX, Picker};
use crate::pace::Arrivals;
use crate::target::{Protocol, Target};
use crate::values::HEADER_LEN;

/// Most connections: descriptors of one process, and ports of one address, run out soon after.
pub const CONNECTIONS_MAX: u32 = 20_000;
/// Most threads.
pub const THREADS_MAX: u32 = 256;
/// Most requests under way on one connection.
pub const PIPELINE_MAX: u32 = 1_000;
/// Most keys: what is known of each takes 8 bytes, 16 where values expire.
pub const KEYS_MAX: u32 = 100_000_000;
/// Longest value, in bytes: the longest that any door of ours takes.
pub const VALUE_LEN_MAX: usize = 16 << 20;
/// Highest rate, in requests a second.
pub const RATE_MAX: f64 = 100_000_000.0;
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(48 * 3600);
/// Bytes of requests that one connection may have under way.
const UNDER_WAY_BYTES_MAX: usize = 256 << 20;

/// Which course the load takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The same all the time.
    Steady,
    /// From one connection up to all of them, in steps.
    Ramp,
    /// Values from 1 KiB to 256 KiB, doubling.
    Stress,
}

impl Profile {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Steady => "steady",
            Profile::Ramp => "ramp",
            Profile::Stress => "stress",
        }
    }
}

/// Who we are to the server. Never shown.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User name or token id.
    pub user: Option<String>,
    /// Password or token.
    pub secret: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secret.is_some() { "Credentials(…)" } else { "Credentials(none)" })
    }
}

/// Everything that was asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// Which course.
    pub profile: Profile,
    /// Connections; in a ramp the most.
    pub connections: u32,
    /// Threads that drive them.
    pub threads: u32,
    /// Requests under way on each.
    pub pipeline: u32,
    /// Keys.
    pub keys: u32,
    /// What keys begin with.
    pub prefix: String,
    /// How often each is used.
    pub distribution: Distribution,
    /// Reads among a hundred requests; the others are writes.
    pub reads_percent: u32,
    /// Length of values, shortest and longest, in bytes.
    pub value_len: (usize, usize),
    /// How long values live.
    pub ttl: Option<Duration>,
    /// Requests a second, whether or not the server keeps up; without it each connection waits for its answers.
    pub rate: Option<f64>,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// How long, all phases together, warming up not counted.
    pub duration: Duration,
    /// How many requests, if that ends it.
    pub requests: Option<u64>,
    /// What is not measured at the start of each phase.
    pub warmup: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Whether answers are compared with what was written.
    pub verify: bool,
    /// Whether all keys are written first.
    pub fill: bool,
    /// Whether keys are left behind.
    pub keep: bool,
    /// HTTP: fetch the path as it is.
    pub as_is: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// TLS, where the target wants it.
    pub tls: Option<Arc<ClientConfig>>,
    /// Seed of keys and order.
    pub seed: u64,
}

/// A stretch of load of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// What it is called: empty if there is only one.
    pub name: String,
    /// Connections.
    pub connections: u32,
    /// Length of values, shortest and longest, in bytes.
    pub value_len: (usize, usize),
    /// How long it is measured.
    pub duration: Duration,
    /// How many requests, if that ends it.
    pub requests: Option<u64>,
    /// Whether all keys are written before it.
    pub fill: bool,
}

impl Plan {
    /// A steady load with the defaults, on a target.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            profile: Profile::Steady,
            connections: 50,
            threads: 2,
            pipeline: 1,
            keys: 100_000,
            prefix: "bench:".to_owned(),
            distribution: Distribution::Uniform,
            reads_percent: 90,
            value_len: (256, 256),
            ttl: None,
            rate: None,
            arrivals: Arrivals::Even,
            duration: Duration::from_secs(10),
            requests: None,
            warmup: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            verify: true,
            fill: true,
            keep: false,
            as_is: false,
            credentials: Credentials::default(),
            tls: None,
            seed: 1,
        }
    }

    /// Whether it can be done.
    ///
    /// # Errors
    /// [`LoadError::Plan`] with what to change.
    pub fn check(&self) -> Result<(), LoadError> {
        let refuse = |why: &str| Err(LoadError::Plan(why.to_owned()));
        within("connections", u64::from(self.connections), u64::from(CONNECTIONS_MAX))?;
        within("threads", u64::from(self.threads), u64::from(THREADS_MAX))?;
        within("pipeline", u64::from(self.pipeline), u64::from(PIPELINE_MAX))?;
        within("keys", u64::from(self.keys), u64::from(KEYS_MAX))?;
        Picker::new(self.keys, self.distribution)?;
        let (shortest, longest) = self.value_len;
        if shortest > longest || longest > VALUE_LEN_MAX {
            return refuse("values are at most 16 MiB long, the shorter length first");
        }
        if self.verify && !self.as_is && shortest < HEADER_LEN {
            return refuse("values below 16 bytes cannot be verified: make them longer, or add --no-verify");
        }
        if longest.saturating_mul(self.pipeline as usize) > UNDER_WAY_BYTES_MAX {
            return refuse("value length × pipeline is at most 256 MiB");
        }
        if self.reads_percent > 100 {
            return refuse("a mix is READS:WRITES, such as 90:10");
        }
        if self.rate.is_some_and(|rate| !(0.01..=RATE_MAX).contains(&rate)) {
            return refuse("a rate is 0.01 to 100,000,000 requests a second");
        }
        if self.duration > DURATION_MAX || self.duration.is_zero() || self.warmup > DURATION_MAX {
            return refuse("a run takes at most 48 hours, and more than none");
        }
        if self.requests == Some(0) || (self.requests.is_some() && self.profile != Profile::Steady) {
            return refuse("--requests is at least 1, and only for the profile steady");
        }
        if self.prefix.len() > PREFIX_LEN_MAX || self.prefix.chars().any(char::is_control) {
            return refuse("a prefix is at most 200 bytes, without control characters");
        }
        if self.target.protocol == Protocol::Memcached && self.credentials.secret.is_some() {
            return refuse("memcached's text protocol knows no passwords");
        }
        if self.ttl.is_some_and(|ttl| ttl.as_millis() == 0) {
            return refuse("a lifetime is at least a millisecond");
        }
        self.check_as_is()
    }

    fn check_as_is(&self) -> Result<(), LoadError> {
        let refuse = |why: &str| Err(LoadError::Plan(why.to_owned()));
        if !self.as_is {
            return Ok(());
        }
        if self.target.protocol != Protocol::Http {
            return refuse("--as-is is for HTTP");
        }
        if self.reads_percent != 100 || self.verify || self.fill {
            return refuse("--as-is only reads, and knows nothing of what it reads");
        }
        if self.profile == Profile::Stress {
            return refuse("--as-is writes no values: the profile stress has nothing to do");
        }
        Ok(())
    }

    /// The stretches it consists of.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let one = Phase {
            name: String::new(),
            connections: self.connections,
            value_len: self.value_len,
            duration: self.duration,
            requests: self.requests,
            fill: self.fill,
        };
        let parts = |phases: Vec<Phase>| {
            let count = u32::try_from(phases.len()).unwrap_or(1).max(1);
            let duration = self.duration / count;
            phases.into_iter().map(|phase| Phase { duration, ..phase }).collect()
        };
        match self.profile {
            Profile::Steady => vec![one],
            Profile::Ramp => parts(
                ramp(self.connections)
                    .into_iter()
                    .enumerate()
                    .map(|(step, connections)| Phase {
                        name: format!("{connections} connection{}", if connections == 1 { "" } else { "s" }),
                        connections,
                        fill: self.fill && step == 0,
                        ..one.clone()
                    })
                    .collect(),
            ),
            Profile::Stress => parts(
                (0..=8)
                    .map(|power| Phase {
                        name: format!("{} KiB", 1 << power),
                        value_len: (1024 << power, 1024 << power),
                        ..one.clone()
                    })
                    .collect(),
            ),
        }
    }

    /// The longest value of any phase, in bytes.
    #[must_use]
    pub fn longest_value(&self) -> usize {
        self.phases().iter().map(|phase| phase.value_len.1).max().unwrap_or(0)
    }
}

/// Steps of a ramp: 1, 2, 5, 10, 20, 50, … up to the last.
fn ramp(last: u32) -> Vec<u32> {
    let steps = (0..6).flat_map(|power| [1, 2, 5].map(|n| n * 10_u32.pow(power)));
    steps.take_while(|step| *step < last).chain([last]).collect()
}

fn within(what: &str, number: u64, most: u64) -> Result<(), LoadError> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(LoadError::Plan(format!("{what} are 1 to {most}, not {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(Target::parse("redis://h").unwrap())
    }

    #[test]
    fn profiles_become_phases_that_share_the_time() {
        let steady = plan().phases();
        assert_eq!((steady.len(), steady[0].connections, steady[0].fill), (1, 50, true));
        let ramp = Plan { profile: Profile::Ramp, ..plan() }.phases();
        let steps: Vec<_> = ramp.iter().map(|p| (p.connections, p.fill)).collect();
        assert_eq!(steps, [(1, true), (2, false), (5, false), (10, false), (20, false), (50, false)]);
        assert_eq!(ramp[0].duration, Duration::from_secs(10) / 6);
        let stress = Plan { profile: Profile::Stress, ..plan() };
        let phases = stress.phases();
        assert_eq!((phases.len(), phases[0].value_len.0, phases[8].value_len.1), (9, 1 << 10, 256 << 10));
        assert!(phases.iter().all(|p| p.fill) && stress.longest_value() == 256 << 10);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(plan().check().is_ok());
        let as_is = Plan {
            target: Target::parse("http://example.com/x").unwrap(),
            as_is: true,
            reads_percent: 100,
            verify: false,
            fill: false,
            ..plan()
        };
        assert!(as_is.check().is_ok());
        let refused = [
            Plan { connections: 0, ..plan() },
            Plan { connections: CONNECTIONS_MAX + 1, ..plan() },
            Plan { keys: 0, ..plan() },
            Plan { value_len: (15, 15), ..plan() },
            Plan { value_len: (100, 50), ..plan() },
            Plan { value_len: (VALUE_LEN_MAX, VALUE_LEN_MAX), pipeline: 100, ..plan() },
            Plan { reads_percent: 101, ..plan() },
            Plan { rate: Some(0.0), ..plan() },
            Plan { rate: Some(f64::NAN), ..plan() },
            Plan { duration: Duration::ZERO, ..plan() },
            Plan { requests: Some(5), profile: Profile::Ramp, ..plan() },
            Plan { prefix: "a\r\nb".to_owned(), ..plan() },
            Plan { as_is: true, ..plan() },
            Plan { verify: true, ..as_is },
        ];
        for plan in refused {
            assert!(plan.check().is_err(), "{plan:?}");
        }
    }
}
