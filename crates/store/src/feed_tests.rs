//! The ring: order, bounds, loss, lives.

use super::*;
use larder_format::rng::{Rng, SeededRng};

const NS: NamespaceId = NamespaceId(7);

fn change(version: u64) -> Change {
    Change { kind: EventKind::Changed, version: Version::from_u64(version) }
}

fn all(feed: &Feed, mut from: Position, through: u64) -> Result<Vec<(u64, Vec<u8>, Change)>, Lost> {
    let mut out = Vec::new();
    loop {
        let looked =
            feed.look(from, through, |event| out.push((event.sequence, event.key.to_vec(), event.change)))?;
        from.sequence = looked.through;
        if !looked.more {
            return Ok(out);
        }
    }
}

#[test]
fn a_reader_sees_what_came_after_it_and_nothing_beyond_what_is_durable() {
    let feed = Feed::new(1, 10, true);
    let start = feed.position();
    for number in [12, 15, 19] {
        feed.push(number, NS, &[number as u8], change(number * 100));
    }
    let seen = all(&feed, start, 15).unwrap();
    assert_eq!(seen, vec![(12, vec![12], change(1200)), (15, vec![15], change(1500))]);
    let rest = all(&feed, Position { sequence: 15, ..start }, u64::MAX).unwrap();
    assert_eq!(rest, vec![(19, vec![19], change(1900))]);
    assert_eq!(feed.newest_of(NS).sequence, 19);
    assert_eq!(feed.newest_of(NamespaceId(8)).sequence, 0);
}

#[test]
fn a_position_of_another_life_or_from_the_future_is_lost() {
    let feed = Feed::new(1, 10, true);
    let here = feed.position();
    feed.push(11, NS, b"k", change(1));
    assert_eq!(all(&feed, Position { life: 2, ..here }, 99), Err(Lost));
    assert_eq!(all(&feed, Position { sequence: 12, ..here }, 99), Err(Lost));
    assert_eq!(all(&feed, Position { sequence: 9, ..here }, 99), Err(Lost));
    feed.break_off();
    assert_eq!(all(&feed, here, 99), Err(Lost));
    assert_eq!(all(&feed, feed.position(), 99), Ok(Vec::new()));
}

#[test]
fn the_ring_is_bounded_and_never_loses_silently() {
    let mut rng = SeededRng::new(3);
    let max = 3 * PIECE_LEN;
    let feed = Feed::bounded(5, 0, true, max);
    let mut truth = Vec::new();
    let mut sequence = 0;
    for step in 0..20_000_u64 {
        sequence += 1 + rng.below(3);
        let mut key = vec![0; 1 + usize::try_from(rng.below(60)).unwrap()];
        rng.fill(&mut key);
        feed.push(sequence, NS, &key, change(step));
        truth.push((sequence, key, change(step)));
        assert!(feed.ring.read().bytes <= max + PIECE_LEN);
        if step % 97 == 0 {
            let from = truth[usize::try_from(rng.below(truth.len() as u64)).unwrap()].0;
            let wanted: Vec<_> = truth.iter().filter(|(s, ..)| *s > from).cloned().collect();
            match all(&feed, Position { life: 5, sequence: from }, u64::MAX) {
                Ok(seen) => assert_eq!(seen, wanted),
                Err(Lost) => assert!(from < feed.ring.read().lost_through),
            }
        }
    }
    assert!(feed.ring.read().lost_through > 0, "the test has to overflow the ring");
}

#[test]
fn a_feed_that_was_off_says_so() {
    let feed = Feed::new(1, 0, false);
    feed.push_next(NS, b"nobody sees this", change(1));
    assert_eq!(feed.newest(), 0);
    feed.turn_on();
    let here = feed.position();
    feed.push_next(NS, b"a", change(2));
    assert_eq!(all(&feed, here, u64::MAX).unwrap(), vec![(1, b"a".to_vec(), change(2))]);
    feed.turn_on();
    assert!(all(&feed, here, u64::MAX).is_ok(), "turning on what is on loses nothing");
    feed.turn_off();
    feed.push_next(NS, b"b", change(3));
    feed.turn_on();
    assert_eq!(all(&feed, here, u64::MAX), Err(Lost));
}
