//! Semantics of each verb on small examples; the simulation covers their combinations.

use bytes::Bytes;
use larder_format::ids::OperationId;
use larder_format::operation::{Lifetime, Put};
use larder_format::record::{Content, ShadowReason};

use super::*;

fn at(ms: u64) -> Context {
    Context::at(Hlc::from_ms(ms))
}

fn value(takes: Option<u32>, condition: Condition, lifetime: Lifetime) -> Operation {
    Operation::Put(Put {
        condition,
        lifetime,
        takes,
        tokens: Vec::new(),
        not_after_ms: None,
        head: Bytes::from_static(b"h"),
        body: Bytes::from_static(b"b"),
    })
}

fn until(ms: u64) -> Lifetime {
    Lifetime::Until(Expiry::at_ms(ms))
}

fn now(state: Option<&RecordState>, operation: &Operation, ctx: Context) -> Decision {
    decide(state.map_or(Current::Absent, Current::State), operation, None, &ctx).unwrap()
}

#[test]
fn conditions_see_an_expired_value_as_absent() {
    let first = now(None, &value(None, Condition::Absent, until(50)), at(10)).next.unwrap();
    let absent = value(None, Condition::Absent, until(90));
    assert_eq!(
        now(Some(&first), &absent, at(49)).outcome,
        Outcome::Conflict { current: Some(first.version) }
    );
    assert!(matches!(now(Some(&first), &absent, at(50)).outcome, Outcome::Written { .. }));
    let same = value(None, Condition::Version(first.version), until(90));
    assert_eq!(now(Some(&first), &same, at(50)).outcome, Outcome::Conflict { current: None });
    // It rests on the value before, so it must be accepted before that one's end.
    assert_eq!(now(Some(&first), &same, at(49)).holds_before_ms, 50);
}

#[test]
fn expiries_are_checked_and_a_kept_one_stays() {
    let limited = at(10).with_ttl_max_ms(Some(100));
    let refused = |o: &Operation| now(None, o, limited).outcome;
    assert_eq!(refused(&value(None, Condition::Any, until(10))), Outcome::Refused(Refusal::BornExpired));
    assert_eq!(
        refused(&value(None, Condition::Any, until(111))),
        Outcome::Refused(Refusal::ExpiryTooFar { max_ttl_ms: 100 })
    );
    assert_eq!(
        refused(&value(None, Condition::Any, Lifetime::Until(Expiry::NEVER))),
        Outcome::Refused(Refusal::ExpiryTooFar { max_ttl_ms: 100 })
    );
    let first = now(None, &value(None, Condition::Any, until(110)), limited).next.unwrap();
    let keep = value(None, Condition::Any, Lifetime::Keep(Expiry::at_ms(60)));
    assert_eq!(now(Some(&first), &keep, limited).next.unwrap().expiry, Expiry::at_ms(110));
    assert_eq!(now(None, &keep, limited).next.unwrap().expiry, Expiry::at_ms(60));
}

#[test]
fn a_value_is_taken_as_often_as_it_allows_and_get_never_shows_it() {
    let mut state = now(None, &value(Some(2), Condition::Any, until(50)), at(10)).next.unwrap();
    let Outcome::Found(found) = now(Some(&state), &Operation::Get, at(11)).outcome else {
        panic!("it is there")
    };
    assert_eq!((found.takes_left, found.head.len(), found.body.len()), (Some(2), 0, 0));
    for left in [1, 0] {
        let taken = now(Some(&state), &Operation::Take, at(11));
        assert!(
            matches!(taken.outcome, Outcome::Taken { takes_left, ref body, .. } if takes_left == left && body == "b")
        );
        let next = taken.next.unwrap();
        assert!(next.version > state.version);
        state = next;
    }
    assert_eq!(state.content, Content::Shadow(ShadowReason::Taken));
    assert_eq!(now(Some(&state), &Operation::Take, at(11)).outcome, Outcome::Absent);
    let ordinary = now(None, &value(None, Condition::Any, until(50)), at(10)).next.unwrap();
    assert_eq!(
        now(Some(&ordinary), &Operation::Take, at(11)).outcome,
        Outcome::Refused(Refusal::NotTakeable)
    );
    for takes in [0, larder_format::limits::TAKES_MAX + 1] {
        assert_eq!(
            now(None, &value(Some(takes), Condition::Any, until(50)), at(10)).outcome,
            Outcome::Refused(Refusal::TakesOutOfRange)
        );
    }
}

