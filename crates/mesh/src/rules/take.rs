//! Take: reads a value that allows a limited number of reads, using one up. The bytes are in the outcome,
//! which whoever drives the register releases only after the change is decided and durable.

use larder_format::operation::{Outcome, Refusal};
use larder_format::record::{Content, Live, RecordState, ShadowReason};

use super::{Base, Context, Decision, NeedState, end_ms, unchanged};
use crate::planted::Planted;

pub(super) fn take(base: &Base<'_>, ctx: &Context) -> Result<Decision, NeedState> {
    let Some(meta) = base.alive else { return Ok(unchanged(Outcome::Absent)) };
    let Some(left) = meta.takes_left else {
        return Ok(unchanged(Outcome::Refused(Refusal::NotTakeable)));
    };
    let Content::Live(live) = &base.state()?.content else { return Ok(unchanged(Outcome::Absent)) };
    let takes_left = if ctx.faults.has(Planted::TakeTwice) { left } else { left.saturating_sub(1) };
    let content = if takes_left == 0 {
        Content::Shadow(ShadowReason::Taken)
    } else {
        Content::Live(Live { takes_left: Some(takes_left), ..live.clone() })
    };
    let version = base.next_version(ctx);
    Ok(Decision {
        next: Some(RecordState { version, expiry: meta.expiry, content, operations: Vec::new() }),
        outcome: Outcome::Taken {
            version,
            expiry: meta.expiry,
            takes_left,
            head: live.head.clone(),
            body: live.body.clone(),
        },
        holds_before_ms: end_ms(meta.expiry),
    })
}
