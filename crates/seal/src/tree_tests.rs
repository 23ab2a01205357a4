//! Trees of every depth, ranges in them, and pages in the wrong place.

use std::collections::HashMap;

use larder_format::head::{Attributes, FileId, FileKind};
use larder_format::pages::ChunkKey;
use larder_format::rng::SeededRng;
use proptest::prelude::*;

use super::*;
use crate::keys::VaultRoot;
use crate::manifest::{Draft, Previous};

const LEN: u32 = 1 << 16;

struct Tree {
    manifest: Manifest,
    pages: HashMap<BlobId, Bytes>,
    entries: Vec<ChunkEntry>,
    opener: BlobOpener,
}

fn entry(i: u64, plain_len: u32) -> ChunkEntry {
    let id = *blake3::hash(&i.to_le_bytes()).as_bytes();
    ChunkEntry { blob: BlobId(id), key: ChunkKey(id), plain_len, stored_len: plain_len, flags: 0 }
}

fn tree(chunks: u64, last_len: u32) -> Tree {
    let root = VaultRoot::generate(&mut SeededRng::new(1));
    let sealer = BlobSealer::new(&root, 0);
    let opener = sealer.opener();
    let mut builder = TreeBuilder::new(sealer);
    let mut pages = HashMap::new();
    let entries: Vec<_> =
        (0..chunks).map(|i| entry(i, if i + 1 == chunks { last_len } else { LEN })).collect();
    for entry in &entries {
        pages.extend(builder.push(*entry).unwrap().into_iter().map(|page| (page.blob, page.bytes)));
    }
    let (content, last) = builder.finish().unwrap();
    pages.extend(last.into_iter().map(|page| (page.blob, page.bytes)));
    let size = entries.iter().map(|e| u64::from(e.plain_len)).sum();
    let draft = Draft {
        file: FileId([1; 16]),
        kind: FileKind::File,
        revision: 1,
        previous: Previous::default(),
        size,
        content_hash: [0; 32],
        chunking: Chunking::Fixed { len: LEN },
        content,
    };
    let manifest = draft.sign(&Attributes::default(), root.id(), &root.signer());
    // Whatever the size, the manifest itself stays small and decodes.
    let encoded = manifest.encode();
    assert!(encoded.len() <= larder_format::manifest::MANIFEST_LEN_MAX);
    assert_eq!(Manifest::decode(encoded), Ok(manifest.clone()));
    Tree { manifest, pages, entries, opener }
}

fn walk(tree: &Tree, range: Range<u64>) -> (Vec<(u64, ChunkEntry)>, usize) {
    let mut walker = TreeWalker::new(tree.opener, &tree.manifest, range);
    let mut found = Vec::new();
    let mut fetched = 0;
    loop {
        match walker.step().unwrap() {
            Step::Chunk { offset, entry } => found.push((offset, entry)),
            Step::NeedPage(page) => {
                walker.supply(&tree.pages[&page.blob]).unwrap();
                fetched += 1;
            }
            Step::Done => return (found, fetched),
        }
    }
}

#[test]
fn trees_of_every_shape_give_back_their_chunks_in_order() {
    let items = PAGE_ITEMS_MAX as u64;
    let refs = MANIFEST_REFS_MAX as u64;
    let sizes =
        [0, 1, 53, 54, items - 1, items, items + 1, refs * items, refs * items + 1, items * items / 8];
    for chunks in sizes {
        let tree = tree(chunks, 5);
        let (found, fetched) = walk(&tree, 0..u64::MAX);
        assert_eq!(found.len() as u64, chunks);
        for (i, (offset, found)) in found.iter().enumerate() {
            assert_eq!((*offset, found), (i as u64 * u64::from(LEN), &tree.entries[i]));
        }
        assert_eq!(fetched, tree.pages.len(), "chunks={chunks}");
    }
}