#[test]
fn touch_keeps_the_bytes_and_the_takes_left() {
    let state = now(None, &value(Some(3), Condition::Any, until(50)), at(10)).next.unwrap();
    let touch = Operation::Touch { condition: Condition::Any, expiry: Expiry::at_ms(70) };
    let touched = now(Some(&state), &touch, at(20)).next.unwrap();
    assert_eq!((touched.expiry, &touched.content), (Expiry::at_ms(70), &state.content));
    assert_eq!(now(Some(&state), &touch, at(50)).outcome, Outcome::Absent);
}

#[test]
fn a_write_at_its_not_after_is_refused() {
    let Operation::Put(plain) = value(None, Condition::Any, until(500)) else { unreachable!() };
    let write = Operation::Put(Put { not_after_ms: Some(30), ..plain });
    assert_eq!(now(None, &write, at(29)).holds_before_ms, 30);
    assert_eq!(now(None, &write, at(30)).outcome, Outcome::Refused(Refusal::NotAfter));
}

#[test]
fn operations_are_remembered_until_their_deadline_and_only_so_many() {
    let write = value(None, Condition::Any, Lifetime::Until(Expiry::NEVER));
    let mut state: Option<RecordState> = None;
    let mut run = |n: u8, deadline_ms: u64, ms: u64| {
        let identity = Identity { id: OperationId([n; 16]), deadline_ms };
        let current = state.as_ref().map_or(Current::Absent, Current::State);
        let decision = decide(current, &write, Some(&identity), &at(ms)).unwrap();
        if let Some(next) = decision.next {
            state = Some(next);
        }
        (decision.outcome, state.as_ref().map_or(0, |s| s.operations.len()))
    };
    let (first, _) = run(0, 100, 10);
    for n in 1..RECORD_OPERATIONS_MAX {
        assert!(matches!(run(n as u8, 100, 11).0, Outcome::Written { .. }));
    }
    assert_eq!(run(200, 100, 12).0, Outcome::Refused(Refusal::TooManyOperations));
    assert_eq!(run(0, 100, 99).0, first);
    assert_eq!(run(0, 100, 100).0, Outcome::Refused(Refusal::DeadlinePassed));
    assert_eq!(run(201, 200, 100).1, 1, "the others' deadlines have passed");
    let too_far = OPERATION_DEADLINE_MS_MAX + 101;
    assert!(matches!(run(202, too_far, 100).0, Outcome::Refused(Refusal::DeadlineTooFar { .. })));
}

#[test]
fn results_handed_to_takers_are_remembered_up_to_a_number_of_bytes() {
    let body = Bytes::from(vec![7; RECORD_REMEMBERED_BYTES_MAX / 3]);
    let Operation::Put(plain) = value(Some(60), Condition::Any, Lifetime::Until(Expiry::NEVER)) else {
        unreachable!()
    };
    let put = Operation::Put(Put { body: body.clone(), head: Bytes::new(), ..plain });
    let mut state = now(None, &put, at(10)).next.unwrap();
    let mut take = |n: u8, ms: u64| {
        let identity = Identity { id: OperationId([n; 16]), deadline_ms: 1_000 };
        let decision = decide(Current::State(&state), &Operation::Take, Some(&identity), &at(ms)).unwrap();
        if let Some(next) = decision.next {
            state = next;
        }
        decision.outcome
    };
    for n in 0..3 {
        assert!(matches!(take(n, 20), Outcome::Taken { .. }));
    }
    assert_eq!(take(3, 30), Outcome::Refused(Refusal::TooManyOperations));
    assert!(matches!(take(1, 40), Outcome::Taken { .. }), "one that is remembered is told again");
    assert!(
        matches!(
            decide(Current::State(&state), &Operation::Take, None, &at(50)).unwrap().outcome,
            Outcome::Taken { takes_left: 56, .. }
        ),
        "without an id nothing is remembered"
    );
}
