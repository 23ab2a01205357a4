//! Identifiers. Each is its own type, so that a lease token can never be passed where a blob id belongs.

use std::fmt;

/// Writes bytes as lower-case hexadecimal.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Text that is not the hexadecimal form of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: want {want} hexadecimal digits, got {got} characters")]
pub struct ParseIdError {
    /// Hexadecimal digits wanted.
    pub want: usize,
    /// Characters given.
    pub got: usize,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                write_hex(f, &self.0[..self.0.len().min(6)])?;
                f.write_str("…)")
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;
            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError { want: $len, got: bytes.len() })
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bad = || ParseIdError { want: $len * 2, got: text.chars().count() };
                if text.len() != $len * 2 {
                    return Err(bad());
                }
                let mut out = [0; $len];
                if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(bad());
                }
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).map_err(|_| bad())?;
                }
                Ok(Self(out))
            }
        }
    };
}

byte_id!(
    /// Name of a blob: BLAKE3 of its (sealed) bytes.
    BlobId, 32
);
byte_id!(
    /// One reason to keep blobs, random, never reused.
    LeaseToken, 16
);
byte_id!(
    /// Names one attempt to change something, chosen by whoever asks, so that a retry is recognised.
    OperationId, 16
);
byte_id!(
    /// A node of a mesh, for good.
    NodeId, 16
);
byte_id!(
    /// A vault: what a client owns.
    VaultId, 16
);
byte_id!(
    /// One store (one data folder) of one node. A copy of the folder carries the same id, which is how a
    /// clone is noticed.
    StoreId, 16
);

byte_id!(
    /// A capability token, random. Not secret: the token's text is.
    TokenId, 8
);

impl BlobId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl OperationId {
    /// Bytes at the start of an id that [`OperationId::named`] made which its name alone decides.
    pub const NAME_LEN: usize = 8;

    /// The id of an operation that a client gave a name, and the parts of what it asks. The same name with other parts
    /// makes an id that begins alike, by which such a mistake is noticed.
    #[must_use]
    pub fn named(name: &[u8], parts: &[&[u8]]) -> Self {
        let mut asked = blake3::Hasher::new_derive_key("larder 2026 operation request");
        for part in parts {
            asked.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let mut id = [0; Self::LEN];
        let named = blake3::derive_key("larder 2026 operation name", name);
        id[..Self::NAME_LEN].copy_from_slice(&named[..Self::NAME_LEN]);
        id[Self::NAME_LEN..].copy_from_slice(&asked.finalize().as_bytes()[..Self::LEN - Self::NAME_LEN]);
        Self(id)
    }

    /// Whether two ids are of one name and not of one request.
    #[must_use]
    pub fn is_named_as(&self, other: &Self) -> bool {
        self != other && self.0[..Self::NAME_LEN] == other.0[..Self::NAME_LEN]
    }
}

/// A namespace, by the hash of its name: the same name means the same namespace on every node without
/// anyone having to hand out numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u64);

impl NamespaceId {
    /// Holds the settings of all namespaces, itself excepted.
    pub const SYSTEM: NamespaceId = NamespaceId(0);

    /// Holds what a node keeps for itself: its own quota, how far its scrub has come. No door leads to it.
    pub const NODE: NamespaceId = NamespaceId(1);

    /// The id for a name. Never equals [`NamespaceId::SYSTEM`] or [`NamespaceId::NODE`].
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = blake3::derive_key("larder 2026 namespace id", name.as_bytes());
        let mut word = [0; 8];
        word.copy_from_slice(&hash[..8]);
        Self(u64::from_le_bytes(word).max(2))
    }
}

impl fmt::Debug for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamespaceId({:016x})", self.0)
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One life of a node's memory or disk: when it began and a random number, so that a restart, a restored
/// disk and a cloned folder are all told apart. Sorts by start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Hybrid time at which this life began.
    pub start: crate::clock::Hlc,
    /// 64 random bits.
    pub nonce: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_for_two_requests_is_noticed() {
        let id = |name: &str, parts: &[&[u8]]| OperationId::named(name.as_bytes(), parts);
        let put = id("a", &[b"put", b"body"]);
        assert_eq!(put, id("a", &[b"put", b"body"]));
        assert!(put.is_named_as(&id("a", &[b"put", b"bod", b"y"])));
        assert!(!put.is_named_as(&put) && !put.is_named_as(&id("b", &[b"put", b"body"])));
    }

    #[test]
    fn text_form_round_trips_and_rejects_what_is_not_hex() {
        let id = LeaseToken([0xab; 16]);
        assert_eq!(id.to_string().parse::<LeaseToken>(), Ok(id));
        assert!("zz".repeat(16).parse::<LeaseToken>().is_err());
        assert!("+1".repeat(16).parse::<LeaseToken>().is_err(), "a sign is not a digit");
        assert!("é".repeat(16).parse::<LeaseToken>().is_err());
    }
}
