//! Deciding on one record with what the store has at hand: the rules of the register, and that a name which a client
//! gives to an operation is not given to another.

use larder_format::clock::Hlc;
use larder_format::limits::OPERATION_DEADLINE_MS_MAX;
use larder_format::operation::{Identity, Operation, Outcome, Refusal};
use larder_format::record::{Ballot, RecordMeta, Version};
use larder_mesh::single::{self, Applied, Context};
use larder_store::api::{Current, Next, StoreError};

use super::store_next;

/// Where the ids of operations come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// Chosen at random: no two are alike.
    Random,
    /// Made of a name and what was asked.
    Named,
}

/// The rules of the register with what the store has at hand: the small part first, all of it if need be.
pub(super) fn apply(
    current: &mut dyn Current,
    operation: &Operation,
    identity: Option<&Identity>,
    (ids, context): (Ids, Context),
) -> Result<Applied, StoreError> {
    if ids == Ids::Named && is_reused(current, identity, context.now)? {
        let outcome = Outcome::Refused(Refusal::NameReused);
        return Ok(Applied { next: single::Next::Keep, outcome });
    }
    let context = context.with_floor(Version::from_u64(current.floor().round));
    let known = current.meta();
    let small = known.as_ref().map_or(single::Current::Absent, single::Current::Meta);
    if let Ok(applied) = single::apply(small, operation, identity, &context) {
        return Ok(applied);
    }
    let state = current.load()?;
    let whole = state.as_ref().map_or(single::Current::Absent, single::Current::State);
    single::apply(whole, operation, identity, &context).map_err(|_| undecided())
}

/// Whether a name was given to another operation on this record, which is remembered still.
fn is_reused(current: &mut dyn Current, identity: Option<&Identity>, now: Hlc) -> Result<bool, StoreError> {
    let Some(identity) = identity.filter(|_| current.meta().is_some_and(|meta| meta.has_operations)) else {
        return Ok(false);
    };
    let operations = current.load()?.map(|state| state.operations).unwrap_or_default();
    let holds = |deadline_ms: u64| deadline_ms > now.ms();
    Ok(operations.iter().any(|known| holds(known.deadline_ms) && known.id.is_named_as(&identity.id)))
}

/// What becomes of a record whose time is up; nothing if it is not.
pub(super) fn removal_of_expired(current: &mut dyn Current, context: Context) -> Result<Next, StoreError> {
    let Some(meta) = current.meta() else { return Ok(Next::Keep) };
    if meta.is_live(context.now) {
        return Ok(Next::Keep);
    }
    if let Ok(next) = single::sweep(single::Current::Meta(&meta), &context) {
        return Ok(store_next(next));
    }
    let state = match current.load() {
        Ok(state) => state,
        // What it remembers cannot be read, but no deadline in it lies this far after its end.
        Err(StoreError::Damaged { .. }) if is_long_over(&meta, context.now) => {
            let floor = Ballot { round: meta.version.to_u64(), proposer: 0 };
            return Ok(Next::Remove { floor });
        }
        Err(error) => return Err(error),
    };
    let whole = state.as_ref().map_or(single::Current::Absent, single::Current::State);
    single::sweep(whole, &context).map(store_next).map_err(|_| undecided())
}

/// Whether every operation that changed the record has passed its deadline, whatever it is.
fn is_long_over(meta: &RecordMeta, now: Hlc) -> bool {
    let changed_ms = meta.version.0.ms();
    now.ms() > changed_ms.saturating_add(OPERATION_DEADLINE_MS_MAX)
}

fn undecided() -> StoreError {
    StoreError::Invalid { what: "a record could not be decided from its whole state".into() }
}
