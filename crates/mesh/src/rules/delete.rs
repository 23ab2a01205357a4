//! Delete: turns a value into a shadow. The one-acceptor path drops shadows that nobody needs; replicas keep
//! them until no older copy can come back.

use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Content, RecordState, ShadowReason};

use super::{Base, Change, Context, Step, end_ms};

pub(super) fn delete(base: &Base<'_>, condition: Condition, ctx: &Context) -> Step {
    if let Some(outcome) = base.unmet(condition) {
        return Step::Unchanged(outcome);
    }
    let Some(before) = base.alive else { return Step::Unchanged(Outcome::Absent) };
    let version = base.next_version(ctx);
    Step::Changed(Change {
        state: RecordState {
            version,
            expiry: before.expiry,
            content: Content::Shadow(ShadowReason::Deleted),
            operations: Vec::new(),
        },
        outcome: Outcome::Deleted { version },
        holds_before_ms: end_ms(before.expiry),
    })
}
