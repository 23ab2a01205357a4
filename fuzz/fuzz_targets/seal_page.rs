//! Pages of a manifest's tree: no input panics, and what decodes has one encoding and a span or none.
#![no_main]

use bytes::Bytes;
use larder_format::pages::{PAGE_LEN_MAX, Page};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(page) = Page::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(page.encode(), data);
        assert!(data.len() <= PAGE_LEN_MAX);
        let _ = page.span();
    }
});
