//! Percent-encoding, as in RFC 3986.

use std::fmt::Write as _;

use super::Bad;

/// The bytes that a part of a path stands for. `+` stays: only queries write spaces that way.
///
/// # Errors
/// A `%` without two hexadecimal digits.
pub fn decode(text: &str) -> Result<Vec<u8>, Bad> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let digit = |offset: usize| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
        match (digit(1), digit(2)) {
            (Some(high), Some(low)) => out.push(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => return Err(Bad::new("percent-encoding is broken: write % as %25")),
        }
        at += 3;
    }
    Ok(out)
}

/// Bytes as they may stand in a path or a query; `/` stays as it is.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_encoding_is_refused() {
        for text in ["%", "%4", "%zz", "a%2", "%%41", "%+1"] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert_eq!(decode("a+b%2Fc%00%ff").unwrap(), b"a+b/c\0\xff");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = decode(&text);
        }
    }
}
