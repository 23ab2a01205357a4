//! Sealing and opening records, and every way of moving or changing them.

use larder_format::rng::SeededRng;
use proptest::prelude::*;

use super::*;

const NS: NamespaceId = NamespaceId(7);
const KEY: [u8; 32] = [3; 32];

fn place() -> RecordPlace<'static> {
    RecordPlace::new(NS, &KEY)
}

fn vault(seed: u64) -> (VaultRoot, RecordSealer, RecordOpener) {
    let mut rng = SeededRng::new(seed);
    let root = VaultRoot::generate(&mut rng);
    let sealer = RecordSealer::new(&root, 0, &mut rng);
    let opener = RecordOpener::new(&root);
    (root, sealer, opener)
}

proptest! {
    #[test]
    fn every_record_opens_to_what_was_sealed(
        head in prop::collection::vec(any::<u8>(), 0..2_000),
        body in prop::collection::vec(any::<u8>(), 0..5_000),
    ) {
        let (_, sealer, opener) = vault(1);
        let sealed = sealer.seal(place(), &head, &body).unwrap();
        prop_assert_eq!(check_head(&sealed.head), Ok(()));
        prop_assert_eq!(check_body(&sealed.body), Ok(SealedKind::Body));
        prop_assert_eq!(opener.open_head(place(), &sealed.head).unwrap(), head);
        prop_assert_eq!(opener.open_body(place(), &sealed.head, &sealed.body).unwrap(), body);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 3u8..5) {
        let (_, _, opener) = vault(1);
        let mut bytes = bytes;
        prop_assert!(opener.open_body(place(), &[], &bytes).is_err());
        if bytes.len() > 2 {
            bytes[0] = SUITE_1;
            bytes[1] = kind;
            prop_assert!(opener.open_head(place(), &bytes).is_err());
            prop_assert!(opener.open_body(place(), &[], &bytes).is_err());
        }
    }
}

#[test]
fn the_largest_head_and_body_fit_and_one_byte_more_does_not() {
    let (_, sealer, opener) = vault(1);
    let sealed = sealer.seal(place(), &vec![1; HEAD_PLAIN_LEN_MAX], &vec![2; BODY_PLAIN_LEN_MAX]).unwrap();
    assert!(sealed.head.len() <= HEAD_LEN_MAX);
    assert!(sealed.head.len() + sealed.body.len() <= VALUE_LEN_MAX);
    assert_eq!(opener.open_body(place(), &sealed.head, &sealed.body).unwrap().len(), BODY_PLAIN_LEN_MAX);
    assert!(matches!(
        sealer.seal_head(place(), &vec![1; HEAD_PLAIN_LEN_MAX + 1]),
        Err(SealError::TooLong { what: "head", .. })
    ));
    assert!(matches!(
        sealer.seal_body(place(), &[], &vec![1; BODY_PLAIN_LEN_MAX + 1]),
        Err(SealError::TooLong { what: "body", .. })
    ));
}

#[test]
fn every_flipped_byte_is_refused() {
    let (_, sealer, opener) = vault(1);
    let sealed = sealer.seal(place(), b"a head", b"a body").unwrap();
    for at in 0..sealed.head.len() {
        let mut bad = sealed.head.to_vec();
        bad[at] ^= 1;
        assert!(opener.open_head(place(), &bad).is_err(), "head at={at}");
        assert!(opener.open_body(place(), &bad, &sealed.body).is_err(), "body under head at={at}");
    }
    for at in 0..sealed.body.len() {
        let mut bad = sealed.body.to_vec();
        bad[at] ^= 1;
        assert!(opener.open_body(place(), &sealed.head, &bad).is_err(), "body at={at}");
    }
}

#[test]
fn a_record_opens_in_its_place_only() {
    let (_, sealer, opener) = vault(1);
    let (_, _, stranger) = vault(2);
    let sealed = sealer.seal(place(), b"a head", b"a body").unwrap();
    let damaged = Err(SealError::Damaged { what: "record head" });
    let other_key = RecordPlace::new(NS, &[4; 32]);
    let short_key = RecordPlace::new(NS, &KEY[..31]);
    let other_namespace = RecordPlace::new(NamespaceId(8), &KEY);
    for wrong in [other_key, short_key, other_namespace] {
        assert_eq!(opener.open_head(wrong, &sealed.head), damaged);
        assert!(opener.open_body(wrong, &sealed.head, &sealed.body).is_err());
    }
    assert_eq!(stranger.open_head(place(), &sealed.head), damaged);
    // A version's key of the same entry is the same place; of another entry it is not.
    let version_key = [&KEY[..], &9u64.to_be_bytes()].concat();
    assert!(opener.open_head(RecordPlace::new(NS, &version_key), &sealed.head).is_ok());
    let other_version_key = [&[4; 32][..], &9u64.to_be_bytes()].concat();
    assert_eq!(opener.open_head(RecordPlace::new(NS, &other_version_key), &sealed.head), damaged);
}

