//! The sequential specification of a record: what each operation may answer, one after the other.
//!
//! Written apart from `larder_mesh::rules` and without calling it, on purpose: it says what clients were
//! promised, in terms of what clients can see, not how it is done. Time enters as an interval: somewhere
//! between `lo_ms` and `hi_ms` the register looked at its clocks, so a value whose end lies inside may be
//! seen either way; but once seen expired it stays so.

use std::hash::{DefaultHasher, Hash, Hasher};

use larder_format::operation::{Condition, Identity, Lifetime, Operation, Outcome, Refusal};
use larder_format::record::Expiry;

/// A value as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value {
    body: u32,
    end_ms: u64,
    takes_left: Option<u32>,
    /// Not known while the operation that made it was never answered.
    version: Option<u64>,
    /// Then at least its time is: no earlier than this, because versions are times.
    made_ms: u64,
}

/// An operation id that has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Applied {
    id: [u8; 16],
    effect: Effect,
    version: Option<u64>,
    made_ms: u64,
}

/// What an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Effect {
    Written { end_ms: u64 },
    Deleted,
    Taken { left: u32, body: u32, end_ms: u64 },
}

/// One record between two operations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    value: Option<Value>,
    /// No version at or below this can be made any more.
    version_floor: u64,
    /// Effects that had to be in time by this were there or will never be.
    barrier_ms: u64,
    applied: Vec<Applied>,
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
        self.version_floor.hash(state);
        self.barrier_ms.hash(state);
        // In whatever order they took effect: each was checked against the others when it did.
        let sum = self.applied.iter().fold(0u64, |sum, a| {
            let mut one = DefaultHasher::new();
            a.hash(&mut one);
            sum.wrapping_add(one.finish())
        });
        sum.hash(state);
    }
}

/// One request as the checker poses it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What was asked.
    pub operation: &'a Operation,
    /// Under which id.
    pub identity: Option<&'a Identity>,
    /// What was answered; `None`: unknown, but say it took effect.
    pub outcome: Option<&'a Outcome>,
    /// Whether the read was confirmed.
    pub confirm: bool,
    /// The register's time was at least this.
    pub lo_ms: u64,
    /// The register's time was at most this.
    pub hi_ms: u64,
    /// Longest time to live allowed.
    pub ttl_max_ms: Option<u64>,
    /// Whether some clock was beyond the bound in this run.
    pub bad_clocks: bool,
}

fn word(body: &[u8]) -> u32 {
    body.try_into().map_or(u32::MAX, u32::from_le_bytes)
}

fn end_ms(expiry: Expiry) -> u64 {
    expiry.ms().unwrap_or(u64::MAX)
}

impl Step<'_> {
    fn may_be_alive(&self, end_ms: u64) -> bool {
        end_ms > self.lo_ms
    }

    fn may_be_over(&self, end_ms: u64) -> bool {
        end_ms != u64::MAX && end_ms <= self.hi_ms
    }
}

impl Record {
    /// All records that may be after this step, given its answer. None: the answer is wrong here.
    pub fn after(&self, step: &Step<'_>, out: &mut Vec<Record>) {
        if matches!(step.outcome, Some(Outcome::Refused(Refusal::ClockAhead))) {
            if step.bad_clocks {
                out.push(self.clone());
            }
            return;
        }
        let identity = step.identity.filter(|_| !matches!(step.operation, Operation::Get));
        if let Some(identity) = identity {
            if let Some(at) = self.applied.iter().position(|a| a.id == identity.id.0) {
                self.recall(at, step, out);
                return;
            }
            let refused = matches!(step.outcome, Some(Outcome::Refused(Refusal::DeadlinePassed)));
            if refused {
                if identity.deadline_ms <= step.hi_ms {
                    out.push(self.clone());
                }
                return;
            }
            if identity.deadline_ms <= step.lo_ms.max(self.barrier_ms) {
                return;
            }
        }
        match self.value {
            None => self.branch(None, step, out),
            Some(value) => {
                if step.may_be_alive(value.end_ms) {
                    self.branch(Some(value), step, out);
                }
                if step.may_be_over(value.end_ms) {
                    let over = Record { value: None, ..self.clone() };
                    over.branch(None, step, out);
                }
            }
        }
    }

    /// The id took effect before: its outcome is answered again until the deadline.
    fn recall(&self, at: usize, step: &Step<'_>, out: &mut Vec<Record>) {
        let Some(outcome) = step.outcome else { return };
        let Some(identity) = step.identity else { return };
        if matches!(outcome, Outcome::Refused(Refusal::DeadlinePassed)) {
            if identity.deadline_ms <= step.hi_ms {
                out.push(self.clone());
            }
            return;
        }
        let before = self.applied[at];
        let (effect, version) = match outcome {
            Outcome::Written { version, expiry } => (Effect::Written { end_ms: end_ms(*expiry) }, version),
            Outcome::Deleted { version } => (Effect::Deleted, version),
            Outcome::Taken { version, expiry, takes_left, body, .. } => {
                (Effect::Taken { left: *takes_left, body: word(body), end_ms: end_ms(*expiry) }, version)
            }
            _ => return,
        };
        let since = before.version.is_none() && version.0.ms() >= before.made_ms;
        if effect == before.effect && (since || before.version == Some(version.to_u64())) {
            let mut next = self.clone();
            next.applied[at] = Applied { version: Some(version.to_u64()), made_ms: 0, ..before };
            out.push(next);
        }
    }

