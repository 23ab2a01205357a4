//! Manifests: no input panics, what decodes has one encoding and a statement that decodes.
#![no_main]

use bytes::Bytes;
use larder_format::ids::VaultId;
use larder_format::manifest::{Manifest, Statement};
use larder_format::rng::SeededRng;
use larder_seal::chunk::BlobOpener;
use larder_seal::keys::VaultRoot;
use larder_seal::manifest::open_manifest;
use larder_seal::tree::{Step, TreeWalker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(manifest.encode(), data);
    let statement = manifest.statement(VaultId([1; 16]));
    assert_eq!(Statement::decode(statement.encode()), Ok(statement));
    let root = VaultRoot::generate(&mut SeededRng::new(1));
    assert!(open_manifest(Bytes::copy_from_slice(data), root.id(), root.signer().public()).is_err());
    // Nobody signed this, but walking it must not go wrong either.
    let mut walker = TreeWalker::new(BlobOpener::new(root.id()), &manifest, 1..manifest.size.max(1));
    for _ in 0..100 {
        match walker.step() {
            Ok(Step::Chunk { .. }) => {}
            Ok(Step::NeedPage(_)) => {
                assert!(walker.supply(data).is_err());
                return;
            }
            Ok(Step::Done) | Err(_) => return,
        }
    }
});
