//! What people type: recovery codes and names. No input panics; a code that parses is shown and read again.
#![no_main]

use larder_seal::names::{check_name, check_name_bytes, check_value_name};
use larder_seal::recovery::RecoveryCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(name) = check_name_bytes(data) {
        assert!(!name.is_empty() && !name.contains('/') && !name.contains('\0') && name != "..");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (check_name(text), check_value_name(text));
    if let Ok(code) = RecoveryCode::parse(text) {
        assert_eq!(RecoveryCode::parse(&code.to_text()), Ok(code));
    }
});
