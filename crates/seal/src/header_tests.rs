//! Opening, changing and tampering with vault headers.

use larder_format::codec::Writer;
use larder_format::rng::SeededRng;

use super::encoding::{CHECKSUM_CONTEXT, CHECKSUM_LEN};
use super::notes::{LABEL_LEN_MAX, Note};
use super::*;
use crate::primitives::Secret;
use crate::recipient::Identity;
use crate::recovery::RecoveryCode;

/// Cheap, so that tests that flip every byte finish.
const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 32, passes: 1, lanes: 2 };

fn phrase(text: &str) -> Unlock<'_> {
    Unlock::Passphrase(text.as_bytes())
}

fn made() -> (VaultRoot, VaultHeader, RecoveryCode) {
    let mut rng = SeededRng::new(11);
    let root = VaultRoot::generate(&mut rng);
    let mut header = VaultHeader::create(&root, phrase("apples"), CHEAP, &mut rng).unwrap();
    let code = RecoveryCode::generate(&mut rng);
    header.add_slot(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng).unwrap();
    (root, header, code)
}

#[test]
fn both_slots_open_the_same_root_and_nothing_else_does() {
    let (root, header, code) = made();
    let header = VaultHeader::decode(&header.encode()).unwrap();
    for unlock in [phrase("apples"), Unlock::RecoveryCode(&code)] {
        assert_eq!(header.open(unlock).unwrap().secret().expose(), root.secret().expose());
    }
    assert_eq!(header.open(phrase("pears")).unwrap_err(), SealError::WrongSecret { what: "passphrase" });
    assert_eq!(header.open(phrase("")).unwrap_err(), SealError::WrongSecret { what: "passphrase" });
    let other = RecoveryCode::generate(&mut SeededRng::new(12));
    assert_eq!(
        header.open(Unlock::RecoveryCode(&other)).unwrap_err(),
        SealError::WrongSecret { what: "recovery code" }
    );
}

#[test]
fn changing_the_passphrase_rewraps_only() {
    let (root, mut header, code) = made();
    let before = (header.revision(), header.public(), header.vault());
    header.replace_slots(&root, phrase("quinces"), CHEAP, &mut SeededRng::new(5)).unwrap();
    assert!(header.revision() > before.0);
    assert_eq!((header.public(), header.vault()), (before.1, before.2));
    assert_eq!(header.slots().len(), 2);
    assert!(header.open(phrase("apples")).is_err());
    assert_eq!(header.open(phrase("quinces")).unwrap().secret().expose(), root.secret().expose());
    assert!(header.open(Unlock::RecoveryCode(&code)).is_ok());
}

#[test]
fn the_last_way_in_cannot_be_removed() {
    let (root, mut header, _) = made();
    header.remove_slot(&root, 1).unwrap();
    assert!(matches!(header.remove_slot(&root, 0), Err(SealError::Slots { .. })));
    assert!(matches!(header.remove_slot(&root, 7), Err(SealError::Slots { .. })));
    assert!(header.open(phrase("apples")).is_ok());
}

#[test]
fn slots_of_kinds_yet_unknown_survive_rewriting() {
    let (root, mut header, _) = made();
    let unknown = Slot { kind: 9, body: Bytes::from(vec![0xab; 2_400]) };
    header.slots.insert(0, unknown.clone());
    header.renew(&root).unwrap();
    let mut header = VaultHeader::decode(&header.encode()).unwrap();
    header.replace_slots(&root, phrase("quinces"), CHEAP, &mut SeededRng::new(5)).unwrap();
    let header = VaultHeader::decode(&header.encode()).unwrap();
    assert!(header.slots().contains(&unknown));
    assert!(header.open(phrase("quinces")).is_ok());
}

/// A header as an earlier program wrote it, with the secrets that open it: the committed vector.
fn old() -> (VaultHeader, RecoveryCode) {
    let text = include_str!("../tests/vectors/v1/sealed.txt");
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    let hex = field("header");
    let bytes: Vec<u8> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let header = VaultHeader::decode(&bytes.clone().into()).unwrap();
    assert_eq!(header.encode(), bytes, "what was format 1 stays format 1 until it is changed");
    (header, RecoveryCode::parse(field("recovery")).unwrap())
}

#[test]
fn every_flipped_byte_is_noticed_and_never_called_a_wrong_passphrase() {
    for bytes in [made().1.encode(), old().0.encode()] {
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x20;
            assert_eq!(
                VaultHeader::decode(&bad.into()).unwrap_err(),
                SealError::Damaged { what: "vault header" },
                "at={at}"
            );
        }
        for len in 0..bytes.len() {
            assert!(VaultHeader::decode(&bytes.slice(..len)).is_err(), "len={len}");
        }
    }
}

