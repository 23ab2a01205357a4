//! Fingerprints: 160 bits that name a vault's signing keys or a recipient's public keys, short enough to be compared
//! by two people on the telephone.

use std::fmt;

use crate::base32;

/// Bytes of a fingerprint: finding a second thing with a given one takes 2¹⁶⁰ tries.
pub const FINGERPRINT_LEN: usize = 20;
/// Symbols between hyphens.
const GROUP_SYMBOLS: usize = 4;

/// Names public keys. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; FINGERPRINT_LEN]);

impl Fingerprint {
    /// Of the concatenation of these parts, under a context of its own.
    pub(crate) fn of(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut out = [0; FINGERPRINT_LEN];
        out.copy_from_slice(&hasher.finalize().as_bytes()[..FINGERPRINT_LEN]);
        Self(out)
    }

    /// Reads what a person typed; `None` if it is no fingerprint.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = base32::decode(text, FINGERPRINT_LEN)?;
        let mut out = [0; FINGERPRINT_LEN];
        out.copy_from_slice(&bytes);
        Some(Self(out))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = base32::encode(&self.0);
        for (i, symbol) in symbols.chars().enumerate() {
            if i > 0 && i % GROUP_SYMBOLS == 0 {
                f.write_str("-")?;
            }
            write!(f, "{symbol}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let shown = Fingerprint::of("larder test", &[b"a", b"b"]);
        let text = shown.to_string();
        assert_eq!(text.len(), 39, "{text}");
        assert_eq!(Fingerprint::parse(&text), Some(shown));
        assert_eq!(Fingerprint::parse(&text.to_lowercase().replace('-', " ")), Some(shown));
        assert_eq!(Fingerprint::parse(&text[2..]), None);
        assert_ne!(Fingerprint::of("larder test", &[b"a", b"c"]), shown);
    }
}
