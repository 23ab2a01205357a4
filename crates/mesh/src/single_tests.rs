//! The one-acceptor path: what is dropped, what the floor keeps, when bytes are needed.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::OperationId;
use larder_format::operation::{Condition, Identity, Lifetime, Operation, Outcome, Put, Refusal};
use larder_format::record::{Expiry, RecordState, Version};

use super::*;

fn at(ms: u64) -> Context {
    Context::at(Hlc::from_ms(ms))
}

fn put(expiry: Expiry) -> Operation {
    Operation::Put(Put {
        condition: Condition::Any,
        lifetime: Lifetime::Until(expiry),
        takes: None,
        tokens: Vec::new(),
        not_after_ms: None,
        head: Bytes::from_static(b"head"),
        body: Bytes::from_static(b"body"),
    })
}

fn id(n: u8, deadline_ms: u64) -> Identity {
    Identity { id: OperationId([n; 16]), deadline_ms }
}

fn run(
    state: &mut Option<RecordState>,
    floor: &mut Version,
    operation: &Operation,
    identity: Option<Identity>,
    ctx: Context,
) -> Outcome {
    let current = state.as_ref().map_or(Current::Absent, Current::State);
    let applied = apply(current, operation, identity.as_ref(), &ctx.with_floor(*floor)).unwrap();
    match applied.next {
        Next::Keep => {}
        Next::Store(next) => *state = Some(next),
        Next::Remove { floor: raised } => {
            *state = None;
            *floor = raised.max(*floor);
        }
    }
    applied.outcome
}

#[test]
fn a_deleted_record_leaves_only_a_floor_and_the_next_version_is_above_it() {
    let (mut state, mut floor) = (None, Version(Hlc::ZERO));
    // The clock stands still, so only previous version and floor make versions rise.
    let Outcome::Written { version: first, .. } =
        run(&mut state, &mut floor, &put(Expiry::NEVER), None, at(5))
    else {
        panic!("a put with no condition writes");
    };
    let delete = Operation::Delete { condition: Condition::Version(first) };
    let Outcome::Deleted { version: second } = run(&mut state, &mut floor, &delete, None, at(5)) else {
        panic!("the version is there");
    };
    assert_eq!(state, None);
    assert_eq!(floor, second);
    let Outcome::Written { version: third, .. } =
        run(&mut state, &mut floor, &put(Expiry::NEVER), None, at(5))
    else {
        panic!("a put with no condition writes");
    };
    assert!(first < second && second < third);
}

#[test]
fn a_delete_with_an_id_is_remembered_until_its_deadline_and_then_swept() {
    let (mut state, mut floor) = (None, Version(Hlc::ZERO));
    run(&mut state, &mut floor, &put(Expiry::NEVER), None, at(5));
    let delete = Operation::Delete { condition: Condition::Any };
    let first = run(&mut state, &mut floor, &delete, Some(id(1, 100)), at(6));
    assert!(matches!(first, Outcome::Deleted { .. }));
    assert_eq!(run(&mut state, &mut floor, &delete, Some(id(1, 100)), at(7)), first);
    assert_eq!(run(&mut state, &mut floor, &delete, Some(id(2, 100)), at(7)), Outcome::Absent);
    let shadow = state.clone().unwrap();
    assert_eq!(sweep(Current::Meta(&shadow.meta()), &at(99)), Err(NeedState));
    assert_eq!(sweep(Current::State(&shadow), &at(99)), Ok(Next::Keep));
    assert_eq!(sweep(Current::State(&shadow), &at(100)), Ok(Next::Remove { floor: shadow.version }));
    assert_eq!(
        run(&mut state, &mut floor, &delete, Some(id(1, 100)), at(100)),
        Outcome::Refused(Refusal::DeadlinePassed)
    );
}

#[test]
fn an_expired_value_frees_its_bytes_before_its_operations_may_be_forgotten() {
    let (mut state, mut floor) = (None, Version(Hlc::ZERO));
    run(&mut state, &mut floor, &put(Expiry::at_ms(50)), Some(id(1, 100)), at(5));
    let live = state.clone().unwrap();
    assert_eq!(sweep(Current::State(&live), &at(49)), Ok(Next::Keep));
    let Ok(Next::Store(shadow)) = sweep(Current::State(&live), &at(50)) else {
        panic!("the result of the put must still be known");
    };
    assert_eq!((shadow.value_len(), shadow.operations.len()), (0, 1));
    assert_eq!(sweep(Current::State(&shadow), &at(100)), Ok(Next::Remove { floor: live.version }));
}

/// Whatever [`needs_state`] says can be decided from the small part is, and to the same effect.
#[test]
fn needs_state_agrees_with_apply() {
    let mut state = None;
    let mut floor = Version(Hlc::ZERO);
    let takeable = Operation::Put(Put {
        takes: Some(2),
        ..match put(Expiry::at_ms(50)) {
            Operation::Put(p) => p,
            _ => unreachable!(),
        }
    });
    let mut states: Vec<Option<RecordState>> = vec![None];
    for (operation, identity) in [
        (put(Expiry::at_ms(50)), None),
        (put(Expiry::NEVER), Some(id(1, 40))),
        (takeable, None),
        (Operation::Take, None),
    ] {
        run(&mut state, &mut floor, &operation, identity, at(5));
        states.push(state.clone());
    }
    run(&mut state, &mut floor, &Operation::Delete { condition: Condition::Any }, Some(id(3, 40)), at(6));
    states.push(state.clone());
    let operations = [
        Operation::Get,
        put(Expiry::NEVER),
        Operation::Touch { condition: Condition::Any, expiry: Expiry::at_ms(80) },
        Operation::Delete { condition: Condition::Any },
        Operation::Take,
    ];
    let mut decided_from_meta = 0;
    for state in &states {
        for operation in &operations {
            for identity in [None, Some(id(9, 90)), Some(id(1, 40))] {
                for ms in [6, 45, 60] {
                    let Some(state) = state else { continue };
                    let meta = state.meta();
                    let whole = apply(Current::State(state), operation, identity.as_ref(), &at(ms)).unwrap();
                    let small = apply(Current::Meta(&meta), operation, identity.as_ref(), &at(ms));
                    if !needs_state(Some(&meta), operation, identity.as_ref()) {
                        decided_from_meta += 1;
                        assert_eq!(small, Ok(whole));
                    } else if let Ok(small) = small {
                        assert_eq!(small, whole);
                    }
                }
            }
        }
    }
    assert!(decided_from_meta > 20, "the comparison must not be empty");
}
