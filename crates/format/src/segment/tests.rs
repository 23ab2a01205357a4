//! Round trips and refusals of the log's bytes.

use proptest::prelude::*;

use super::body::*;
use super::sidecar::SidecarEntry;
use super::*;
use crate::ids::{BlobId, LeaseToken, NamespaceId};
use crate::record::{Ballot, Ballots, Expiry, Key, RecordMeta, ShadowReason, Version};

fn header() -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Record,
        name_len: 40,
        value_len: 3,
        place: 512,
        sequence: 9,
        durable_through: 7,
        follows: 0x1234,
        name_sum: 5,
        value_sum: 6,
    }
}

#[test]
fn a_header_holds_only_under_its_salt_and_at_its_place() {
    let bytes = header().encode(77);
    assert_eq!(FrameHeader::decode(&bytes, 77, 512), Some(header()));
    assert_eq!(FrameHeader::decode(&bytes, 78, 512), None);
    assert_eq!(FrameHeader::decode(&bytes, 77, 513), None);
}

#[test]
fn every_flipped_byte_of_a_header_or_stamp_is_noticed() {
    let bytes = header().encode(77);
    let stamp = Stamp {
        kind: StampKind::Segment,
        version: 1,
        number: 4,
        store: StoreId([3; 16]),
        first: 1,
        second: 2,
        third: 3,
    };
    assert_eq!(Stamp::decode_block(StampKind::Segment, &stamp.encode_block()), Some(stamp));
    assert_eq!(Stamp::decode_block(StampKind::Mark, &stamp.encode_block()), None);
    for at in 0..64 {
        for bit in 0..8 {
            let mut broken = bytes;
            broken[at] ^= 1 << bit;
            assert_eq!(FrameHeader::decode(&broken, 77, 512), None, "byte {at} bit {bit}");
            let mut block = stamp.encode_block();
            block[at] ^= 1 << bit;
            assert_eq!(Stamp::decode(StampKind::Segment, &block), None, "byte {at} bit {bit}");
            assert_eq!(Stamp::decode_block(StampKind::Segment, &block), Some(stamp), "second copy");
        }
    }
}

fn any_meta() -> impl Strategy<Value = RecordMeta> {
    let shadow = prop::option::of(prop_oneof![
        Just(ShadowReason::Deleted),
        Just(ShadowReason::Expired),
        Just(ShadowReason::Taken)
    ]);
    (any::<u64>(), any::<u64>(), shadow, prop::option::of(1u32..9), any::<bool>(), any::<u32>()).prop_map(
        |(version, expiry, shadow, takes_left, has_operations, value_len)| RecordMeta {
            version: Version::from_u64(version),
            expiry: Expiry::at_ms(expiry),
            shadow,
            takes_left,
            has_operations,
            value_len,
        },
    )
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), any::<u64>()).prop_map(|(round, proposer)| Ballot { round, proposer })
}

proptest! {
    #[test]
    fn record_names_round_trip(
        namespace in any::<u64>(), slot in any::<u16>(), key in prop::collection::vec(any::<u8>(), 1..60),
        meta in prop::option::of(any_meta()), promised in any_ballot(), accepted in any_ballot(),
        replicated in any::<bool>(), more in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let ballots = replicated.then_some(Ballots { promised, accepted });
        let name = RecordName { namespace: NamespaceId(namespace), slot, key: &key, meta, ballots };
        let mut out = Vec::new();
        name.encode_into(&mut out);
        let len = out.len();
        out.extend_from_slice(&more);
        prop_assert_eq!(RecordName::decode(&out), Ok((name, len)));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..120)
    ) {
        if let Ok((name, len)) = RecordName::decode(&bytes) {
            let mut again = Vec::new();
            name.encode_into(&mut again);
            prop_assert_eq!(&again[..], &bytes[..len]);
        }
        let shared = bytes::Bytes::from(bytes.clone());
        if let Ok(remove) = Remove::decode(shared.clone()) {
            prop_assert_eq!(remove.encode(), shared.clone());
        }
        if let Ok(grant) = Grant::decode(shared.clone()) {
            prop_assert_eq!(grant.encode(), shared.clone());
        }
        if let Ok(segments) = Segments::decode(shared.clone()) {
            prop_assert_eq!(segments.encode(), shared.clone());
        }
        if let Some((entry, rest)) = SidecarEntry::decode(&bytes) {
            let mut again = Vec::new();
            entry.encode_into(&mut again);
            again.extend_from_slice(rest);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn removes_and_grants_round_trip(
        key in prop::collection::vec(any::<u8>(), 1..60), floor in any_ballot(), since in any::<u32>(),
        deadline_ms in any::<u64>(), confirmed in any::<bool>(),
        blobs in prop::collection::vec(any::<[u8; 32]>().prop_map(BlobId), 0..5),
    ) {
        let key = Key::new(key).unwrap();
        let namespace = NamespaceId(3);
        let remove = Remove { namespace, slot: 9, key: key.clone(), floor, since, until: since ^ 1 };
        prop_assert_eq!(Remove::decode(remove.encode()), Ok(remove));
        let token = LeaseToken([8; 16]);
        let grant = Grant { token, namespace, key, deadline_ms, confirmed, blobs };
        prop_assert_eq!(Grant::decode(grant.encode()), Ok(grant));
        let release = Release { token, remember_until_ms: deadline_ms, since, until: 4 };
        prop_assert_eq!(Release::decode(release.encode()), Ok(release));
        let accept = Accept { through: deadline_ms, floor };
        prop_assert_eq!(Accept::decode(accept.encode()), Ok(accept));
    }
}