    /// The operation on a value that is alive, or on none.
    fn branch(&self, value: Option<Value>, step: &Step<'_>, out: &mut Vec<Record>) {
        if let Some(Outcome::Refused(refusal)) = step.outcome {
            if self.may_refuse(*refusal, value, step) {
                out.push(self.clone());
            }
            return;
        }
        match step.operation {
            Operation::Get => self.get(value, step, out),
            Operation::Put(put) => {
                if let Some(conflict) = self.conflict(put.condition, value, step) {
                    out.extend(conflict);
                    return;
                }
                let end = match (put.lifetime, value) {
                    (Lifetime::Keep(_), Some(value)) => value.end_ms,
                    (Lifetime::Keep(e) | Lifetime::Until(e), _) => end_ms(e),
                };
                let kept = matches!(put.lifetime, Lifetime::Keep(_)) && value.is_some();
                let late = put.not_after_ms.is_some_and(|ms| ms <= step.lo_ms.max(self.barrier_ms));
                if late || !step.may_be_alive(end) || (!kept && !self.ttl_fits(end, step)) {
                    return;
                }
                let written = Value {
                    body: word(&put.body),
                    end_ms: end,
                    takes_left: put.takes,
                    version: None,
                    made_ms: 0,
                };
                self.written(written, step, out);
            }
            Operation::Touch { condition, expiry } => {
                let Some(value) = self.target(*condition, value, step, out) else { return };
                let end = end_ms(*expiry);
                if step.may_be_alive(end) && self.ttl_fits(end, step) {
                    self.written(Value { end_ms: end, ..value }, step, out);
                }
            }
            Operation::Delete { condition } => {
                if self.target(*condition, value, step, out).is_none() {
                    return;
                }
                match step.outcome {
                    None => out.extend(self.change(None, None, Effect::Deleted, step)),
                    Some(Outcome::Deleted { version }) => {
                        out.extend(self.change(None, Some(version.to_u64()), Effect::Deleted, step));
                    }
                    _ => {}
                }
            }
            Operation::Take => self.take(value, step, out),
        }
    }

    fn get(&self, value: Option<Value>, step: &Step<'_>, out: &mut Vec<Record>) {
        let mut next = self.clone();
        if step.confirm {
            next.barrier_ms = next.barrier_ms.max(step.lo_ms);
        }
        match (step.outcome, value) {
            (Some(Outcome::Absent), None) => {
                next.value = None;
                out.push(next);
            }
            (Some(Outcome::Found(found)), Some(value)) => {
                let body = if value.takes_left.is_some() {
                    found.body.is_empty()
                } else {
                    word(&found.body) == value.body
                };
                let same =
                    body && found.takes_left == value.takes_left && end_ms(found.expiry) == value.end_ms;
                let version = found.version.to_u64();
                let known = self.is_version(value, version);
                if same && known {
                    next.version_floor = next.version_floor.max(version);
                    next.value = Some(Value { version: Some(version), made_ms: 0, ..value });
                    out.push(next);
                }
            }
            _ => {}
        }
    }

    fn take(&self, value: Option<Value>, step: &Step<'_>, out: &mut Vec<Record>) {
        let Some((value, left)) = value.and_then(|v| v.takes_left.map(|n| (v, n))) else {
            if value.is_none() && step.outcome == Some(&Outcome::Absent) {
                out.push(self.clone());
            }
            return;
        };
        let left = left - 1;
        let rest = (left > 0).then_some(Value { takes_left: Some(left), version: None, ..value });
        let effect = Effect::Taken { left, body: value.body, end_ms: value.end_ms };
        match step.outcome {
            None => out.extend(self.change(rest, None, effect, step)),
            Some(Outcome::Taken { version, expiry, takes_left, body, .. }) => {
                let same = *takes_left == left && word(body) == value.body && end_ms(*expiry) == value.end_ms;
                if same {
                    out.extend(self.change(rest, Some(version.to_u64()), effect, step));
                }
            }
            _ => {}
        }
    }

    /// The value a touch or delete acts on. If there is none, pushes what follows from the answer.
    fn target(
        &self,
        condition: Condition,
        value: Option<Value>,
        step: &Step<'_>,
        out: &mut Vec<Record>,
    ) -> Option<Value> {
        let without = !matches!(condition, Condition::Version(_));
        if value.is_none() && without {
            if step.outcome == Some(&Outcome::Absent) {
                out.push(self.clone());
            }
            return None;
        }
        if let Some(conflict) = self.conflict(condition, value, step) {
            out.extend(conflict);
            return None;
        }
        value
    }

