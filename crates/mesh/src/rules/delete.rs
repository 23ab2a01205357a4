//! Delete: turns a value into a shadow. The one-acceptor path drops shadows that nobody needs; replicas keep
//! them until no older copy can come back.

use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Content, RecordState, ShadowReason};

use super::{Base, Context, Decision, end_ms, unchanged};

pub(super) fn delete(base: &Base<'_>, condition: Condition, ctx: &Context) -> Decision {
    if let Some(outcome) = base.unmet(condition) {
        return unchanged(outcome);
    }
    let Some(before) = base.alive else { return unchanged(Outcome::Absent) };
    let version = base.next_version(ctx);
    Decision {
        next: Some(RecordState {
            version,
            expiry: before.expiry,
            content: Content::Shadow(ShadowReason::Deleted),
            operations: Vec::new(),
        }),
        outcome: Outcome::Deleted { version },
        holds_before_ms: end_ms(before.expiry),
    }
}
