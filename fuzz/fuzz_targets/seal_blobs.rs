//! Sealed blobs: no input panics or opens, whatever lengths the entry claims, and what is sealed opens to itself.
#![no_main]

use larder_format::ids::BlobId;
use larder_format::pages::{ChunkEntry, ChunkKey};
use larder_format::rng::SeededRng;
use larder_seal::chunk::{BlobSealer, OpenScratch};
use larder_seal::compress::Compression;
use larder_seal::keys::VaultRoot;
use larder_seal::pipeline::single::{ChunkOpener, ChunkSealer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let root = VaultRoot::generate(&mut SeededRng::new(1));
    let sealer = BlobSealer::new(&root, 0);
    let Some((lengths, blob)) = data.split_at_checked(9) else { return };
    let word = |at: usize| u32::from_le_bytes(lengths[at..at + 4].try_into().expect("four bytes"));
    let entry = ChunkEntry {
        blob: BlobId([0; 32]),
        key: ChunkKey([7; 32]),
        plain_len: word(0) % (8 << 20),
        stored_len: word(4),
        flags: lengths[8],
    };
    let mut out = vec![0; entry.plain_len as usize];
    let mut scratch = OpenScratch::new().expect("memory");
    assert!(sealer.opener().open_chunk(&entry, blob, &mut scratch, &mut out).is_err());
    assert!(sealer.opener().open_page(&entry.key, word(4) as usize, blob).is_err());
    if !data.is_empty() && data.len() < 1 << 16 {
        let mut single = ChunkSealer::new(sealer.clone(), Compression::default(), 1 << 16).expect("memory");
        let (entry, sealed) = single.seal(data).expect("within the length");
        let mut back = vec![0; data.len()];
        let mut opener = ChunkOpener::new(sealer.opener()).expect("memory");
        opener.open(&entry, &sealed, &mut back).expect("just sealed");
        assert_eq!(back, data);
    }
});