#[test]
fn a_header_of_the_first_format_opens_and_its_next_change_signs_it() {
    let (mut header, code) = old();
    assert_eq!(header.fingerprint(), None);
    let root = header.open(Unlock::RecoveryCode(&code)).unwrap();
    let pinned = root.fingerprint().unwrap();
    assert_eq!(header.verify_pinned(&pinned), Err(SealError::Unsigned));
    assert!(header.notes(&root).unwrap().is_empty());
    let (before, slots) = (header.revision(), header.slots().to_vec());
    let note = Note { label: "mine".to_owned(), created_ms: 7, recipient: None };
    header.annotate(&root, slots[0].id(), note.clone(), &mut SeededRng::new(4)).unwrap();
    let header = VaultHeader::decode(&header.encode()).unwrap();
    assert!(header.revision() > before);
    assert_eq!(header.slots(), slots);
    assert_eq!(header.fingerprint(), Some(pinned));
    header.verify_pinned(&pinned).unwrap();
    assert_eq!(header.notes(&root).unwrap()[&slots[0].id()], note);
    assert!(header.open(Unlock::RecoveryCode(&code)).is_ok());
}

#[test]
fn a_recipient_opens_it_and_nobody_else_s_identity_does() {
    let (root, mut header, _) = made();
    let mut rng = SeededRng::new(21);
    let (mine, other) = (Identity::generate(&mut rng).unwrap(), Identity::generate(&mut rng).unwrap());
    assert_eq!(header.open(Unlock::Identity(&mine)).unwrap_err(), SealError::NoSlot { what: "recipient" });
    header.add_recipient(&root, other.recipient(), &mut rng).unwrap();
    assert_eq!(
        header.open(Unlock::Identity(&mine)).unwrap_err(),
        SealError::WrongSecret { what: "recipient" }
    );
    let id = header.add_recipient(&root, mine.recipient(), &mut rng).unwrap();
    let mut header = VaultHeader::decode(&header.encode()).unwrap();
    let (opened, slot) = header.open_slot(Unlock::Identity(&mine)).unwrap();
    assert_eq!((opened.secret().expose(), slot), (root.secret().expose(), id));
    let position = header.position(id).unwrap();
    header.remove_slot(&root, position).unwrap();
    assert!(header.open(Unlock::Identity(&mine)).is_err());
    assert!(header.open(Unlock::Identity(&other)).is_ok());
}

#[test]
fn one_of_several_passphrases_is_changed_and_keeps_its_note() {
    let (root, mut header, _) = made();
    let mut rng = SeededRng::new(8);
    let second = header.add_slot(&root, phrase("second person"), CHEAP, &mut rng).unwrap();
    let note = Note { label: "Anna".to_owned(), created_ms: 1, recipient: None };
    header.annotate(&root, second, note.clone(), &mut rng).unwrap();
    let (_, mine) = header.open_slot(phrase("apples")).unwrap();
    header.replace_slot(&root, mine, phrase("quinces"), CHEAP, &mut rng).unwrap();
    assert!(header.open(phrase("apples")).is_err());
    assert!(header.open(phrase("quinces")).is_ok());
    let moved = header.replace_slot(&root, second, phrase("hers"), CHEAP, &mut rng).unwrap();
    assert!(header.open(phrase("second person")).is_err());
    assert_eq!(header.notes(&root).unwrap().get(&moved), Some(&note));
    assert!(!header.encode().windows(4).any(|w| w == b"Anna"), "the node does not learn names");
    let long = Note { label: "x".repeat(LABEL_LEN_MAX + 1), ..note };
    assert!(matches!(header.annotate(&root, moved, long, &mut rng), Err(SealError::TooLong { .. })));
}

#[test]
fn whoever_knows_the_fingerprint_can_check_without_the_root() {
    let (root, header, _) = made();
    let pinned = root.fingerprint().unwrap();
    header.verify_pinned(&pinned).unwrap();
    let stranger = VaultRoot::generate(&mut SeededRng::new(77)).fingerprint().unwrap();
    assert_eq!(header.verify_pinned(&stranger), Err(SealError::Stranger { wanted: stranger }));
    let (root, unsigned) = (root, old().0);
    assert_eq!(unsigned.verify_pinned(&pinned), Err(SealError::Unsigned));
    // A node cannot turn back the revision or drop a slot.
    let bent = forge(&header, |bytes| bytes[3 + 16] ^= 1).unwrap();
    assert_eq!(bent.verify_pinned(&pinned), Err(SealError::BadSignature));
    assert!(bent.verify(&root).is_err());
}

