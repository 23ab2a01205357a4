//! Heads of records: no input panics, and what decodes has one encoding.
#![no_main]

use bytes::Bytes;
use larder_format::head::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(head) = Head::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(head.encode().expect("what was decoded fits"), data);
    }
});
