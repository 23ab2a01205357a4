//! What one run is like: derived from its seed, so that a seed says everything.

use larder_format::rng::{Rng, SeededRng};
use larder_mesh::planted::Faults;

/// How far apart believable clocks are, in milliseconds. Small, so that a run of a second covers many bounds.
pub const CLOCK_BOUND_MS: u64 = 40;
/// Good clocks are within this of true time, in milliseconds: any two are within the bound.
pub const SKEW_MS_MAX: u64 = 18;
/// How far ahead acceptors persist time, in milliseconds.
pub const TIME_STEP_MS: u64 = 8;
/// True time at the start of a run, in milliseconds.
pub const EPOCH_MS: u64 = 1_000_000;
/// Operations in a run; half as many in a storm, where all of them are on one key.
pub const OPERATIONS: usize = 90;

/// What the user asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Number of acceptors; `None`: 1, 3 or 5 by seed.
    pub acceptors: Option<u8>,
    /// Planted bug.
    pub faults: Faults,
    /// Keep a log of every event.
    pub verbose: bool,
}

/// What becomes of an acceptor that crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Keeps what was synced.
    Disk,
    /// Keeps nothing, and rejoins.
    Memory,
}

/// One run's conditions.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed they came from.
    pub seed: u64,
    /// Number of acceptors.
    pub replicas: u8,
    /// What becomes of those that crash.
    pub class: Class,
    /// Longest time to live allowed, in milliseconds; `None`: values without end are allowed.
    pub ttl_max_ms: Option<u64>,
    /// Whether a node's proposer reaches its own acceptor as it reaches the others: through the network.
    pub apart: bool,
    /// Whether messages travel as bytes, encoded and decoded.
    pub wire: bool,
    /// Number of operations that clients think of (retries come on top).
    pub operations: usize,
    /// Number of keys.
    pub keys: u8,
    /// Number of clients.
    pub clients: u8,
    /// Longest pause of a client between operations, in microseconds.
    pub pause_us_max: u64,
    /// Of 1,000 messages, how many are lost.
    pub loss: u64,
    /// Of 1,000 messages, how many arrive twice.
    pub duplicates: u64,
    /// Of 1,000 messages, how many are late by up to [`Plan::late_us_max`].
    pub late: u64,
    /// Longest extra delay, in microseconds.
    pub late_us_max: u64,
    /// Longest sync, in microseconds.
    pub sync_us_max: u64,
    /// Mean time between partitions, in microseconds; 0: none.
    pub partition_every_us: u64,
    /// Mean time between crashes, in microseconds; 0: none.
    pub crash_every_us: u64,
    /// Longest time a machine is down, in microseconds.
    pub down_us_max: u64,
    /// Of 1,000 promises and accepts, after how many the acceptor crashes at once.
    pub crash_after: u64,
    /// Mean time between changes of a clock, in microseconds; 0: none.
    pub clock_every_us: u64,
    /// Whether a minority of clocks may go beyond the bound.
    pub bad_clocks: bool,
    /// Of 100 operations, how many carry an id.
    pub identified: u64,
    /// Of 100 operations, how many go to another proposer than the first live one.
    pub scattered: u64,
    /// Planted bug.
    pub faults: Faults,
}

impl Plan {
    /// The conditions of a seed.
    #[must_use]
    pub fn new(seed: u64, settings: Settings) -> Self {
        let mut rng = SeededRng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x6c61_7264);
        let drawn = match rng.below(8) {
            0 => 1,
            1..=4 => 3,
            _ => 5,
        };
        let replicas = settings.acceptors.unwrap_or(drawn);
        let disk = rng.below(2) == 0;
        let class = if disk || replicas == 1 { Class::Disk } else { Class::Memory };
        // With one clock out of three lost for good, much more would leave little but time-outs.
        let bad_clocks = replicas > 1 && rng.below(4) == 0;
        // A storm: machines die often and come back at once, while proposers fight over one key. What is
        // forgotten in a crash matters only to messages that outlive it.
        let storm = replicas > 1 && !bad_clocks && rng.below(4) == 0;
        // What a lost disk write does shows when proposers fight over one key; what a lost memory does, when
        // nobody else is there to repair it.
        let fight = storm && class == Class::Disk;
        let mut pick = |values: &[u64]| values[usize::try_from(rng.below(values.len() as u64)).unwrap_or(0)];
        Self {
            seed,
            replicas,
            class,
            ttl_max_ms: Some(pick(&[0, 120, 200])).filter(|ms| *ms > 0),
            wire: seed.is_multiple_of(16),
            apart: storm && pick(&[0, 1]) == 1,
            operations: if fight { OPERATIONS / 2 } else { OPERATIONS },
            keys: if fight { 1 } else { pick(&[2, 2, 3, 4]) as u8 },
            clients: pick(if storm && !fight { &[2, 3] } else { &[3, 4, 5, 6] }) as u8,
            pause_us_max: if fight { 6_000 } else { pick(&[8_000, 25_000, 50_000]) },
            loss: if storm { pick(&[10, 40]) } else { pick(&[10, 30, 60]) },
            duplicates: pick(&[20, 60, 120]),
            late: if storm { 300 } else { pick(&[30, 80, 150]) },
            late_us_max: if storm { 9_000 } else { pick(&[4_000, 15_000, 60_000]) },
            sync_us_max: pick(&[500, 2_000, 8_000]),
            partition_every_us: pick(if storm {
                &[0]
            } else if bad_clocks {
                &[0, 150_000]
            } else {
                &[0, 60_000, 150_000]
            }),
            crash_every_us: match (storm, bad_clocks) {
                (true, _) => pick(&[12_000, 30_000]),
                (_, true) => pick(&[0, 150_000]),
                _ => pick(&[0, 40_000, 80_000, 150_000]),
            },
            crash_after: if storm { pick(&[8, 16]) } else { 0 },
            down_us_max: if storm { 600 } else { 40_000 },
            clock_every_us: pick(&[0, 50_000, 150_000]),
            bad_clocks,
            identified: pick(&[10, 40, 70]),
            scattered: if fight { 90 } else { pick(&[5, 30, 80]) },
            faults: settings.faults,
        }
    }
}
