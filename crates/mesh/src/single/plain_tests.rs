//! The short rules of plain values agree with the whole rules, whatever is there and whatever is asked.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::operation::{Operation, Put};
use larder_format::record::{Content, Live, RecordState};
use proptest::prelude::*;

use super::*;
use crate::rules::{self, Current};
use crate::single::{self, Next};

fn state((version, expiry): Held) -> RecordState {
    let live = Live { body: Bytes::from_static(b"body"), ..Live::default() };
    RecordState { version, expiry, content: Content::Live(live), operations: Vec::new() }
}

/// Few different moments, so that they meet.
fn expiries() -> impl Strategy<Value = Expiry> {
    prop_oneof![(0..40_u64).prop_map(|ms| Expiry::at_ms(ms * 5)), Just(Expiry::NEVER)]
}

fn versions() -> impl Strategy<Value = Version> {
    (0..40_u64, 0..2_u64).prop_map(|(ms, low)| Version::from_u64((ms * 5) << 16 | low))
}

fn conditions() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Any),
        Just(Condition::Absent),
        versions().prop_map(Condition::Version),
        // Replaced by the version that is there.
        Just(Condition::Version(Version::from_u64(u64::MAX))),
    ]
}

fn contexts() -> impl Strategy<Value = Context> {
    (0..40_u64, versions(), proptest::option::of(1..100_u64))
        .prop_map(|(ms, floor, max)| Context::at(Hlc::from_ms(ms * 5)).with_floor(floor).with_ttl_max_ms(max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn plain_rules_agree_with_the_whole_rules(
        held in proptest::option::of((versions(), expiries())),
        condition in conditions(),
        (expiry, keep) in (expiries(), any::<bool>()),
        ctx in contexts(),
    ) {
        let condition = match (condition, held) {
            (Condition::Version(wanted), Some((version, _))) if wanted.to_u64() == u64::MAX => {
                Condition::Version(version)
            }
            (condition, _) => condition,
        };
        let before = held.map(state);
        let whole = |operation: &Operation| {
            let current = before.as_ref().map_or(Current::Absent, Current::State);
            rules::decide(current, operation, None, &ctx).unwrap()
        };

        let lifetime = if keep { Lifetime::Keep(expiry) } else { Lifetime::Until(expiry) };
        let put = Operation::Put(Put {
            condition,
            lifetime,
            takes: None,
            tokens: Vec::new(),
            not_after_ms: None,
            head: Bytes::new(),
            body: Bytes::from_static(b"body"),
        });
        let decision = whole(&put);
        match write(held, condition, lifetime, &ctx) {
            Ok((version, expiry)) => {
                prop_assert_eq!(decision.outcome, Outcome::Written { version, expiry });
                prop_assert_eq!(decision.next, Some(state((version, expiry))));
            }
            Err(unchanged) => {
                prop_assert_eq!(decision.outcome, unchanged.into());
                prop_assert_eq!(decision.next, None);
            }
        }

        let decision = whole(&Operation::Touch { condition, expiry });
        match touch(held, condition, expiry, &ctx) {
            Ok((version, expiry)) => {
                prop_assert_eq!(decision.outcome, Outcome::Written { version, expiry });
                prop_assert_eq!(decision.next, Some(state((version, expiry))));
            }
            Err(unchanged) => {
                prop_assert_eq!(decision.outcome, unchanged.into());
                prop_assert_eq!(decision.next, None);
            }
        }

        // Of a delete what counts is what the one-acceptor path makes of it: nothing stays but the floor.
        let current = before.as_ref().map_or(Current::Absent, Current::State);
        let applied = single::apply(current, &Operation::Delete { condition }, None, &ctx).unwrap();
        match remove(held, condition, &ctx) {
            Ok(version) => {
                prop_assert_eq!(applied.outcome, Outcome::Deleted { version });
                prop_assert_eq!(applied.next, Next::Remove { floor: version });
            }
            Err(unchanged) => {
                prop_assert_eq!(applied.outcome, unchanged.into());
                prop_assert_eq!(applied.next, Next::Keep);
            }
        }
    }
}
