//! What an operation does to a record: the pure transition `state × operation × time → state', outcome`.
//!
//! One file per verb. The one-acceptor path and proposers both call [`decide`], so one machine and a mesh
//! cannot differ in meaning. Guarantees: a version made here is above the one before and above the floor;
//! an outcome that is not a change leaves the state as it is; nothing here reads a clock.

mod delete;
mod get;
mod put;
mod take;
mod touch;

#[cfg(test)]
mod tests;

use larder_format::clock::Hlc;
use larder_format::limits::{OPERATION_DEADLINE_MS_MAX, RECORD_OPERATIONS_MAX, RECORD_REMEMBERED_BYTES_MAX};
use larder_format::operation::{Condition, Identity, Operation, Outcome, Refusal};
use larder_format::record::{Expiry, OperationRecord, OperationResult, RecordMeta, RecordState, Version};

use crate::planted::{Faults, Planted};

/// What holds while an operation is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Hybrid time of the operation. Never below what any earlier operation on this record was decided with,
    /// not even across a restart: a value once seen expired must stay so.
    pub now: Hlc,
    /// Versions made must be above this: per-key state up to here may have been dropped.
    pub floor: Version,
    /// Longest time to live the namespace allows, in milliseconds; `None`: any, also no end.
    pub ttl_max_ms: Option<u64>,
    /// Planted bug; nothing in normal builds.
    pub faults: Faults,
}

impl Context {
    /// A context without floor or limit.
    #[must_use]
    pub fn at(now: Hlc) -> Self {
        Self { now, floor: Version(Hlc::ZERO), ttl_max_ms: None, faults: Faults::NONE }
    }

    /// With the partition's floor.
    #[must_use]
    pub fn with_floor(self, floor: Version) -> Self {
        Self { floor, ..self }
    }

    /// With the namespace's longest time to live, in milliseconds.
    #[must_use]
    pub fn with_ttl_max_ms(self, ttl_max_ms: Option<u64>) -> Self {
        Self { ttl_max_ms, ..self }
    }
}

/// What is known of a record before an operation.
#[derive(Debug, Clone, Copy)]
pub enum Current<'a> {
    /// There is nothing for this key.
    Absent,
    /// The small part; the rest was not loaded.
    Meta(&'a RecordMeta),
    /// All of it.
    State(&'a RecordState),
}

impl Current<'_> {
    fn meta(&self) -> Option<RecordMeta> {
        match self {
            Current::Absent => None,
            Current::Meta(meta) => Some(**meta),
            Current::State(state) => Some(state.meta()),
        }
    }
}

/// The operation cannot be decided from the small part: load the state and ask again. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record's state must be loaded first")]
pub struct NeedState;

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The state that replaces the one before; `None`: nothing changes.
    pub next: Option<RecordState>,
    /// What to answer, once `next` is decided and durable.
    pub outcome: Outcome,
    /// Hybrid time in milliseconds before which `next` must be accepted, because it rests on something that
    /// ends then (the value it replaces, its own expiry, a lease, the operation's deadline). `u64::MAX`: any.
    pub holds_before_ms: u64,
}

/// The record before the operation, as the verbs see it.
pub(crate) struct Base<'a> {
    current: Current<'a>,
    /// What is kept for the key, value or shadow.
    meta: Option<RecordMeta>,
    /// The same if it is a value whose time is not up.
    alive: Option<RecordMeta>,
}

impl<'a> Base<'a> {
    fn new(current: Current<'a>, now: Hlc) -> Self {
        let meta = current.meta();
        Self { current, meta, alive: meta.filter(|m| m.is_live(now)) }
    }

    /// The version a change makes: the operation's time, and above all versions before.
    fn next_version(&self, ctx: &Context) -> Version {
        if ctx.faults.has(Planted::WallClockOrder) {
            return Version(ctx.now);
        }
        if ctx.faults.has(Planted::VersionReused)
            && let Some(shadow) = self.meta.filter(|m| m.shadow.is_some())
        {
            return shadow.version;
        }
        let before = self.meta.map_or(ctx.floor, |m| m.version.max(ctx.floor));
        Version(ctx.now.max(before.0.next()))
    }

    fn state(&self) -> Result<&'a RecordState, NeedState> {
        match self.current {
            Current::State(state) => Ok(state),
            Current::Meta(_) | Current::Absent => Err(NeedState),
        }
    }

    /// Operations remembered so far; needs the state only if there are any.
    fn operations(&self) -> Result<&'a [OperationRecord], NeedState> {
        match self.meta {
            Some(meta) if meta.has_operations => Ok(&self.state()?.operations),
            _ => Ok(&[]),
        }
    }

    /// The outcome if the condition does not hold, or if there is no value to act on.
    fn unmet(&self, condition: Condition) -> Option<Outcome> {
        let current = self.alive.map(|m| m.version);
        match (condition, current) {
            (Condition::Any, None) | (Condition::Absent, None) => Some(Outcome::Absent),
            (Condition::Any, Some(_)) => None,
            (Condition::Version(wanted), Some(found)) if wanted == found => None,
            _ => Some(Outcome::Conflict { current }),
        }
    }
}

/// When a value's time is up, as [`Decision::holds_before_ms`] counts it.
fn end_ms(expiry: Expiry) -> u64 {
    expiry.ms().unwrap_or(u64::MAX)
}

