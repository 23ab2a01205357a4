//! The clear shape of sealed bytes: what anyone, a blind node included, can check without a key.
//!
//! Two shapes exist. A *sealed blob* is `suite ‖ kind ‖ commitment ‖ ciphertext ‖ tag`; a *sealed record part*
//! (head or body) is `suite ‖ kind ‖ generation ‖ salt ‖ counter ‖ ciphertext ‖ tag`. The vault header travels
//! as a record body of its own kind. The checks here say "this can be one of ours", never "this is intact":
//! that needs keys and is `larder-seal`'s. `docs/design/format-seal.md` has every byte.

use thiserror::Error;

use crate::error::Kind;
use crate::limits::{BLOB_LEN_MAX, HEAD_LEN_MAX, VALUE_LEN_MAX};

/// The first suite: AES-256-GCM, HKDF-SHA256, HMAC-SHA256, BLAKE3, Ed25519, Argon2id.
pub const SUITE_1: u8 = 1;

/// Bytes before the ciphertext of a sealed blob: suite, kind, commitment.
pub const BLOB_HEADER_LEN: usize = 1 + 1 + COMMITMENT_LEN;

/// Length of a key commitment, in bytes.
pub const COMMITMENT_LEN: usize = 32;

/// Length of an AES-GCM tag, in bytes.
pub const TAG_LEN: usize = 16;

/// What sealing adds to a padded chunk, in bytes.
pub const BLOB_OVERHEAD_LEN: usize = BLOB_HEADER_LEN + TAG_LEN;

/// Length of a sealing session's salt, in bytes.
pub const SESSION_SALT_LEN: usize = 16;

/// Bytes before the ciphertext of a sealed record part: suite, kind, key generation, salt, counter.
pub const PART_HEADER_LEN: usize = 1 + 1 + 4 + SESSION_SALT_LEN + 8;

/// What sealing adds to a padded record part, in bytes.
pub const PART_OVERHEAD_LEN: usize = PART_HEADER_LEN + TAG_LEN;

/// Shortest padded plaintext of a blob, in bytes: the tail of a file shows nothing finer.
pub const BLOB_PADDED_LEN_MIN: usize = 512;

/// Shortest padded plaintext of a record part, in bytes. Values of a hundred bytes are common, so it is small.
pub const PART_PADDED_LEN_MIN: usize = 64;

/// Shortest vault header: its fixed fields without any slot.
pub const VAULT_HEADER_LEN_MIN: usize = 2 + 1 + 16 + 8 + 32 + 4 + 4 + 32 + 16;

/// What a sealed thing is; the second byte of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SealedKind {
    /// A chunk of a file, as a blob.
    Chunk = 1,
    /// A page of a manifest's tree, as a blob.
    Page = 2,
    /// A record's head.
    Head = 3,
    /// A record's body.
    Body = 4,
    /// A vault header, as a record's body.
    VaultHeader = 5,
}

impl SealedKind {
    /// From its byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Chunk,
            2 => Self::Page,
            3 => Self::Head,
            4 => Self::Body,
            5 => Self::VaultHeader,
            _ => return None,
        })
    }

    /// As its byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        self as u8
    }
}

/// Bytes that cannot be what they are offered as.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// The suite byte is above those this program knows.
    #[error("sealed with a newer suite suite={suite} supported={SUITE_1}; upgrade larder")]
    NewerSuite {
        /// Suite found.
        suite: u8,
    },
    /// The suite byte was never given out.
    #[error("not sealed: this place takes sealed bytes only suite={suite}")]
    NotSealed {
        /// Byte found where a suite belongs.
        suite: u8,
    },
    /// Sealed, but another thing than belongs here.
    #[error("wrong kind of sealed bytes want={want} kind={kind}")]
    WrongKind {
        /// What belongs here.
        want: &'static str,
        /// Kind byte found.
        kind: u8,
    },
    /// Shorter or longer than anything of this kind can be.
    #[error("impossible length of sealed bytes what={what} len={len} min={min} max={max}")]
    Length {
        /// What was checked.
        what: &'static str,
        /// Length found.
        len: usize,
        /// Shortest possible.
        min: usize,
        /// Longest possible.
        max: usize,
    },
}

impl ShapeError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NewerSuite { .. } => Kind::TooNew,
            _ => Kind::Invalid,
        }
    }
}

