//! Vault headers, as they come and with the checksum mended, so that the fields behind it are reached: no input
//! panics, opens, or asks for more memory than is allowed.
#![no_main]

use bytes::Bytes;
use larder_format::rng::SeededRng;
use larder_seal::Secret;
use larder_seal::fingerprint::Fingerprint;
use larder_seal::header::VaultHeader;
use larder_seal::keys::VaultRoot;
use larder_seal::recovery::RecoveryCode;
use larder_seal::slots::Unlock;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(data.to_vec());
    let mut mended = data.to_vec();
    let checksum = blake3::derive_key("larder 2026 vault header checksum", data);
    mended.extend_from_slice(&checksum[..16]);
    check(mended);
});

fn check(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let Ok(header) = VaultHeader::decode(&bytes) else { return };
    assert_eq!(header.encode(), bytes);
    let code = RecoveryCode::generate(&mut SeededRng::new(1));
    assert!(header.open(Unlock::RecoveryCode(&code)).is_err());
    let root = VaultRoot::from_parts(header.vault(), Secret::new([7; 32]));
    assert!(header.verify(&root).is_err());
    let _ = header.notes(&root);
    // Whatever it says of itself, it is not signed by keys of ours.
    assert!(header.verify_pinned(&Fingerprint([7; 20])).is_err());
    if let Some(own) = header.fingerprint() {
        let _ = header.verify_pinned(&own);
    }
    // Passphrases only where the derivation asked for is quick; that others are bounded is a unit test's.
    let quick = header.slots().iter().filter(|slot| slot.kind == 1).all(|slot| {
        let word =
            |at: usize| slot.body.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("four")));
        matches!((word(0), word(4)), (Some(memory), Some(passes)) if memory < 256 && passes < 4)
    });
    if quick {
        assert!(header.open(Unlock::Passphrase(b"guess")).is_err());
    }
}
