//! Touch: changes the expiry and nothing else. It makes a new version, like every change.

use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, RecordState};

use super::{Base, Context, Decision, NeedState, check_expiry, end_ms, unchanged};

pub(super) fn touch(
    base: &Base<'_>,
    condition: Condition,
    expiry: Expiry,
    ctx: &Context,
) -> Result<Decision, NeedState> {
    if let Some(outcome) = base.unmet(condition) {
        return Ok(unchanged(outcome));
    }
    if let Err(refusal) = check_expiry(expiry, ctx) {
        return Ok(unchanged(Outcome::Refused(refusal)));
    }
    let before = base.state()?;
    let version = base.next_version(ctx);
    Ok(Decision {
        next: Some(RecordState { version, expiry, content: before.content.clone(), operations: Vec::new() }),
        outcome: Outcome::Written { version, expiry },
        holds_before_ms: end_ms(before.expiry).min(end_ms(expiry)),
    })
}
