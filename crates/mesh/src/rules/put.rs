//! Put: writes a value if its condition holds.

use larder_format::limits::TAKES_MAX;
use larder_format::operation::{Condition, Lifetime, Outcome, Put, Refusal};
use larder_format::record::{Content, Live, RecordState};

use super::{Base, Context, Decision, check_expiry, end_ms, unchanged};
use crate::planted::Planted;

pub(super) fn put(base: &Base<'_>, put: &Put, ctx: &Context) -> Decision {
    if put.takes.is_some_and(|n| n == 0 || n > TAKES_MAX) {
        return unchanged(Outcome::Refused(Refusal::TakesOutOfRange));
    }
    let not_after_ms = match put.not_after_ms {
        Some(ms) if !ctx.faults.has(Planted::NotAfterIgnored) => ms,
        _ => u64::MAX,
    };
    if ctx.now.ms() >= not_after_ms {
        return unchanged(Outcome::Refused(Refusal::NotAfter));
    }
    let current = base.alive.map(|m| m.version);
    let met = match put.condition {
        Condition::Any => true,
        Condition::Absent => current.is_none(),
        Condition::Version(wanted) => current == Some(wanted),
    };
    if !met {
        return unchanged(Outcome::Conflict { current });
    }
    // A kept expiry was allowed when it was set; a new one is checked.
    let (expiry, kept) = match (put.lifetime, base.alive) {
        (Lifetime::Keep(_), Some(meta)) => (meta.expiry, true),
        (Lifetime::Keep(expiry) | Lifetime::Until(expiry), _) => (expiry, false),
    };
    if !kept && let Err(refusal) = check_expiry(expiry, ctx) {
        return unchanged(Outcome::Refused(refusal));
    }
    // Only a condition on a value rests on that value being alive, and its end is then this one's limit.
    let rests_on_base = kept || matches!(put.condition, Condition::Version(_));
    let base_ends_ms = base.alive.filter(|_| rests_on_base).map_or(u64::MAX, |m| end_ms(m.expiry));
    let version = base.next_version(ctx);
    let live = Live {
        takes_left: put.takes,
        tokens: put.tokens.clone(),
        head: put.head.clone(),
        body: put.body.clone(),
    };
    Decision {
        next: Some(RecordState { version, expiry, content: Content::Live(live), operations: Vec::new() }),
        outcome: Outcome::Written { version, expiry },
        holds_before_ms: end_ms(expiry).min(base_ends_ms).min(not_after_ms),
    }
}