#[test]
fn a_body_opens_beside_its_own_head_only() {
    let (_, sealer, opener) = vault(1);
    let first = sealer.seal(place(), b"head one", b"body one").unwrap();
    let second = sealer.seal(place(), b"head two", b"body two").unwrap();
    assert_eq!(
        opener.open_body(place(), &second.head, &first.body),
        Err(SealError::Damaged { what: "record body" })
    );
    assert!(opener.open_body(place(), &[], &first.body).is_err());
    assert!(opener.open_head(place(), &first.body).is_err(), "a body is no head");
    assert!(opener.open_body(place(), &[], &first.head).is_err(), "a head is no body");
}

#[test]
fn nonces_never_repeat_within_a_session_and_sessions_differ() {
    let (root, sealer, _) = vault(1);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let sealed = sealer.seal(place(), b"same", b"same").unwrap();
        for part in [sealed.head, sealed.body] {
            assert!(seen.insert(part.slice(2..PART_HEADER_LEN)), "salt and counter repeat");
        }
    }
    let again = RecordSealer::new(&root, 0, &mut SeededRng::new(77));
    assert_ne!(
        again.seal_head(place(), b"x").unwrap()[6..22],
        sealer.seal_head(place(), b"x").unwrap()[6..22]
    );
}

#[test]
fn a_spent_session_stops() {
    let (_, sealer, _) = vault(1);
    sealer.counter.store(SESSION_PARTS_MAX, Ordering::Relaxed);
    assert_eq!(sealer.seal_head(place(), b"x"), Err(SealError::SessionSpent));
}

#[test]
fn older_generations_still_open() {
    let mut rng = SeededRng::new(1);
    let root = VaultRoot::generate(&mut rng);
    let opener = RecordOpener::new(&root);
    for generation in [0, 1, 500] {
        let sealed = RecordSealer::new(&root, generation, &mut rng).seal(place(), b"h", b"b").unwrap();
        assert_eq!(opener.open_head(place(), &sealed.head).unwrap(), &b"h"[..]);
    }
}

#[test]
fn the_cache_stays_bounded_and_forgeries_do_not_enter_it() {
    let mut rng = SeededRng::new(1);
    let root = VaultRoot::generate(&mut rng);
    let opener = RecordOpener::new(&root);
    for _ in 0..SESSION_CACHE_MAX + 10 {
        let head = RecordSealer::new(&root, 0, &mut rng).seal_head(place(), b"h").unwrap();
        opener.open_head(place(), &head).unwrap();
    }
    let held = opener.sessions.lock().unwrap().len();
    assert!(held <= SESSION_CACHE_MAX);
    let mut forged = RecordSealer::new(&root, 0, &mut rng).seal_head(place(), b"h").unwrap().to_vec();
    forged[8] ^= 1;
    assert!(opener.open_head(place(), &forged).is_err());
    assert_eq!(opener.sessions.lock().unwrap().len(), held);
}

#[test]
fn lengths_show_padded_sizes_only() {
    let (_, sealer, _) = vault(1);
    let len = |payload: usize| sealer.seal_head(place(), &vec![7; payload]).unwrap().len();
    assert_eq!(len(1), len(60));
    assert_eq!(len(1_000), len(1_020));
}

#[test]
fn padding_that_sealing_would_not_make_is_refused_even_under_the_right_key() {
    let (_, sealer, opener) = vault(1);
    let aad = place().associated_data(sealer.vault, SealedKind::Head, None);
    let seal = |padded: &[u8]| {
        let mut part = vec![0; padded.len() + PART_OVERHEAD_LEN];
        let (header, sealed) = part.split_at_mut(PART_HEADER_LEN);
        header[0] = SUITE_1;
        header[1] = SealedKind::Head.byte();
        header[6..22].copy_from_slice(&sealer.salt);
        sealer.key.seal(nonce(0), &aad, padded, sealed).unwrap();
        part
    };
    let mut padded = [0; 64];
    padded[..6].copy_from_slice(&[2, 0, 0, 0, b'o', b'k']);
    assert_eq!(opener.open_head(place(), &seal(&padded)).unwrap(), &b"ok"[..]);
    let refused = Err(SealError::Contradiction { what: "padding" });
    let with = |at: usize, byte: u8| {
        let mut changed = padded;
        changed[at] = byte;
        changed
    };
    assert_eq!(opener.open_head(place(), &seal(&with(50, 1))), refused, "not zero");
    assert_eq!(opener.open_head(place(), &seal(&with(0, 61))), refused, "longer than what is there");
    assert_eq!(opener.open_head(place(), &seal(&[padded, [0; 64]].concat())), refused, "padded too far");
}
