//! Sealed record parts: no input panics or opens, and what is sealed opens to itself.
#![no_main]

use larder_format::ids::NamespaceId;
use larder_format::rng::SeededRng;
use larder_format::sealed::{check_blob, check_body, check_head};
use larder_seal::keys::VaultRoot;
use larder_seal::record::{RecordOpener, RecordPlace, RecordSealer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rng = SeededRng::new(1);
    let root = VaultRoot::generate(&mut rng);
    let opener = RecordOpener::new(&root);
    let place = RecordPlace::new(NamespaceId(1), &data[..data.len().min(40)]);
    let (_, _, _) = (check_blob(data), check_head(data), check_body(data));
    assert!(data.is_empty() || opener.open_head(place, data).is_err());
    assert!(opener.open_body(place, &[], data).is_err());
    let mut shaped = data.to_vec();
    if shaped.len() >= 2 {
        for kind in [3, 4] {
            (shaped[0], shaped[1]) = (1, kind);
            assert!(opener.open_head(place, &shaped).is_err());
            assert!(opener.open_body(place, data, &shaped).is_err());
        }
    }
    let sealer = RecordSealer::new(&root, 0, &mut rng);
    if let Ok(sealed) = sealer.seal(place, &data[..data.len().min(100)], data) {
        assert_eq!(opener.open_head(place, &sealed.head).expect("just sealed"), data[..data.len().min(100)]);
        assert_eq!(opener.open_body(place, &sealed.head, &sealed.body).expect("just sealed"), data);
    }
});
