//! Touch: changes the expiry and nothing else. It makes a new version, like every change.

use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, RecordState};

use super::{Base, Change, Context, NeedState, Step, check_expiry, end_ms};

pub(super) fn touch(
    base: &Base<'_>,
    condition: Condition,
    expiry: Expiry,
    ctx: &Context,
) -> Result<Step, NeedState> {
    if let Some(outcome) = base.unmet(condition) {
        return Ok(Step::Unchanged(outcome));
    }
    if let Err(refusal) = check_expiry(expiry, ctx) {
        return Ok(Step::Unchanged(Outcome::Refused(refusal)));
    }
    let before = base.state()?;
    let version = base.next_version(ctx);
    Ok(Step::Changed(Change {
        state: RecordState { version, expiry, content: before.content.clone(), operations: Vec::new() },
        outcome: Outcome::Written { version, expiry },
        holds_before_ms: end_ms(before.expiry).min(end_ms(expiry)),
    }))
}
