//! The one-acceptor path: one synchronous call under the record's lock, without messages or promises.
//!
//! With one acceptor nothing can be decided elsewhere, so the version serves as the ballot and a deleted
//! record needs no shadow: dropping it raises the partition's floor to its version, and the floor keeps
//! versions rising. Only results of operations with ids keep a shadow alive, until their deadlines.
//!
//! A store calls [`apply`] with what it has at hand ([`Current::Meta`]); if that is not enough it gets
//! [`NeedState`], loads the state and calls again with [`Current::State`]. Whoever calls must
//! - pass a `now` that never falls, across restarts too (persist [`HlcState::high`] ahead of use),
//! - tell nobody an outcome before what it rests on is durable.
//!
//! [`HlcState::high`]: larder_format::clock::HlcState::high

use larder_format::clock::Hlc;
use larder_format::operation::{Identity, Operation, Outcome};
use larder_format::record::{Content, RecordMeta, RecordState, ShadowReason, Version};

pub mod plain;

pub use crate::rules::{Context, Current, NeedState};

use crate::planted::Planted;
use crate::rules;

/// What to do with what is kept for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Leave it.
    Keep,
    /// Replace it.
    Store(RecordState),
    /// Drop all of it, and raise the partition's floor to at least this version.
    Remove {
        /// At least every version dropped.
        floor: Version,
    },
}

/// What an operation does, and what to answer when that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What to do with what is kept for the key.
    pub next: Next,
    /// What to answer, once `next` (and whatever was seen) is durable.
    pub outcome: Outcome,
}

/// Whether [`apply`] would answer [`NeedState`] if it were given only this small part. Lets a store load
/// bytes before it takes a lock; it may err on the side of loading.
#[must_use]
pub fn needs_state(meta: Option<&RecordMeta>, operation: &Operation, identity: Option<&Identity>) -> bool {
    let Some(meta) = meta else { return false };
    let value = match operation {
        Operation::Get => return meta.shadow.is_none() && meta.takes_left.is_none(),
        Operation::Touch { .. } => meta.shadow.is_none(),
        Operation::Take => meta.shadow.is_none() && meta.takes_left.is_some(),
        // Neither looks at the value; whether a change is made at all is not known here, so remembered
        // operations are taken to be needed.
        Operation::Put(_) | Operation::Delete { .. } => meta.has_operations,
    };
    value || (meta.has_operations && identity.is_some())
}

/// Applies an operation to a record that has one acceptor. Pure; see [`rules::decide`] for the semantics.
///
/// # Errors
/// [`NeedState`] if `current` is only the small part and that is not enough. Nothing was changed.
#[inline]
pub fn apply(
    current: Current<'_>,
    operation: &Operation,
    identity: Option<&Identity>,
    ctx: &Context,
) -> Result<Applied, NeedState> {
    let decision = rules::decide(current, operation, identity, ctx)?;
    let next = match decision.next {
        None => Next::Keep,
        Some(state) if matches!(state.content, Content::Shadow(_)) && state.operations.is_empty() => {
            Next::Remove { floor: dropped(state.version, ctx) }
        }
        Some(state) => Next::Store(state),
    };
    Ok(Applied { next, outcome: decision.outcome })
}

/// What the sweep may do with a record whose time is up, or with a shadow, at `ctx.now`. Frees the value's
/// bytes even while results of operations must still be known.
///
/// # Errors
/// [`NeedState`] if results of operations are remembered and `current` is only the small part.
pub fn sweep(current: Current<'_>, ctx: &Context) -> Result<Next, NeedState> {
    let (meta, state) = match current {
        Current::Absent => return Ok(Next::Keep),
        Current::Meta(meta) => (*meta, None),
        Current::State(state) => (state.meta(), Some(state)),
    };
    if meta.is_live(ctx.now) {
        return Ok(Next::Keep);
    }
    let remembered = match (meta.has_operations, state) {
        (false, _) => false,
        (true, None) => return Err(NeedState),
        (true, Some(state)) => state.operations.iter().any(|o| o.deadline_ms > ctx.now.ms()),
    };
    match state {
        _ if !remembered || ctx.faults.has(Planted::ShadowDroppedEarly) => {
            Ok(Next::Remove { floor: dropped(meta.version, ctx) })
        }
        Some(state) if meta.shadow.is_none() => Ok(Next::Store(state.shadow(ShadowReason::Expired))),
        _ => Ok(Next::Keep),
    }
}

/// The floor after dropping this version.
fn dropped(version: Version, ctx: &Context) -> Version {
    if ctx.faults.has(Planted::FloorNotRaised) { Version(Hlc::ZERO) } else { version }
}

#[cfg(test)]
#[path = "single_tests.rs"]
mod tests;
