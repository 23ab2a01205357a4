//! Sealing and opening blobs, and every way of tampering with them.

use larder_format::error::Kind;
use larder_format::rng::{Rng, SeededRng};
use proptest::prelude::*;

use super::*;
use crate::compress::Compression;

fn root(seed: u64) -> VaultRoot {
    VaultRoot::generate(&mut SeededRng::new(seed))
}

pub(crate) fn seal(sealer: &BlobSealer, plain: &[u8], compression: Compression) -> (ChunkEntry, Vec<u8>) {
    let mut scratch = SealScratch::new(Compressor::new(compression).unwrap());
    let mut buffer = plain.to_vec();
    buffer.resize(padded_len(plain.len(), BLOB_PADDED_LEN_MIN), 0xee);
    let mut out = vec![0; blob_len(plain.len())];
    let (entry, len) = sealer.seal_chunk(&mut buffer, plain.len(), &mut scratch, &mut out).unwrap();
    out.truncate(len);
    (entry, out)
}

fn open(opener: BlobOpener, entry: &ChunkEntry, blob: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut out = vec![0xaa; entry.plain_len as usize];
    let opened = opener.open_chunk(entry, blob, &mut OpenScratch::new().unwrap(), &mut out);
    if opened.is_err() {
        // Whatever a failed opening leaves behind, it is not the plaintext.
        assert!(out.iter().all(|b| *b == 0) || out.iter().all(|b| *b == 0xaa));
    }
    opened.map(|()| out)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    SeededRng::new(seed).fill(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_chunk_opens_to_what_was_sealed(
        len in prop_oneof![1usize..2_000, 1usize..300_000],
        seed: u64,
        compressible: bool,
        on: bool,
    ) {
        let sealer = BlobSealer::new(&root(1), 0);
        let mut plain = noise(seed, len);
        if compressible {
            plain.iter_mut().for_each(|b| *b = b'a' + (*b & 3));
        }
        let compression = if on { Compression::default() } else { Compression::Off };
        let (entry, blob) = seal(&sealer, &plain, compression);
        prop_assert_eq!(blob.len(), blob_len(entry.stored_len as usize));
        prop_assert_eq!(entry.blob, BlobId::of(&blob));
        prop_assert_eq!(check_blob(&blob), Ok(SealedKind::Chunk));
        prop_assert_eq!(open(sealer.opener(), &entry, &blob), Ok(plain));
    }
}

#[test]
fn a_full_incompressible_chunk_costs_fifty_bytes() {
    let plain = noise(1, 1 << 20);
    let (entry, blob) = seal(&BlobSealer::new(&root(1), 0), &plain, Compression::default());
    assert_eq!((blob.len(), entry.flags), ((1 << 20) + 50, 0));
    let text = b"some text that repeats ".repeat(10_000);
    let (entry, blob) = seal(&BlobSealer::new(&root(1), 0), &text, Compression::default());
    assert_eq!(entry.flags, FLAG_ZSTD);
    assert!(blob.len() < text.len() / 20);
}

#[test]
fn equal_chunks_are_equal_blobs_in_one_vault_and_generation_and_nowhere_else() {
    let plain = noise(5, 10_000);
    let (one, _) = seal(&BlobSealer::new(&root(1), 0), &plain, Compression::default());
    let (same, _) = seal(&BlobSealer::new(&root(1), 0), &plain, Compression::default());
    let (generation, _) = seal(&BlobSealer::new(&root(1), 1), &plain, Compression::default());
    let (vault, _) = seal(&BlobSealer::new(&root(2), 0), &plain, Compression::default());
    assert_eq!(one, same);
    assert_ne!(one.blob, generation.blob);
    assert_ne!(one.blob, vault.blob);
    assert_ne!(one.key, vault.key);
}

#[test]
fn every_flipped_byte_of_a_sealed_chunk_is_refused() {
    let sealer = BlobSealer::new(&root(1), 0);
    for plain in [noise(1, 700), b"text text text ".repeat(100)] {
        let (entry, blob) = seal(&sealer, &plain, Compression::default());
        // 3 turns the kind of a chunk into that of a page.
        for (at, mask) in (0..blob.len()).flat_map(|at| [(at, 0x80), (at, 3)]) {
            let mut bad = blob.clone();
            bad[at] ^= mask;
            let error = open(sealer.opener(), &entry, &bad).unwrap_err();
            assert!(matches!(error.kind(), Kind::Damaged | Kind::TooNew), "at={at} {error}");
        }
        for len in 0..blob.len() {
            assert!(open(sealer.opener(), &entry, &blob[..len]).is_err());
        }
        let longer = [&blob[..], &[0]].concat();
        assert!(open(sealer.opener(), &entry, &longer).is_err());
    }
}

#[test]
fn a_chunk_in_the_place_of_another_is_refused() {
    let sealer = BlobSealer::new(&root(1), 0);
    let (first, first_blob) = seal(&sealer, &noise(1, 5_000), Compression::Off);
    let (second, second_blob) = seal(&sealer, &noise(2, 5_000), Compression::Off);
    assert_eq!(open(sealer.opener(), &first, &second_blob), Err(SealError::Damaged { what: "blob" }));
    assert_eq!(open(sealer.opener(), &second, &first_blob), Err(SealError::Damaged { what: "blob" }));
    let other_vault = BlobOpener::new(root(2).id());
    assert_eq!(open(other_vault, &first, &first_blob), Err(SealError::Damaged { what: "blob" }));
}

#[test]
fn a_chunk_does_not_pass_for_a_page_or_a_page_for_a_chunk() {
    let sealer = BlobSealer::new(&root(1), 0);
    let plain = noise(3, 600);
    let (entry, blob) = seal(&sealer, &plain, Compression::Off);
    assert!(sealer.opener().open_page(&entry.key, 600, &blob).is_err());
    let (key, id, page) = sealer.seal_page(&plain).unwrap();
    assert_eq!(sealer.opener().open_page(&key, 600, &page).unwrap(), plain);
    let as_chunk = ChunkEntry { blob: id, key, plain_len: 600, stored_len: 600, flags: 0 };
    assert!(open(sealer.opener(), &as_chunk, &page).is_err());
    assert_ne!(key, entry.key, "pages and chunks hash under different keys");
    // Changing the kind byte does not help: it is in the associated data.
    let mut forged = page;
    forged[1] = SealedKind::Chunk.byte();
    assert!(open(sealer.opener(), &as_chunk, &forged).is_err());
}

#[test]
fn lengths_that_disagree_with_the_blob_are_refused_without_allocating() {
    let sealer = BlobSealer::new(&root(1), 0);
    let (entry, blob) = seal(&sealer, &noise(1, 5_000), Compression::Off);
    for bad in [
        ChunkEntry { plain_len: 4_999, stored_len: 4_999, ..entry },
        ChunkEntry { plain_len: 6_000, ..entry },
        ChunkEntry { plain_len: 6_000, flags: FLAG_ZSTD, ..entry },
        ChunkEntry { stored_len: u32::MAX, ..entry },
    ] {
        let result = open(sealer.opener(), &bad, &blob);
        assert!(result.is_err(), "{bad:?}");
    }
}

#[test]
fn empty_and_oversized_chunks_are_refused() {
    let sealer = BlobSealer::new(&root(1), 0);
    let mut scratch = SealScratch::new(Compressor::new(Compression::Off).unwrap());
    let mut buffer = vec![0; CHUNK_LEN_MAX + 1];
    let mut out = vec![0; 2 * CHUNK_LEN_MAX];
    for len in [0, CHUNK_LEN_MAX + 1] {
        let refused = sealer.seal_chunk(&mut buffer, len, &mut scratch, &mut out);
        assert!(matches!(refused, Err(SealError::TooLong { .. })));
    }
}

#[test]
fn padding_other_than_zeros_is_refused_even_under_the_right_key() {
    let sealer = BlobSealer::new(&root(1), 0);
    let mut padded = vec![0; BLOB_PADDED_LEN_MIN];
    padded[..10].copy_from_slice(b"ten bytes.");
    padded[400] = 1;
    let mut out = vec![0; blob_len(10)];
    let refused = SealError::Contradiction { what: "padding" };
    let (key, blob, _) = sealer.seal_padded(SealedKind::Chunk, &padded, &mut out).unwrap();
    let entry = ChunkEntry { blob, key, plain_len: 10, stored_len: 10, flags: 0 };
    assert_eq!(open(sealer.opener(), &entry, &out).unwrap_err(), refused);
    let (key, _, _) = sealer.seal_padded(SealedKind::Page, &padded, &mut out).unwrap();
    assert_eq!(sealer.opener().open_page(&key, 10, &out).unwrap_err(), refused);
}