#[test]
fn each_signature_alone_is_not_enough() {
    let (root, header, code) = made();
    let mut other = header.clone();
    other.advance_generation(&root).unwrap();
    let (mine, theirs) = (header.signed.clone().unwrap(), other.signed.clone().unwrap());
    for signature in [
        DualSignature { ed25519: theirs.signature.ed25519, ..mine.signature.clone() },
        DualSignature { ml_dsa: theirs.signature.ml_dsa, ..mine.signature.clone() },
    ] {
        let mut forged = header.clone();
        forged.signed = Some(Signed { signature, ..mine.clone() });
        // The MAC is mended: even whoever could do that would need both signatures.
        forged.mac = forged.mac_under(&root);
        assert!(forged.open(Unlock::RecoveryCode(&code)).is_err());
        assert!(forged.verify_pinned(&root.fingerprint().unwrap()).is_err());
    }
}

/// Someone who can also mend the checksum.
fn forge(header: &VaultHeader, change: impl Fn(&mut Vec<u8>)) -> Result<VaultHeader, SealError> {
    let encoded = header.encode();
    let mut bytes = encoded[..encoded.len() - CHECKSUM_LEN].to_vec();
    change(&mut bytes);
    let checksum = blake3::derive_key(CHECKSUM_CONTEXT, &bytes);
    bytes.extend_from_slice(&checksum[..CHECKSUM_LEN]);
    VaultHeader::decode(&bytes.into())
}

#[test]
fn a_forged_header_with_a_good_checksum_never_opens() {
    let (_, header, code) = made();
    let len = header.encode().len() - CHECKSUM_LEN;
    for at in 0..len {
        // Opened with the recovery code, so that changed Argon2 costs are not paid for here.
        let opened = forge(&header, |bytes| bytes[at] ^= 0x01)
            .and_then(|forged| forged.open(Unlock::RecoveryCode(&code)));
        assert!(opened.is_err(), "at={at}");
    }
}

#[test]
fn a_foreign_slot_and_swapped_slots_are_refused() {
    let (root, header, _) = made();
    let mut rng = SeededRng::new(99);
    let attacker = VaultRoot::from_parts(root.id(), Secret::random(&mut rng));
    let mut forged = header.clone();
    forged.slots[0] = Slot::wrap(root.id(), attacker.secret(), phrase("mine"), CHEAP, &mut rng).unwrap();
    assert_eq!(forged.open(phrase("mine")).unwrap_err(), SealError::Damaged { what: "vault header" });

    let mut swapped = header.clone();
    swapped.slots.swap(0, 1);
    assert_eq!(swapped.open(phrase("apples")).unwrap_err(), SealError::Damaged { what: "vault header" });
}

#[test]
fn hostile_parameters_are_refused_before_they_cost_anything() {
    let (root, _, _) = made();
    let hostile = [
        (Argon2Cost { memory_kib: 64 * 1024 * 1024, ..Argon2Cost::default() }, "memory_kib"),
        (Argon2Cost { passes: u32::MAX, ..Argon2Cost::default() }, "passes"),
        (Argon2Cost { lanes: 0, ..Argon2Cost::default() }, "lanes"),
        (Argon2Cost { memory_kib: 8, lanes: 4, passes: 1 }, "memory_kib"),
    ];
    for (cost, name) in hostile {
        let mut w = Writer::new();
        w.u32(cost.memory_kib).u32(cost.passes).u32(cost.lanes).raw(&[0; 16 + 32 + 48]);
        let slot = Slot { kind: SlotKind::Passphrase as u8, body: w.finish() };
        match slot.unwrap(root.id(), phrase("x")) {
            Err(SealError::BadParameters { field, .. }) => assert_eq!(field, name),
            other => panic!("cost={cost:?} gave {other:?}"),
        }
    }
}

#[test]
fn slots_and_header_are_bounded() {
    let (root, mut header, code) = made();
    let mut rng = SeededRng::new(3);
    while header.slots().len() < SLOTS_MAX {
        header.add_slot(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng).unwrap();
    }
    let more = header.add_slot(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng);
    assert!(matches!(more, Err(SealError::Slots { .. })));
    assert!(header.encode().len() <= VAULT_HEADER_LEN_MAX);
    assert!(larder_format::sealed::check_body(&header.encode()).is_ok());
}

