//! Tokens and what a node keeps of them. No input panics; what decodes has exactly these bytes, a text is read as it was
//! written, and narrowing what was decoded never widens it.
#![no_main]

use bytes::Bytes;
use larder_format::right::Right;
use larder_format::token::{Caveat, RootKey, Token, TokenRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = Token::parse(text)
    {
        assert_eq!(token.to_text(), text);
    }
    if let Ok(record) = TokenRecord::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(record.encode(), data);
        assert!(record.grant.is_within(&record.grant));
    }
    let Ok(token) = Token::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(token.encode(), data);
    assert_eq!(Token::parse(&token.to_text()), Ok(token.clone()));
    assert!(!token.is_of(&RootKey([1; 32])), "nobody guesses a tag");
    let caveats = [Caveat::Right(Right::Read), Caveat::Expires(7)];
    if let Ok(narrowed) = token.narrow(caveats) {
        assert!(narrowed.grant().is_within(&token.grant()));
        assert!(narrowed.grant().right == Right::Read && narrowed.grant().is_over(7));
    }
});
