//! One attempt on small hand-made exchanges; the simulation covers their combinations.

use larder_format::operation::{Identity, Refusal};

use super::*;
use crate::message::Summary;
use crate::planted::Faults;
use crate::proposer::ProposerConfig;

const BOUND_MS: u64 = 40;

fn proposer() -> Proposer {
    let config = ProposerConfig {
        replicas: 3,
        nearest: 0,
        ttl_max_ms: None,
        clock_bound_ms: BOUND_MS,
        faults: Faults::NONE,
    };
    Proposer::new(config, 7, 0)
}

fn delete(proposer: &mut Proposer, wall_ms: u64) -> (Attempt, Vec<Action>) {
    delete_as(proposer, wall_ms, None)
}

fn delete_as(proposer: &mut Proposer, wall_ms: u64, identity: Option<Identity>) -> (Attempt, Vec<Action>) {
    let operation = Operation::Delete { condition: larder_format::operation::Condition::Any };
    let task = Task { key: Key::new("k").unwrap(), operation, identity, confirm: false };
    let mut out = Vec::new();
    let attempt = Attempt::start(proposer, task, wall_ms, &mut out);
    (attempt, out)
}

fn reply(attempt: &Attempt, high_ms: u64, answer: Answer) -> Reply {
    Reply { tag: attempt.tag(), epoch: 0, high: Hlc::from_ms(high_ms), answer }
}

#[test]
fn a_request_that_was_long_on_its_way_is_asked_again_with_a_fresh_time() {
    let mut proposer = proposer();
    let (mut attempt, mut out) = delete(&mut proposer, 1_000);
    // Our clock says 1,025 when the answers come; theirs said 1,045, which is within the bound of it.
    for from in [1, 2] {
        let late = reply(&attempt, 1_045, Answer::Refused(Refused::ClockBehind));
        attempt.on_reply(&mut proposer, from, late, 1_025, &mut out);
    }
    assert!(!out.iter().any(|action| matches!(action, Action::Done(_))), "{out:?}");
    out.clear();
    let tag = attempt.tag();
    attempt.on_timer(&mut proposer, tag, 1_026, &mut out);
    let fresh = |action: &Action| match action {
        Action::Send { request, .. } => request.now >= Hlc::from_ms(1_045),
        _ => true,
    };
    assert!(out.iter().all(fresh) && out.len() > 3, "{out:?}");
    for from in [1, 2] {
        let nothing = Summary { accepted: Ballot::ZERO, floor: Ballot::ZERO, meta: None, state: None };
        let seen = reply(&attempt, 1_046, Answer::Seen(nothing));
        attempt.on_reply(&mut proposer, from, seen, 1_027, &mut out);
    }
    assert!(out.contains(&Action::Done(Ok(Outcome::Absent))), "{out:?}");
}

#[test]
fn clocks_that_differ_beyond_the_bound_are_said_to() {
    for (refused, high_ms) in [(Refused::ClockBehind, 1_026 + BOUND_MS), (Refused::ClockAhead, 900)] {
        let mut proposer = proposer();
        let (mut attempt, mut out) = delete(&mut proposer, 1_000);
        for from in [1, 2] {
            let far = reply(&attempt, high_ms, Answer::Refused(refused));
            attempt.on_reply(&mut proposer, from, far, 1_025, &mut out);
        }
        assert!(
            out.contains(&Action::Done(Ok(Outcome::Refused(Refusal::ClockAhead)))),
            "{refused:?} {out:?}"
        );
    }
}

#[test]
fn too_late_by_a_clock_that_nobody_shares_is_asked_again_and_by_one_that_others_share_is_refused() {
    let nothing = || Summary { accepted: Ballot::ZERO, floor: Ballot::ZERO, meta: None, state: None };
    let refused = Action::Done(Ok(Outcome::Refused(Refusal::DeadlinePassed)));
    for (high_ms, is_shared) in
        [(1_030, false), (1_079 - BOUND_MS, false), (1_080 - BOUND_MS, true), (1_100, true)]
    {
        let mut proposer = proposer();
        let identity = Identity { id: larder_format::ids::OperationId([1; 16]), deadline_ms: 1_080 };
        // Our clock says 1,100; those who answer are at most the bound ahead of what they say.
        let (mut attempt, mut out) = delete_as(&mut proposer, 1_100, Some(identity));
        for from in [1, 2] {
            let seen = reply(&attempt, high_ms, Answer::Seen(nothing()));
            attempt.on_reply(&mut proposer, from, seen, 1_100, &mut out);
        }
        assert_eq!(out.contains(&refused), is_shared, "{high_ms} {out:?}");
        assert_eq!(
            out.iter().any(|action| matches!(action, Action::Done(_))),
            is_shared,
            "{high_ms} {out:?}"
        );
    }
}