    /// `Some` if the condition does not hold: what follows if the answer says so rightly.
    fn conflict(
        &self,
        condition: Condition,
        value: Option<Value>,
        step: &Step<'_>,
    ) -> Option<Option<Record>> {
        let told = match step.outcome {
            Some(Outcome::Conflict { current }) => Some(current.map(|v| v.to_u64())),
            _ => None,
        };
        let holds = match (condition, value) {
            (Condition::Any, _) | (Condition::Absent, None) => true,
            (Condition::Absent, Some(_)) | (Condition::Version(_), None) => false,
            (Condition::Version(wanted), Some(value)) => match (value.version, told) {
                (Some(version), _) => version == wanted.to_u64(),
                // Nobody was told this value's version yet; the answer says whether it was the wanted one.
                (None, Some(Some(version))) => version == wanted.to_u64(),
                // It may be the wanted one if that could be its version at all; the lowest it can be is the floor.
                (None, _) => self.is_version(value, wanted.to_u64()),
            },
        };
        if holds {
            return None;
        }
        let mut next = self.clone();
        next.value = value;
        Some(match (told, value) {
            (Some(None), None) => Some(next),
            (Some(Some(version)), Some(value)) => {
                let known = self.is_version(value, version);
                next.value = Some(Value { version: Some(version), made_ms: 0, ..value });
                next.version_floor = next.version_floor.max(version);
                known.then_some(next)
            }
            _ => None,
        })
    }

    fn ttl_fits(&self, end_ms: u64, step: &Step<'_>) -> bool {
        step.ttl_max_ms.is_none_or(|max| end_ms <= step.hi_ms.saturating_add(max))
    }

    fn written(&self, value: Value, step: &Step<'_>, out: &mut Vec<Record>) {
        let effect = Effect::Written { end_ms: value.end_ms };
        match step.outcome {
            None => out.extend(self.change(Some(Value { version: None, ..value }), None, effect, step)),
            Some(Outcome::Written { version, expiry }) if end_ms(*expiry) == value.end_ms => {
                let version = Some(version.to_u64());
                out.extend(self.change(Some(Value { version, ..value }), version, effect, step));
            }
            _ => {}
        }
    }

    /// The record after an effect; `None` if its version is not above all before.
    fn change(
        &self,
        value: Option<Value>,
        version: Option<u64>,
        effect: Effect,
        step: &Step<'_>,
    ) -> Option<Record> {
        if version.is_some_and(|v| v <= self.version_floor || ms_of(v) < step.lo_ms) {
            return None;
        }
        let made_ms = if version.is_some() { 0 } else { step.lo_ms };
        let mut next = self.clone();
        next.value = value.map(|v| Value { version, made_ms, ..v });
        // An unknown version is still above the one before and not before its time; the next is above it.
        next.version_floor = version.unwrap_or((self.version_floor + 1).max(step.lo_ms << 16));
        if let Some(identity) = step.identity {
            next.applied.push(Applied { id: identity.id.0, effect, version, made_ms });
        }
        Some(next)
    }

    fn may_refuse(&self, refusal: Refusal, value: Option<Value>, step: &Step<'_>) -> bool {
        let asked_end = match step.operation {
            Operation::Put(put) => match put.lifetime {
                Lifetime::Keep(_) if value.is_some() => None,
                Lifetime::Keep(e) | Lifetime::Until(e) => Some(end_ms(e)),
            },
            Operation::Touch { expiry, .. } => Some(end_ms(*expiry)),
            _ => None,
        };
        match refusal {
            Refusal::NotAfter => {
                matches!(step.operation, Operation::Put(p) if p.not_after_ms.is_some_and(|ms| ms <= step.hi_ms))
            }
            Refusal::BornExpired => asked_end.is_some_and(|end| step.may_be_over(end)),
            Refusal::ExpiryTooFar { .. } => step
                .ttl_max_ms
                .is_some_and(|max| asked_end.is_some_and(|end| end > step.lo_ms.saturating_add(max))),
            Refusal::NotTakeable => {
                matches!(step.operation, Operation::Take) && value.is_some_and(|v| v.takes_left.is_none())
            }
            _ => false,
        }
    }

    /// Whether this may be the value's version.
    fn is_version(&self, value: Value, version: u64) -> bool {
        match value.version {
            Some(known) => known == version,
            None => version >= self.version_floor && ms_of(version) >= value.made_ms,
        }
    }

    /// Whether whatever may follow `other` may follow this record too.
    #[must_use]
    pub fn allows_all_of(&self, other: &Record) -> bool {
        self.value == other.value
            && self.applied == other.applied
            && self.version_floor <= other.version_floor
            && self.barrier_ms <= other.barrier_ms
    }
}

/// The millisecond in a version.
fn ms_of(version: u64) -> u64 {
    version >> 16
}
