//! Statements: no input panics, and what decodes has one encoding.
#![no_main]

use bytes::Bytes;
use larder_format::manifest::Statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(statement) = Statement::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(statement.encode(), data);
    }
});
