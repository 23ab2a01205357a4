//! Unit tests of the leases in memory.

use super::*;

fn grant(number: u32, deadline_ms: u64) -> LeaseGrant {
    let mut token = [0; 16];
    token[..4].copy_from_slice(&number.to_le_bytes());
    let key = Key::new(bytes::Bytes::copy_from_slice(&number.to_le_bytes())).unwrap();
    LeaseGrant { token: LeaseToken(token), namespace: NamespaceId(7), key, deadline_ms }
}

#[test]
fn leases_that_nothing_lists_are_bounded_and_those_that_ended_make_room() {
    let mut leases = Leases::default();
    for number in 0..UNLISTED_LEASES_MAX as u32 {
        let grant = grant(number, 100);
        leases.check(&grant, 0).unwrap();
        leases.grant(&grant, false, 1, 1);
    }
    let one_more = grant(u32::MAX, 100);
    assert!(matches!(leases.check(&one_more, 0), Err(StoreError::TooMany { .. })));
    // What is held goes on: an upload that is under way is not refused in the middle.
    leases.check(&grant(3, 200), 0).unwrap();
    assert!(leases.confirm(grant(3, 0).token, 2));
    leases.check(&one_more, 0).unwrap();
    leases.grant(&one_more, false, 3, 1);
    assert!(leases.check(&grant(u32::MAX - 1, 100), 0).is_err());
    let spent = Spent { remember_until_ms: 5, sequence: 4, was_unknown: false };
    leases.release(grant(9, 0).token, spent).unwrap();
    leases.check(&grant(u32::MAX - 1, 100), 0).unwrap();
}

#[test]
fn blobs_of_leases_that_nothing_lists_are_counted_until_they_are_listed_or_end() {
    let mut leases = Leases::default();
    let all = |leases: &Leases| -> u64 {
        leases.all().filter(|lease| !lease.confirmed).map(|lease| lease.blobs.len() as u64).sum()
    };
    for (number, confirmed) in [(1, false), (2, false), (3, true), (4, false)] {
        leases.grant(&grant(number, 100), confirmed, 1, 1);
        assert_eq!(leases.add_blobs(grant(number, 0).token, &[1, 2, number + 5]).len(), 3);
        assert_eq!(leases.add_blobs(grant(number, 0).token, &[1, 9]).len(), if number == 4 { 0 } else { 1 });
        assert_eq!(leases.unlisted_blobs, all(&leases));
    }
    assert_eq!(leases.unlisted_blobs, 11);
    leases.confirm(grant(1, 0).token, 2);
    leases.confirm(grant(1, 0).token, 2);
    assert_eq!(leases.unlisted_blobs, all(&leases));
    leases.grant(&grant(2, 100), true, 3, 1);
    assert_eq!(leases.unlisted_blobs, all(&leases));
    let spent = Spent { remember_until_ms: 5, sequence: 4, was_unknown: false };
    (1..=4).for_each(|number| drop(leases.release(grant(number, 0).token, spent)));
    assert_eq!(leases.unlisted_blobs, 0);

    leases.grant(&grant(1, 100), false, 5, 1);
    leases.unlisted_blobs = UNLISTED_BLOBS_MIN;
    let refused = leases.check_blobs(grant(1, 0).token, 1, 0);
    assert!(matches!(refused, Err(StoreError::TooMany { .. })), "{refused:?}");
    leases.check_blobs(grant(1, 0).token, 4, 1).unwrap();
    assert!(leases.check_blobs(grant(1, 0).token, 5, 1).is_err());
    leases.unlisted_blobs = 0;
    leases.confirm(grant(1, 0).token, 6);
    leases.unlisted_blobs = UNLISTED_BLOBS_MIN;
    leases.check_blobs(grant(1, 0).token, 1, 0).unwrap();
}

#[test]
fn only_tokens_that_were_never_granted_are_counted_as_such() {
    let mut leases = Leases::default();
    let spent = |until, was_unknown| Spent { remember_until_ms: until, sequence: until, was_unknown };
    for number in 0..9 {
        leases.release(LeaseToken([number; 16]), spent(5, number >= 7));
    }
    assert_eq!(leases.unknown_len(), 2);
    // A copy that compaction made, read after the original.
    leases.release(LeaseToken([8; 16]), spent(6, true));
    assert_eq!(leases.unknown_len(), 2);
    leases.forget_spent(6);
    assert_eq!(leases.unknown_len(), 1);
    leases.forget_spent(7);
    assert_eq!(leases.unknown_len(), 0);
}

#[test]
fn many_leases_of_one_record_are_one_entry_and_none_hides_another() {
    const MANY: u32 = 5_000;
    let mut leases = Leases::default();
    let of = |number: u32, key: &[u8]| LeaseGrant {
        key: Key::new(bytes::Bytes::copy_from_slice(key)).unwrap(),
        ..grant(number, 100)
    };
    let spent = Spent { remember_until_ms: 5, sequence: 4, was_unknown: false };
    for number in 0..MANY {
        leases.grant(&of(number, b"one"), false, 1, 1);
        leases.grant(&of(number, b"one"), false, 2, 1);
    }
    leases.grant(&of(MANY, b"other"), false, 1, 1);
    // What is looked through to find a place for one more does not grow with them.
    assert_eq!(leases.by_record.len(), 2);
    assert_eq!(leases.of_record(NamespaceId(7), b"one").len(), MANY as usize);
    assert_eq!(leases.of_record(NamespaceId(7), b"other"), [grant(MANY, 0).token]);
    assert!(leases.of_record(NamespaceId(8), b"one").is_empty());
    for number in (0..MANY).rev() {
        leases.release(grant(number, 0).token, spent).unwrap();
        assert!(leases.release(grant(number, 0).token, spent).is_none());
        let left = leases.of_record(NamespaceId(7), b"one");
        assert_eq!(left.len(), number as usize);
        assert!(!left.contains(&grant(number, 0).token));
    }
    leases.release(grant(MANY, 0).token, spent).unwrap();
    assert!(leases.by_record.is_empty());
}

#[test]
fn spent_tokens_are_bounded_and_the_first_that_may_be_forgotten_goes_first() {
    let mut leases = Leases::default();
    let max = SPENT_TOKENS_MAX as u32;
    let spent = |number: u32| Spent {
        remember_until_ms: 1_000 + u64::from(number),
        sequence: 1,
        was_unknown: number == 1,
    };
    for number in 0..max + 3 {
        leases.forget_spent(0);
        leases.release(grant(number, 0).token, spent(number));
    }
    leases.forget_spent(0);
    assert_eq!((leases.spent.len(), leases.spent_order.len()), (SPENT_TOKENS_MAX, SPENT_TOKENS_MAX));
    assert_eq!(leases.unknown_len(), 0);
    for number in 0..3 {
        assert!(leases.spent(grant(number, 0).token).is_none());
    }
    for number in [3, 4, max, max + 2] {
        assert!(leases.spent(grant(number, 0).token).is_some());
    }
}
