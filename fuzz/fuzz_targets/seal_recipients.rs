//! Texts of recipients and identities, as they come and with the check mended; and a recipient's slot with any body: no
//! input panics, and no identity opens what was not made for it.
#![no_main]

use bytes::Bytes;
use larder_format::ids::VaultId;
use larder_format::rng::SeededRng;
use larder_seal::fingerprint::Fingerprint;
use larder_seal::recipient::{Identity, Recipient};
use larder_seal::slots::{Slot, SlotKind, Unlock};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fuzz_target!(|data: &[u8]| {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::generate(&mut SeededRng::new(1)).expect("keys"));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Fingerprint::parse(text);
        for prefix in ["", "larder-recipient-1-", "larder-secret-identity-1-"] {
            let text = format!("{prefix}{text}");
            if let Ok(recipient) = Recipient::parse(&text) {
                assert_eq!(Recipient::parse(&recipient.to_text()), Ok(recipient));
            }
            let _ = Identity::parse(&text);
        }
    }
    let slot = Slot { kind: SlotKind::Recipient as u8, body: Bytes::copy_from_slice(data) };
    assert!(!matches!(slot.unwrap(VaultId([1; 16]), Unlock::Identity(identity)), Ok(Some(_))));
});
