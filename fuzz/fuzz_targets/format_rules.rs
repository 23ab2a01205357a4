//! Retention rules and settings of namespaces: no input panics, and what decodes has one meaning and one encoding.
#![no_main]

use bytes::Bytes;
use larder_format::namespace::Namespace;
use larder_format::retention::Rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(rules) = Rules::decode(bytes.clone()) {
        assert_eq!(rules.encode(), bytes);
        for rule in rules.all() {
            assert_eq!(rules.of(&rule.folder), Some(rule));
            let below = format!("{}/x", rule.folder.trim_end_matches('/'));
            let _ = (rules.keep(&below), rules.trash_ms(&below, true, 1), rules.ttl_ms(&below));
        }
    }
    // Older layouts are read, too: what is written is the newest.
    if let Ok(namespace) = Namespace::decode(bytes) {
        let again = Namespace::decode(namespace.encode()).expect("our own bytes");
        assert_eq!(again.encode(), namespace.encode());
    }
});
