//! Why sealing or opening failed, and what the caller should do about it.

use larder_format::codec::DecodeError;
use larder_format::error::Kind;
use larder_format::head::BadHead;
use larder_format::sealed::ShapeError;
use thiserror::Error;

use crate::fingerprint::Fingerprint;

/// Sealing or opening failed. No plaintext is released with any of these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// No slot of the vault header opens with this passphrase or recovery code.
    #[error("wrong {what}")]
    WrongSecret {
        /// "passphrase", "recovery code" or "recipient".
        what: &'static str,
    },
    /// The vault header has no slot of the kind asked for.
    #[error("the vault has no slot for a {what}")]
    NoSlot {
        /// "passphrase", "recovery code" or "recipient".
        what: &'static str,
    },
    /// The bytes are not what was sealed under this key, in this place: damaged, swapped or forged.
    #[error("sealed bytes do not verify what={what}")]
    Damaged {
        /// What was being opened.
        what: &'static str,
    },
    /// Bytes verify but say something else than they are used for: a page of the wrong level, a body of another
    /// file. Only the vault's owner (or a defect) can make such.
    #[error("sealed bytes contradict each other what={what}")]
    Contradiction {
        /// What disagrees.
        what: &'static str,
    },
    /// An Ed25519 signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// The vault header is signed by another vault than the one whose fingerprint is known.
    #[error("the vault header is not of the vault with the fingerprint {wanted}")]
    Stranger {
        /// The fingerprint that was asked for.
        wanted: Fingerprint,
    },
    /// The vault header is of the first format, which carries no signatures.
    #[error(
        "the vault header carries no signatures: it is of the first format, and its next change adds them"
    )]
    Unsigned,
    /// A recipient's public keys are not usable.
    #[error("these are not usable public keys of a recipient")]
    BadRecipient,
    /// Sealed bytes of an impossible shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Opened bytes that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A head that is too large.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// More plaintext than may be sealed in one piece.
    #[error("too long to seal what={what} len={len} max={max}")]
    TooLong {
        /// What was being sealed.
        what: &'static str,
        /// Length given, in bytes.
        len: usize,
        /// Limit, in bytes.
        max: usize,
    },
    /// Key derivation parameters outside the bounds that are safe to work with.
    #[error("key derivation parameters are out of bounds field={field} value={value} min={min} max={max}")]
    BadParameters {
        /// Which parameter.
        field: &'static str,
        /// Value found.
        value: u32,
        /// Least allowed.
        min: u32,
        /// Most allowed.
        max: u32,
    },
    /// A slot cannot be added or removed.
    #[error("cannot change the vault's slots: {why}")]
    Slots {
        /// The reason.
        why: &'static str,
    },
    /// A sealing session has sealed as much as one may; start another.
    #[error("the sealing session is used up; start another")]
    SessionSpent,
    /// A cryptographic operation failed that cannot fail with the arguments it was given.
    #[error("cryptography failed unexpectedly what={what}")]
    Crypto {
        /// Which operation.
        what: &'static str,
    },
}

impl SealError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::WrongSecret { .. } | Self::NoSlot { .. } | Self::BadSignature => Kind::Denied,
            Self::Stranger { .. } | Self::Unsigned => Kind::Denied,
            Self::Damaged { .. } | Self::Contradiction { .. } => Kind::Damaged,
            Self::Shape(e) => match e.kind() {
                Kind::TooNew => Kind::TooNew,
                _ => Kind::Damaged,
            },
            Self::Decode(DecodeError::TooNew { .. }) => Kind::TooNew,
            Self::Decode(_) | Self::BadParameters { .. } => Kind::Damaged,
            Self::Head(_) | Self::TooLong { .. } | Self::Slots { .. } | Self::BadRecipient => Kind::Invalid,
            Self::SessionSpent => Kind::Retry,
            Self::Crypto { .. } => Kind::Bug,
        }
    }
}
