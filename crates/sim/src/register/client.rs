//! Clients: what they ask, drawn from the seed, with what they have learned so far (versions).

use bytes::Bytes;
use larder_format::ids::OperationId;
use larder_format::operation::{Condition, Identity, Lifetime, Operation, Outcome, Put};
use larder_format::record::{Expiry, Version};
use larder_format::rng::{Rng, SeededRng};

use super::plan::Plan;

/// One client: it asks one thing at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// Last version it was told, by key.
    versions: Vec<Option<Version>>,
    /// The call it waits for.
    pub(crate) waiting: Option<usize>,
    /// Attempts so far under the id of the call it waits for.
    pub(crate) tries: u32,
}

/// What to ask next.
pub(crate) struct Ask {
    pub(crate) key: u8,
    pub(crate) operation: Operation,
    pub(crate) identity: Option<Identity>,
    pub(crate) confirm: bool,
}

impl Client {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { versions: vec![None; usize::from(plan.keys)], ..Self::default() }
    }

    /// Draws an operation. `number` is the call's, and names the bytes it puts.
    pub(crate) fn draw(&self, plan: &Plan, rng: &mut SeededRng, number: usize, now_ms: u64) -> Ask {
        let key = rng.below(u64::from(plan.keys)) as u8;
        let known = self.versions[usize::from(key)];
        let condition = |rng: &mut SeededRng, any: u64| match (rng.below(100), known) {
            (n, _) if n < any => Condition::Any,
            (n, Some(version)) if n % 4 != 0 => Condition::Version(version),
            _ => Condition::Absent,
        };
        let operation = match rng.below(100) {
            0..30 => Operation::Get,
            30..68 => Operation::Put(Put {
                condition: condition(rng, 40),
                lifetime: Self::lifetime(plan, rng, now_ms),
                takes: (rng.below(5) == 0).then(|| 1 + rng.below(3) as u32),
                tokens: Vec::new(),
                not_after_ms: (rng.below(8) == 0).then(|| now_ms + 1 + rng.below(40)),
                head: Bytes::new(),
                body: Bytes::copy_from_slice(&(number as u32).to_le_bytes()),
            }),
            68..78 => {
                Operation::Touch { condition: condition(rng, 60), expiry: Self::expiry(plan, rng, now_ms) }
            }
            78..88 => Operation::Delete { condition: condition(rng, 70) },
            _ => Operation::Take,
        };
        let reads = matches!(operation, Operation::Get);
        let patience_ms = if rng.below(3) == 0 { 30 } else { 250 };
        let identity = (!reads && rng.below(100) < plan.identified).then(|| Identity {
            id: OperationId(rng.array()),
            deadline_ms: now_ms + 5 + rng.below(patience_ms),
        });
        Ask { key, operation, identity, confirm: reads && rng.below(5) == 0 }
    }

    fn expiry(plan: &Plan, rng: &mut SeededRng, now_ms: u64) -> Expiry {
        let max_ms = plan.ttl_max_ms.unwrap_or(200);
        match (rng.below(20), plan.ttl_max_ms) {
            (0, _) => Expiry::at_ms(now_ms - 100),
            (1, Some(_)) => Expiry::at_ms(now_ms + max_ms + 150),
            (2..12, None) => Expiry::NEVER,
            (2..8, _) => Expiry::at_ms(now_ms + 3 + rng.below(30)),
            _ => Expiry::at_ms(now_ms + 5 + rng.below(max_ms - 30)),
        }
    }

    fn lifetime(plan: &Plan, rng: &mut SeededRng, now_ms: u64) -> Lifetime {
        let expiry = Self::expiry(plan, rng, now_ms);
        if rng.below(8) == 0 { Lifetime::Keep(expiry) } else { Lifetime::Until(expiry) }
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, key: u8, outcome: &Outcome) {
        let version = match outcome {
            Outcome::Found(found) => Some(found.version),
            Outcome::Written { version, .. } | Outcome::Taken { version, .. } => Some(*version),
            Outcome::Conflict { current } => *current,
            _ => return,
        };
        self.versions[usize::from(key)] = version;
    }
}