#[test]
fn without_a_slot_of_the_kind_the_error_says_so() {
    let mut rng = SeededRng::new(2);
    let root = VaultRoot::generate(&mut rng);
    let code = RecoveryCode::generate(&mut rng);
    let header = VaultHeader::create(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng).unwrap();
    assert_eq!(header.open(phrase("x")).unwrap_err(), SealError::NoSlot { what: "passphrase" });
}

mod model {
    //! Any sequence of changes leaves a header that is read back as it was written, that opens with every secret that
    //! has a slot and with no other, and that is never older than before.

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Add(u8),
        Change { from: u8, to: u8 },
        NewCode,
        Remove(usize),
        Label(usize, String),
        Advance,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..5).prop_map(Step::Add),
            (0u8..5, 0u8..5).prop_map(|(from, to)| Step::Change { from, to }),
            Just(Step::NewCode),
            (0usize..6).prop_map(Step::Remove),
            (0usize..6, ".{0,16}").prop_map(|(at, label)| Step::Label(at, label)),
            Just(Step::Advance),
        ]
    }

    fn words(number: u8) -> Vec<u8> {
        format!("passphrase {number}").into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn changes_in_any_order(steps in prop::collection::vec(step(), 1..10), seed: u64) {
            let mut rng = SeededRng::new(seed);
            let root = VaultRoot::generate(&mut rng);
            let mut code = RecoveryCode::generate(&mut rng);
            let mut header = VaultHeader::create(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng).unwrap();
            // By slot: the number of its passphrase, none for the code; and its label.
            let mut model = vec![(header.slots()[0].id(), None, None)];
            for step in steps {
                let before = header.revision();
                match step {
                    Step::Add(number) => {
                        let (words, rng) = (words(number), &mut rng);
                        let id = header.add_slot(&root, Unlock::Passphrase(&words), CHEAP, rng).unwrap();
                        model.push((id, Some(number), None));
                    }
                    Step::Change { from, to } => {
                        let (old, new) = (words(from), words(to));
                        let Ok((_, id)) = header.open_slot(Unlock::Passphrase(&old)) else {
                            prop_assert!(model.iter().all(|(_, number, _)| *number != Some(from)));
                            continue;
                        };
                        let new = header.replace_slot(&root, id, Unlock::Passphrase(&new), CHEAP, &mut rng).unwrap();
                        let slot = model.iter_mut().find(|slot| slot.0 == id).unwrap();
                        (slot.0, slot.1) = (new, Some(to));
                    }
                    Step::NewCode => {
                        code = RecoveryCode::generate(&mut rng);
                        let id = header.replace_slots(&root, Unlock::RecoveryCode(&code), CHEAP, &mut rng).unwrap();
                        model.retain(|slot| slot.1.is_some());
                        model.push((id, None, None));
                    }
                    Step::Remove(at) => {
                        let removed = header.remove_slot(&root, at);
                        prop_assert_eq!(removed.is_ok(), at < model.len() && model.len() > 1);
                        if removed.is_err() {
                            continue;
                        }
                        model.remove(at);
                    }
                    Step::Label(at, label) => {
                        let Some(slot) = model.get_mut(at) else { continue };
                        let note = Note { label: label.clone(), created_ms: before, recipient: None };
                        header.annotate(&root, slot.0, note, &mut rng).unwrap();
                        slot.2 = Some(label);
                    }
                    Step::Advance => header.advance_generation(&root).unwrap(),
                }
                prop_assert!(header.revision() > before);
                let again = VaultHeader::decode(&header.encode()).unwrap();
                prop_assert_eq!(&again, &header);
                header.verify(&root).unwrap();
                header.verify_pinned(&root.fingerprint().unwrap()).unwrap();
                let ids: Vec<_> = header.slots().iter().map(Slot::id).collect();
                prop_assert_eq!(ids, model.iter().map(|slot| slot.0).collect::<Vec<_>>());
                for number in 0..5 {
                    let opens = header.open(Unlock::Passphrase(&words(number))).is_ok();
                    prop_assert_eq!(opens, model.iter().any(|slot| slot.1 == Some(number)));
                }
                let has_code = model.iter().any(|slot| slot.1.is_none());
                prop_assert_eq!(header.open(Unlock::RecoveryCode(&code)).is_ok(), has_code);
                let notes = header.notes(&root).unwrap();
                for (id, _, label) in &model {
                    prop_assert_eq!(notes.get(id).map(|note| &note.label), label.as_ref());
                }
            }
        }
    }
}