/// Checks a blob offered to a sealed namespace.
///
/// # Errors
/// [`ShapeError`] if no chunk or page can look like this.
pub fn check_blob(bytes: &[u8]) -> Result<SealedKind, ShapeError> {
    let min = BLOB_OVERHEAD_LEN + BLOB_PADDED_LEN_MIN;
    match leading_kind("blob", bytes, min, BLOB_LEN_MAX)? {
        Some(kind @ (SealedKind::Chunk | SealedKind::Page)) => Ok(kind),
        _ => Err(ShapeError::WrongKind { want: "chunk or page", kind: bytes[1] }),
    }
}

/// Checks a record head offered to a sealed namespace. An empty head is allowed: not every record has one.
///
/// # Errors
/// [`ShapeError`] if no head can look like this.
pub fn check_head(bytes: &[u8]) -> Result<(), ShapeError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let min = PART_OVERHEAD_LEN + PART_PADDED_LEN_MIN;
    match leading_kind("head", bytes, min, HEAD_LEN_MAX)? {
        Some(SealedKind::Head) => Ok(()),
        _ => Err(ShapeError::WrongKind { want: "head", kind: bytes[1] }),
    }
}

/// Checks a record body offered to a sealed namespace: a sealed body or a vault header.
///
/// # Errors
/// [`ShapeError`] if no body can look like this.
pub fn check_body(bytes: &[u8]) -> Result<SealedKind, ShapeError> {
    let min = PART_OVERHEAD_LEN + PART_PADDED_LEN_MIN;
    match leading_kind("body", bytes, min, VALUE_LEN_MAX)? {
        Some(SealedKind::Body) => Ok(SealedKind::Body),
        Some(SealedKind::VaultHeader) if bytes.len() >= VAULT_HEADER_LEN_MIN => Ok(SealedKind::VaultHeader),
        _ => Err(ShapeError::WrongKind { want: "body", kind: bytes[1] }),
    }
}

fn leading_kind(
    what: &'static str,
    bytes: &[u8],
    min: usize,
    max: usize,
) -> Result<Option<SealedKind>, ShapeError> {
    match bytes.first() {
        Some(&SUITE_1) => {}
        Some(0) => return Err(ShapeError::NotSealed { suite: 0 }),
        // Suites are given out from 1 up and stay below the first printable character, so that text sent
        // to a sealed namespace by mistake is told apart from data of a newer program.
        Some(&suite) if suite < b' ' => return Err(ShapeError::NewerSuite { suite }),
        Some(&suite) => return Err(ShapeError::NotSealed { suite }),
        None => return Err(ShapeError::Length { what, len: 0, min, max }),
    }
    if bytes.len() < min || bytes.len() > max {
        return Err(ShapeError::Length { what, len: bytes.len(), min, max });
    }
    Ok(SealedKind::from_byte(bytes[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = SUITE_1;
        bytes[1] = kind;
        bytes
    }

    #[test]
    fn each_place_takes_its_own_kinds_only() {
        for kind in 0..=8u8 {
            let bytes = shaped(kind, 700);
            assert_eq!(check_blob(&bytes).is_ok(), kind == 1 || kind == 2, "blob kind={kind}");
            assert_eq!(check_head(&bytes).is_ok(), kind == 3, "head kind={kind}");
            assert_eq!(check_body(&bytes).is_ok(), kind == 4 || kind == 5, "body kind={kind}");
        }
    }

    #[test]
    fn lengths_are_held_at_both_ends() {
        let min = BLOB_OVERHEAD_LEN + BLOB_PADDED_LEN_MIN;
        assert!(check_blob(&shaped(1, min)).is_ok());
        assert!(matches!(check_blob(&shaped(1, min - 1)), Err(ShapeError::Length { .. })));
        assert!(matches!(check_blob(&shaped(1, BLOB_LEN_MAX + 1)), Err(ShapeError::Length { .. })));
        assert!(check_head(&shaped(3, HEAD_LEN_MAX)).is_ok());
        assert!(matches!(check_head(&shaped(3, HEAD_LEN_MAX + 1)), Err(ShapeError::Length { .. })));
        assert!(matches!(check_body(&[]), Err(ShapeError::Length { .. })));
        assert!(check_head(&[]).is_ok());
        assert!(check_body(&shaped(5, VAULT_HEADER_LEN_MIN - 1)).is_err());
    }

    #[test]
    fn text_is_not_sealed_and_a_later_suite_is_newer() {
        let mut bytes = shaped(4, 700);
        bytes[0] = b'h';
        assert_eq!(check_body(&bytes), Err(ShapeError::NotSealed { suite: b'h' }));
        bytes[0] = 2;
        assert_eq!(check_body(&bytes).unwrap_err().kind(), Kind::TooNew);
    }
}
