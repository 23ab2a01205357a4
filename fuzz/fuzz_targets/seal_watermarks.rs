//! Rollback memory: no input panics, what loads survives a snapshot, and marks never sink. The input is loaded as it
//! comes, and as marks whose header and checks are made here, so that what is behind them is reached.
#![no_main]

use bytes::Bytes;
use larder_seal::watermark::{WATERMARK_LEN, Watermarks};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(data, None);
    let mut file = b"larderw\x01".to_vec();
    let marks = data.chunks_exact(WATERMARK_LEN - 8);
    let (whole, torn) = (8 + marks.len() * WATERMARK_LEN, marks.remainder().to_vec());
    for mark in marks {
        file.extend_from_slice(mark);
        file.extend_from_slice(&blake3::derive_key("larder 2026 watermark check", mark)[..8]);
    }
    file.extend_from_slice(&torn);
    check(&file, Some(whole));
});

fn check(data: &[u8], good_len: Option<usize>) {
    let Ok(loaded) = Watermarks::load(&Bytes::copy_from_slice(data)) else {
        assert!(good_len.is_none(), "marks that check must load");
        return;
    };
    assert!(loaded.good_len <= data.len());
    assert!(good_len.is_none_or(|len| len == loaded.good_len));
    let again = Watermarks::load(&loaded.watermarks.snapshot()).expect("our own snapshot");
    assert_eq!(again.watermarks, loaded.watermarks);
}
