//! Flags of `larder bench` that say what load it is, made into a plan.

use std::time::Duration;

use larder_format::rng::{Rng, SystemRng};
use larder_load::keys::Distribution;
use larder_load::pace::Arrivals;
use larder_load::plan::{
    CONNECTIONS_MAX, DURATION_MAX, KEYS_MAX, PIPELINE_MAX, Plan, Profile, RATE_MAX, THREADS_MAX,
    VALUE_LEN_MAX,
};
use larder_load::target::{Protocol, Target};

use crate::duration;
use crate::failure::Outcome;
use crate::size;

/// Keys of the profile stress: with its longest values they take 25 MiB.
const STRESS_KEYS: u32 = 100;
/// Exponent of zipfian keys where none is given: what YCSB uses.
const SKEW: f64 = 0.99;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProfileArg {
    /// The same load all the time
    Steady,
    /// From 1 connection up to all of them, in steps
    Ramp,
    /// Values from 1 KiB to 256 KiB, doubling
    Stress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DistributionArg {
    /// All keys alike
    Uniform,
    /// Few of them most of the time
    Zipfian,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ArrivalsArg {
    /// The same time between any two
    Even,
    /// At random, as from many clients
    Poisson,
}

/// What load.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The course of it
    #[arg(long, value_enum, default_value = "steady")]
    profile: ProfileArg,
    /// Connections; in a ramp the most
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u32,
    /// Requests under way on each connection
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PIPELINE_MAX)))]
    pipeline: u32,
    /// Reads and writes, in percent
    #[arg(long, value_name = "READS:WRITES", default_value = "90:10", value_parser = mix)]
    mix: u32,
    /// How many keys (default: 100000; stress: 100)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)))]
    keys: Option<u32>,
    /// How often each key is used
    #[arg(long, value_enum)]
    distribution: Option<DistributionArg>,
    /// Exponent of zipfian keys (default: 0.99); says that they are
    #[arg(long, value_name = "S")]
    skew: Option<f64>,
    /// What keys begin with
    #[arg(long, value_name = "TEXT", default_value = "bench:")]
    prefix: String,
    /// Length of values, or shortest..longest: 256, 1KiB, 64..4KiB
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = lengths)]
    value: (usize, usize),
    /// How long values live; without it they do not expire by our wish
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime)]
    ttl: Option<Duration>,
    /// Requests a second, whether the server keeps up or not (open loop): latencies count from when each was due
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// How requests of an open loop are spread over time
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    arrivals: ArrivalsArg,
    /// How long it is measured, all steps together (default: 10s; ramp and stress: 30s)
    #[arg(long, value_name = "TIME", value_parser = length)]
    duration: Option<Duration>,
    /// End after so many requests instead
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// What is not measured at the start, of each step
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = warmup)]
    warmup: Duration,
    /// How long an answer is waited for
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = length)]
    timeout: Duration,
    /// Threads of the generator (default: one a core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(THREADS_MAX)))]
    threads: Option<u32>,
    /// Do not compare what is read with what was written
    #[arg(long)]
    no_verify: bool,
    /// Do not write all keys first; what was never written may be missing
    #[arg(long)]
    no_fill: bool,
    /// Leave the keys on the server
    #[arg(long)]
    keep: bool,
    /// Fetch the URL as it is, over and over (HTTP); only reads, nothing is verified
    #[arg(long)]
    as_is: bool,
    /// Repeat the order of keys and requests of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Asked {
    /// A plan for a target.
    ///
    /// # Errors
    /// Invalid if the address is none.
    pub fn plan(&self, url: &str) -> Outcome<Plan> {
        let target = Target::parse(url)?;
        let profile = match self.profile {
            ProfileArg::Steady => Profile::Steady,
            ProfileArg::Ramp => Profile::Ramp,
            ProfileArg::Stress => Profile::Stress,
        };
        let steady = profile == Profile::Steady;
        let zipfian = self.distribution == Some(DistributionArg::Zipfian)
            || (self.distribution.is_none() && self.skew.is_some());
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let defaults = Plan::new(target);
        let keys = self.keys.unwrap_or(if profile == Profile::Stress { STRESS_KEYS } else { defaults.keys });
        Ok(Plan {
            profile,
            connections: self.connections,
            threads: self.threads.unwrap_or(cores.min(THREADS_MAX)),
            pipeline: self.pipeline,
            keys: if self.as_is { 1 } else { keys },
            prefix: self.prefix.clone(),
            distribution: if zipfian {
                Distribution::Zipfian { skew: self.skew.unwrap_or(SKEW) }
            } else {
                Distribution::Uniform
            },
            reads_percent: if self.as_is { 100 } else { self.mix },
            value_len: self.value,
            ttl: self.ttl,
            rate: self.rate,
            arrivals: match self.arrivals {
                ArrivalsArg::Even => Arrivals::Even,
                ArrivalsArg::Poisson => Arrivals::Poisson,
            },
            duration: self.duration.unwrap_or(Duration::from_secs(if steady { 10 } else { 30 })),
            requests: self.requests,
            warmup: self.warmup,
            timeout: self.timeout,
            verify: !self.no_verify && !self.as_is,
            fill: !self.no_fill && !self.as_is,
            keep: self.keep,
            as_is: self.as_is && defaults.target.protocol == Protocol::Http,
            seed: self.seed.unwrap_or_else(|| SystemRng.u64()),
            ..defaults
        })
    }
}

