//! Crockford's base 32: letters and digits that survive being read aloud, typed, and mailed. Five bytes are eight
//! symbols, most significant bits first. Reading ignores case, spaces and hyphens, and takes the letters that look
//! like digits for those.

use zeroize::Zeroizing;

/// The symbols by value.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Bytes that eight symbols carry.
pub(crate) const GROUP_LEN: usize = 5;

/// The value of a symbol as a person may type it.
pub(crate) fn symbol_value(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let byte = u8::try_from(upper).ok()?;
    ALPHABET.iter().position(|symbol| *symbol == byte).and_then(|i| u8::try_from(i).ok())
}

/// Writes bytes whose length is a multiple of five.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    debug_assert!(bytes.len().is_multiple_of(GROUP_LEN), "whole groups only");
    let mut out = Zeroizing::new(String::with_capacity(bytes.len() / GROUP_LEN * 8));
    for group in bytes.chunks_exact(GROUP_LEN) {
        let word = group.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        for at in (0..8).rev() {
            out.push(char::from(ALPHABET[(word >> (5 * at) & 31) as usize]));
        }
    }
    out
}

/// Reads exactly `len` bytes (a multiple of five); `None` if the text has other symbols or another length.
pub(crate) fn decode(text: &str, len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let symbols = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    let (mut word, mut count) = (0u64, 0);
    for symbol in symbols {
        word = word << 5 | u64::from(symbol_value(symbol)?);
        count += 1;
        if count == 8 {
            if out.len() + GROUP_LEN > len {
                return None;
            }
            out.extend_from_slice(&word.to_be_bytes()[3..]);
            (word, count) = (0, 0);
        }
    }
    (count == 0 && out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_survive_sloppy_typing(groups in 0usize..40, seed: u64) {
            let bytes: Vec<u8> = (0..groups * 5).map(|i| (seed >> (i % 57)) as u8 ^ i as u8).collect();
            let text = encode(&bytes);
            prop_assert_eq!(&*decode(&text, bytes.len()).unwrap(), &bytes);
            let sloppy = text.to_lowercase().replace('0', "o").replace('1', "-l ");
            prop_assert_eq!(&*decode(&sloppy, bytes.len()).unwrap(), &bytes);
            prop_assert!(decode(&text, bytes.len() + 5).is_none());
            if groups > 0 {
                prop_assert!(decode(&text[1..], bytes.len()).is_none());
                prop_assert!(decode(&text, bytes.len() - 5).is_none());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", len in 0usize..10) {
            let _ = decode(&text, len * 5);
        }
    }
}
