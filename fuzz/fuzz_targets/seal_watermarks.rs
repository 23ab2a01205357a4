//! Rollback memory: no input panics, and what loads survives a snapshot.
#![no_main]

use bytes::Bytes;
use larder_seal::watermark::Watermarks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = Bytes::copy_from_slice(data);
    if let Ok(loaded) = Watermarks::load(&file) {
        assert!(loaded.good_len <= data.len());
        let again = Watermarks::load(&loaded.watermarks.snapshot()).expect("our own snapshot");
        assert_eq!(again.watermarks, loaded.watermarks);
    }
});
