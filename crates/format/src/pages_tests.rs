//! Round trips and refusals of pages.

use proptest::prelude::*;

use super::*;

pub(crate) fn any_chunk() -> impl Strategy<Value = ChunkEntry> {
    let fields =
        (any::<[u8; 32]>(), any::<[u8; 32]>(), 2..=CHUNK_LEN_MAX as u32, any::<bool>(), any::<u32>());
    fields.prop_map(|(blob, key, plain_len, zstd, stored)| ChunkEntry {
        blob: BlobId(blob),
        key: ChunkKey(key),
        plain_len,
        stored_len: if zstd { 1 + stored % (plain_len - 1) } else { plain_len },
        flags: if zstd { FLAG_ZSTD } else { 0 },
    })
}

pub(crate) fn any_refs(max: usize) -> impl Strategy<Value = Vec<PageRef>> {
    let one = (any::<[u8; 32]>(), any::<[u8; 32]>(), 0..=PAGE_LEN_MAX as u32, 1..1u64 << 40);
    prop::collection::vec(one, 1..max).prop_map(|parts| {
        let mut offset = 0;
        let place = |(blob, key, page_len, len)| {
            let page = PageRef { blob: BlobId(blob), key: ChunkKey(key), page_len, offset, len };
            offset += len;
            page
        };
        parts.into_iter().map(place).collect()
    })
}

fn any_page() -> impl Strategy<Value = Page> {
    prop_oneof![
        prop::collection::vec(any_chunk(), 1..20).prop_map(Page::Leaf),
        (1..PAGE_LEVELS_MAX, any_refs(20)).prop_map(|(level, refs)| Page::Interior { level, refs }),
    ]
}

proptest! {
    #[test]
    fn every_page_round_trips(page in any_page()) {
        let bytes = page.encode();
        prop_assert!(bytes.len() <= PAGE_LEN_MAX);
        prop_assert_eq!(Page::decode(bytes), Ok(page));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(page) = Page::decode(bytes.clone()) {
            prop_assert_eq!(page.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_decodes_to_the_same_page(page in any_page(), at in any::<prop::sample::Index>()) {
        let mut bytes = page.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1;
        prop_assert_ne!(Page::decode(bytes.into()), Ok(page));
    }
}

#[test]
fn references_must_lie_end_to_end() {
    let at =
        |offset, len| PageRef { blob: BlobId([1; 32]), key: ChunkKey([2; 32]), page_len: 9, offset, len };
    let page = |refs| Page::Interior { level: 1, refs }.encode();
    assert!(Page::decode(page(vec![at(0, 5), at(5, 5)])).is_ok());
    for bad in [vec![], vec![at(0, 0)], vec![at(0, 5), at(6, 5)], vec![at(u64::MAX, 1)]] {
        assert!(matches!(Page::decode(page(bad)), Err(DecodeError::BadValue { .. })));
    }
}

#[test]
fn a_chunk_entry_must_make_sense() {
    let good = ChunkEntry {
        blob: BlobId([1; 32]),
        key: ChunkKey([2; 32]),
        plain_len: 100,
        stored_len: 100,
        flags: 0,
    };
    let page = |chunk| Page::decode(Page::Leaf(vec![chunk]).encode());
    assert!(page(good).is_ok());
    for bad in [
        ChunkEntry { plain_len: 0, stored_len: 0, ..good },
        ChunkEntry { stored_len: 99, ..good },
        ChunkEntry { flags: FLAG_ZSTD, ..good },
        ChunkEntry { flags: 2, ..good },
        ChunkEntry { plain_len: CHUNK_LEN_MAX as u32 + 1, stored_len: CHUNK_LEN_MAX as u32 + 1, ..good },
    ] {
        assert!(page(bad).is_err(), "{bad:?}");
    }
}