fn mix(text: &str) -> Result<u32, String> {
    let wrong = || "READS:WRITES in percent, such as 90:10 (together 100)".to_owned();
    let (reads, writes) = text.split_once(':').ok_or_else(wrong)?;
    let (reads, writes): (u32, u32) =
        (reads.parse().map_err(|_| wrong())?, writes.parse().map_err(|_| wrong())?);
    if reads.checked_add(writes) == Some(100) { Ok(reads) } else { Err(wrong()) }
}

fn lengths(text: &str) -> Result<(usize, usize), String> {
    let most = u64::try_from(VALUE_LEN_MAX).unwrap_or(u64::MAX);
    let one = |text: &str| -> Result<usize, String> {
        usize::try_from(size::parse(text, 0, most)?).map_err(|_| "too large".to_owned())
    };
    match text.split_once("..") {
        None => one(text).map(|len| (len, len)),
        Some((shortest, longest)) => {
            let both = (one(shortest)?, one(longest)?);
            if both.0 > both.1 { Err("the shorter length comes first".to_owned()) } else { Ok(both) }
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    let rate = digits.parse::<f64>().ok().map(|rate| rate * factor);
    rate.filter(|rate| (0.01..=RATE_MAX).contains(rate))
        .ok_or_else(|| "requests a second, 0.01 to 100M, such as 500, 20k or 1.5M".to_owned())
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text, Duration::from_millis(100), DURATION_MAX)
}

fn warmup(text: &str) -> Result<Duration, String> {
    duration::parse(text, Duration::ZERO, DURATION_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_people_write_them() {
        assert_eq!((mix("90:10"), mix("0:100"), mix("100:0")), (Ok(90), Ok(0), Ok(100)));
        assert!(["90", "90:20", "a:b", "4294967295:1", "-1:101"].iter().all(|text| mix(text).is_err()));
        assert_eq!((lengths("256"), lengths("64..4KiB")), (Ok((256, 256)), Ok((64, 4096))));
        assert!(["", "4KiB..64", "17MiB", "1..2..3"].iter().all(|text| lengths(text).is_err()));
        assert_eq!((rate("20k"), rate("0.5")), (Ok(20_000.0), Ok(0.5)));
        assert!(["0", "-1", "x", "1G", "nan", "inf"].iter().all(|text| rate(text).is_err()));
    }
}