/// Checks an expiry that an operation asks for.
pub(crate) fn check_expiry(expiry: Expiry, ctx: &Context) -> Result<(), Refusal> {
    if expiry.is_past(ctx.now) {
        return Err(Refusal::BornExpired);
    }
    match ctx.ttl_max_ms {
        Some(max_ttl_ms) if end_ms(expiry) > ctx.now.ms().saturating_add(max_ttl_ms) => {
            Err(Refusal::ExpiryTooFar { max_ttl_ms })
        }
        _ => Ok(()),
    }
}

/// Decides what an operation does to a record. Pure: the same arguments give the same decision.
///
/// `identity` makes a change recognisable: if an operation of that id changed this record before (and its
/// deadline has not passed), its outcome is given again and nothing changes. Reads ignore it. Outcomes that
/// changed nothing are not remembered.
///
/// # Errors
/// [`NeedState`] if `current` is only the small part and that is not enough.
pub fn decide(
    current: Current<'_>,
    operation: &Operation,
    identity: Option<&Identity>,
    ctx: &Context,
) -> Result<Decision, NeedState> {
    let base = Base::new(current, ctx.now);
    let identity = identity.filter(|_| !matches!(operation, Operation::Get));
    if let Some(identity) = identity
        && let Some(outcome) = recall(&base, identity, ctx)?
    {
        return Ok(unchanged(outcome));
    }
    let mut decision = match operation {
        Operation::Get => get::get(&base, ctx)?,
        Operation::Put(put) => put::put(&base, put, ctx),
        Operation::Touch { condition, expiry } => touch::touch(&base, *condition, *expiry, ctx)?,
        Operation::Delete { condition } => delete::delete(&base, *condition, ctx),
        Operation::Take => take::take(&base, ctx)?,
    };
    let operations = base.meta.is_some_and(|m| m.has_operations);
    if decision.next.is_some() && (operations || identity.is_some()) {
        remember(&base, &mut decision, identity, ctx)?;
    }
    Ok(decision)
}

fn unchanged(outcome: Outcome) -> Decision {
    Decision { next: None, outcome, holds_before_ms: u64::MAX }
}

/// The outcome of an earlier attempt under this id, or the refusal of its deadline.
fn recall(base: &Base<'_>, identity: &Identity, ctx: &Context) -> Result<Option<Outcome>, NeedState> {
    let now_ms = ctx.now.ms();
    if ctx.faults.has(Planted::DeadlineIgnored) {
        // Falls through to the look-up of what is still remembered.
    } else if now_ms >= identity.deadline_ms {
        return Ok(Some(Outcome::Refused(Refusal::DeadlinePassed)));
    } else if identity.deadline_ms - now_ms > OPERATION_DEADLINE_MS_MAX {
        return Ok(Some(Outcome::Refused(Refusal::DeadlineTooFar { max_ms: OPERATION_DEADLINE_MS_MAX })));
    }
    let Some(found) = base.operations()?.iter().find(|o| o.id == identity.id) else { return Ok(None) };
    Ok(Some(match &found.result {
        OperationResult::Written { version, expiry } => {
            Outcome::Written { version: *version, expiry: *expiry }
        }
        OperationResult::Deleted { version } => Outcome::Deleted { version: *version },
        OperationResult::Taken { version, expiry, takes_left, head, body } => Outcome::Taken {
            version: *version,
            expiry: *expiry,
            takes_left: *takes_left,
            head: head.clone(),
            body: body.clone(),
        },
    }))
}

/// Adds to a change the operations that must still be known, and its own.
fn remember(
    base: &Base<'_>,
    decision: &mut Decision,
    identity: Option<&Identity>,
    ctx: &Context,
) -> Result<(), NeedState> {
    let Some(state) = &mut decision.next else { return Ok(()) };
    let before = base.operations()?;
    if !ctx.faults.has(Planted::IdEvictedEarly) {
        let now_ms = ctx.now.ms();
        state.operations.extend(before.iter().filter(|o| o.deadline_ms > now_ms).cloned());
    }
    let Some(identity) = identity else { return Ok(()) };
    let bytes = |result: &OperationResult| match result {
        OperationResult::Taken { head, body, .. } => head.len() + body.len(),
        _ => 0,
    };
    let result = result_of(&decision.outcome);
    let kept: usize = state.operations.iter().map(|o| bytes(&o.result)).sum();
    let too_much = kept + result.as_ref().map_or(0, bytes) > RECORD_REMEMBERED_BYTES_MAX;
    if state.operations.len() >= RECORD_OPERATIONS_MAX || too_much {
        *decision = unchanged(Outcome::Refused(Refusal::TooManyOperations));
        return Ok(());
    }
    if let Some(result) = result {
        let Identity { id, deadline_ms } = *identity;
        state.operations.push(OperationRecord { id, deadline_ms, result });
    }
    if !ctx.faults.has(Planted::DeadlineIgnored) {
        decision.holds_before_ms = decision.holds_before_ms.min(identity.deadline_ms);
    }
    Ok(())
}

/// What of an outcome is remembered; `None` for outcomes that change nothing.
fn result_of(outcome: &Outcome) -> Option<OperationResult> {
    match outcome {
        Outcome::Written { version, expiry } => {
            Some(OperationResult::Written { version: *version, expiry: *expiry })
        }
        Outcome::Deleted { version } => Some(OperationResult::Deleted { version: *version }),
        Outcome::Taken { version, expiry, takes_left, head, body } => Some(OperationResult::Taken {
            version: *version,
            expiry: *expiry,
            takes_left: *takes_left,
            head: head.clone(),
            body: body.clone(),
        }),
        Outcome::Found(_) | Outcome::Absent | Outcome::Conflict { .. } | Outcome::Refused(_) => None,
    }
}
