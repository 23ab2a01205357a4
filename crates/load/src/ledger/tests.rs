//! The ledger against every order of a few writes and reads of one key on a register that is right, and against
//! registers that are not.

use larder_format::rng::{Rng, SeededRng};

use super::*;

fn judge(ledger: &Ledger, expected: Expected, seen: Option<u32>) -> Verdict {
    ledger.judge(0, expected, seen.map(values::Read::Generation), 0, 0)
}

#[test]
fn what_was_acknowledged_must_be_seen() {
    let ledger = Ledger::new(1, None, Slack::MILLISECONDS);
    let before = ledger.begin_read(0);
    assert_eq!(judge(&ledger, before, None), Verdict::Absent, "never written");
    let first = ledger.begin_write(0).unwrap();
    assert_eq!(judge(&ledger, before, Some(1)), Verdict::Right, "under way");
    assert_eq!(judge(&ledger, before, None), Verdict::Absent);
    assert_eq!(judge(&ledger, before, Some(2)), Verdict::Wrong, "never sent");
    ledger.end_write(0, first, Ended::Stored, 0, 0);
    let after = ledger.begin_read(0);
    assert_eq!(judge(&ledger, after, None), Verdict::Missing);
    let second = ledger.begin_write(0).unwrap();
    ledger.end_write(0, second, Ended::Stored, 0, 0);
    assert_eq!(judge(&ledger, after, Some(1)), Verdict::Right, "sent before the second was acknowledged");
    assert_eq!(judge(&ledger, after, Some(2)), Verdict::Right);
    let later = ledger.begin_read(0);
    assert_eq!(judge(&ledger, later, Some(1)), Verdict::Stale);
    assert_eq!(ledger.judge(0, later, Some(values::Read::Torn), 0, 0), Verdict::Torn);
    assert_eq!(ledger.judge(0, later, Some(values::Read::Foreign), 0, 0), Verdict::Wrong);
}

#[test]
fn nothing_is_concluded_from_writes_that_overlapped_or_are_unknown() {
    let ledger = Ledger::new(1, None, Slack::MILLISECONDS);
    let one = ledger.begin_write(0).unwrap();
    let two = ledger.begin_write(0).unwrap();
    ledger.end_write(0, two, Ended::Stored, 0, 0);
    ledger.end_write(0, one, Ended::Stored, 0, 0);
    let read = ledger.begin_read(0);
    assert_eq!(judge(&ledger, read, Some(1)), Verdict::Right, "either may have come last");
    assert_eq!(judge(&ledger, read, Some(2)), Verdict::Right);
    let lost = ledger.begin_write(0).unwrap();
    ledger.end_write(0, lost, Ended::Unknown, 0, 0);
    let four = ledger.begin_write(0).unwrap();
    ledger.end_write(0, four, Ended::Stored, 0, 0);
    assert_eq!(judge(&ledger, ledger.begin_read(0), Some(3)), Verdict::Right, "it may come at any time");
    let refused = Ledger::new(1, None, Slack::MILLISECONDS);
    let write = refused.begin_write(0).unwrap();
    refused.end_write(0, write, Ended::Refused, 0, 0);
    assert_eq!(judge(&refused, refused.begin_read(0), None), Verdict::Absent);
}

#[test]
fn a_value_may_go_when_its_time_is_up_and_not_before_and_must_not_stay() {
    let ledger = Ledger::new(1, Some(5_000), Slack::MILLISECONDS);
    let write = ledger.begin_write(0).unwrap();
    ledger.end_write(0, write, Ended::Stored, 1_000, 1_100);
    let read = ledger.begin_read(0);
    let at = |seen: Option<u32>, sent_ms, now_ms| {
        ledger.judge(0, read, seen.map(values::Read::Generation), sent_ms, now_ms)
    };
    assert_eq!(at(None, 5_900, 5_970), Verdict::Missing);
    assert_eq!(at(None, 5_900, 6_000), Verdict::Absent);
    assert_eq!(at(Some(1), 7_100, 7_200), Verdict::Right, "within what clocks may differ");
    assert_eq!(at(Some(1), 7_101, 7_200), Verdict::Outlived);
    let _second = ledger.begin_write(0).unwrap();
    let beside = ledger.begin_read(0);
    assert_eq!(
        ledger.judge(0, beside, Some(values::Read::Generation(1)), 9_000, 9_000),
        Verdict::Right,
        "a write is under way: nothing is said of when it arrives"
    );
}

#[test]
fn numbers_wrap_and_too_many_writes_at_once_are_not_begun() {
    let ledger = Ledger::new(1, None, Slack::MILLISECONDS);
    ledger.keys[0].store(pack(MASK - 1, MASK - 2, 0), Ordering::Release);
    for expected in [MASK, 0, 1, 2] {
        let write = ledger.begin_write(0).unwrap();
        assert_eq!(u64::from(write.generation), expected);
        ledger.end_write(0, write, Ended::Stored, 0, 0);
        assert_eq!(judge(&ledger, ledger.begin_read(0), Some(write.generation)), Verdict::Right);
    }
    assert_eq!(judge(&ledger, ledger.begin_read(0), Some(1)), Verdict::Stale);
    for _ in 0..WRITES_MAX {
        assert!(ledger.begin_write(0).is_some());
    }
    assert!(ledger.begin_write(0).is_none());
}

/// Random interleavings of operations that each take effect somewhere between begin and end, on a register that is
/// right: no read is ever accused.
#[test]
fn a_right_register_is_never_accused() {
    #[derive(Clone)]
    enum Doing {
        Write { write: Write, took_effect: bool },
        Read { expected: Expected, saw: Option<Option<u32>> },
    }
    for seed in 0..2_000 {
        let mut rng = SeededRng::new(seed);
        let ledger = Ledger::new(1, None, Slack::MILLISECONDS);
        let (mut register, mut doing): (Option<u32>, Vec<Doing>) = (None, Vec::new());
        for _ in 0..60 {
            if doing.len() < 5 && rng.below(2) == 0 {
                doing.push(if rng.below(2) == 0 {
                    Doing::Write { write: ledger.begin_write(0).unwrap(), took_effect: false }
                } else {
                    Doing::Read { expected: ledger.begin_read(0), saw: None }
                });
            } else if !doing.is_empty() {
                let at = usize::try_from(rng.below(doing.len() as u64)).unwrap();
                match doing[at].clone() {
                    Doing::Write { write, took_effect: false } => {
                        register = Some(write.generation);
                        doing[at] = Doing::Write { write, took_effect: true };
                    }
                    Doing::Write { write, .. } => {
                        ledger.end_write(0, write, Ended::Stored, 0, 0);
                        doing.remove(at);
                    }
                    Doing::Read { expected, saw: None } => {
                        doing[at] = Doing::Read { expected, saw: Some(register) };
                    }
                    Doing::Read { expected, saw: Some(saw) } => {
                        let verdict = judge(&ledger, expected, saw);
                        assert!(
                            matches!(verdict, Verdict::Right | Verdict::Absent),
                            "seed {seed}: {verdict:?}"
                        );
                        doing.remove(at);
                    }
                }
            }
        }
    }
}