#[test]
fn equal_files_share_their_pages() {
    let one = tree(2_000, 7);
    let two = tree(2_000, 7);
    assert_eq!(one.pages, two.pages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_range_gives_exactly_the_chunks_that_overlap_it(
        chunks in 1u64..3_000,
        start in 0u64..3_100 * LEN as u64,
        len in 0u64..40 * LEN as u64,
    ) {
        let tree = tree(chunks, 100);
        let (found, fetched) = walk(&tree, start..start + len);
        let mut offset = 0;
        let mut want = Vec::new();
        for entry in &tree.entries {
            let end = offset + u64::from(entry.plain_len);
            if offset < start + len && end > start {
                want.push((offset, *entry));
            }
            offset = end;
        }
        prop_assert_eq!(found, want);
        prop_assert!(fetched <= 2, "a short range needs few pages fetched={}", fetched);
    }
}

#[test]
fn a_page_in_the_place_of_another_is_refused_and_can_be_fetched_again() {
    let tree = tree(3_000, 9);
    let mut walker = TreeWalker::new(tree.opener, &tree.manifest, 0..u64::MAX);
    let Step::NeedPage(needed) = walker.step().unwrap() else { panic!("a page is needed first") };
    for (id, page) in &tree.pages {
        if *id != needed.blob {
            assert!(walker.supply(page).is_err());
        }
    }
    let good = &tree.pages[&needed.blob];
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        assert!(walker.supply(&bad).is_err());
    }
    walker.supply(good).unwrap();
    assert!(matches!(walker.step().unwrap(), Step::Chunk { offset: 0, .. }));
}

#[test]
fn chunks_that_do_not_fit_the_declared_length_are_refused() {
    let mut tree = tree(3, 5);
    let Content::Chunks(chunks) = &mut tree.manifest.content else {
        panic!("three chunks stay in the manifest")
    };
    chunks.swap(0, 2);
    let mut walker = TreeWalker::new(tree.opener, &tree.manifest, 0..u64::MAX);
    assert_eq!(walker.step(), Err(SealError::Contradiction { what: "chunk length" }));
}

/// What supplying a page gives that opens under its key and is another page than its reference describes.
fn supply_instead(page: &Page, level: u8, len: u64) -> Result<(), SealError> {
    let sealer = BlobSealer::new(&VaultRoot::generate(&mut SeededRng::new(1)), 0);
    let encoded = page.encode();
    let (key, blob, bytes) = sealer.seal_page(&encoded).unwrap();
    let reference = PageRef { blob, key, page_len: encoded.len() as u32, offset: 0, len };
    let mut tree = tree(1, 5);
    tree.manifest.size = len;
    tree.manifest.content = Content::Pages { level, refs: vec![reference] };
    let mut walker = TreeWalker::new(tree.opener, &tree.manifest, 0..u64::MAX);
    assert_eq!(walker.step(), Ok(Step::NeedPage(reference)));
    walker.supply(&bytes)
}

#[test]
fn a_page_must_be_what_its_reference_describes() {
    let leaf = Page::Leaf(vec![entry(1, 100)]);
    let below =
        |offset| PageRef { blob: BlobId([1; 32]), key: ChunkKey([2; 32]), page_len: 9, offset, len: 100 };
    let interior = |offset| Page::Interior { level: 1, refs: vec![below(offset)] };
    assert_eq!(supply_instead(&leaf, 0, 100), Ok(()));
    assert_eq!(supply_instead(&interior(0), 1, 100), Ok(()));
    let page = Err(SealError::Contradiction { what: "page" });
    assert_eq!(supply_instead(&leaf, 0, 101), page, "another span");
    assert_eq!(supply_instead(&leaf, 1, 100), page, "a leaf too high");
    assert_eq!(supply_instead(&interior(0), 2, 100), page, "a level left out");
    let offset = Err(SealError::Contradiction { what: "page offset" });
    assert_eq!(supply_instead(&interior(7), 1, 100), offset);
}
