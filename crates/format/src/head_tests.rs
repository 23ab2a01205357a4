//! Round trips and refusals of heads.

use proptest::prelude::*;

use super::*;

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let custom = prop::collection::btree_map("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..40), 0..6);
    (any::<u32>(), any::<i64>(), "[a-z/+]{0,30}", custom).prop_map(
        |(mode, mtime_ns, content_type, custom)| {
            let custom = custom.into_iter().map(|(name, value)| (name, value.into())).collect();
            Attributes { mode, mtime_ns, content_type, custom }
        },
    )
}

fn any_head() -> impl Strategy<Value = Head> {
    let file = ("\\PC{0,60}", any::<u64>(), any::<[u8; 16]>(), any::<bool>(), any::<u64>(), any_attributes())
        .prop_map(|(name, moves, id, link, size, attributes)| {
            let kind = if link { FileKind::Symlink } else { FileKind::File };
            let target = EntryTarget::File { id: FileId(id), kind, size, attributes };
            Head::Entry(Entry { name, moves, target })
        });
    let child = ("\\PC{0,60}", any::<u64>(), any::<[u8; 16]>(), any_attributes()).prop_map(
        |(name, moves, id, attributes)| {
            let target = EntryTarget::Directory { id: DirId(id), attributes };
            Head::Entry(Entry { name, moves, target })
        },
    );
    let own = ("\\PC{0,60}", any::<u64>(), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<bool>()).prop_map(
        |(name, moves, id, parent, open)| {
            let state = if open { DirState::Open } else { DirState::Closing };
            Head::Directory(Directory { id: DirId(id), parent: DirId(parent), name, moves, state })
        },
    );
    let value = ("\\PC{0,60}", any_attributes())
        .prop_map(|(name, attributes)| Head::Value(ValueHead { name, attributes }));
    let plan = ("\\PC{0,60}", "\\PC{0,60}", any::<[[u8; 16]; 3]>(), any::<u64>()).prop_map(
        |(from_name, to_name, [folder, from, to], deadline_ms)| {
            let (folder, from, to) = (DirId(folder), DirId(from), DirId(to));
            Head::Move(MovePlan { folder, from, from_name, to, to_name, deadline_ms })
        },
    );
    prop_oneof![file, child, own, value, plan]
}

proptest! {
    #[test]
    fn every_head_round_trips(head in any_head()) {
        let bytes = head.encode().unwrap();
        prop_assert_eq!(Head::decode(bytes), Ok(head));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        if let Ok(head) = Head::decode(bytes.clone()) {
            prop_assert_eq!(head.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_decodes_to_the_same_head(head in any_head(), at in any::<prop::sample::Index>()) {
        let mut bytes = head.encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1;
        prop_assert_ne!(Head::decode(bytes.into()), Ok(head));
    }
}

fn value(name: String, custom: Vec<(String, Bytes)>) -> Head {
    Head::Value(ValueHead { name, attributes: Attributes { custom, ..Attributes::default() } })
}

#[test]
fn the_longest_name_fits_with_room_for_attributes() {
    assert!(value("n".repeat(NAME_LEN_MAX), vec![("k".into(), vec![0; 2048].into())]).encode().is_ok());
    assert!(matches!(
        value("n".repeat(NAME_LEN_MAX + 1), vec![]).encode(),
        Err(BadHead::TooLong { field: "name", .. })
    ));
}

#[test]
fn attributes_are_bounded_one_by_one_and_together() {
    let one = |len: usize| ("k".to_owned(), Bytes::from(vec![0; len]));
    assert!(value("n".into(), vec![one(CUSTOM_VALUE_LEN_MAX)]).encode().is_ok());
    assert!(value("n".into(), vec![one(CUSTOM_VALUE_LEN_MAX + 1)]).encode().is_err());
    let two = vec![one(2048), ("l".to_owned(), Bytes::from(vec![0; 2048]))];
    assert!(matches!(value("n".into(), two).encode(), Err(BadHead::TooLong { field: "head", .. })));
    let twice = vec![one(1), one(1)];
    assert!(matches!(value("n".into(), twice).encode(), Err(BadHead::CustomOrder { .. })));
}
