//! Recipients: people and devices that a vault can be opened by without a shared passphrase.
//!
//! An [`Identity`] is a pair of secret keys, X25519 and ML-KEM-768; its public half is a [`Recipient`]. Wrapping a root
//! for a recipient takes both key agreements, and so does unwrapping: whoever breaks one of them alone (a quantum
//! computer the first, a flaw in a young scheme the second) has nothing. The combination is HKDF-SHA256 over both
//! shared secrets, bound to both ciphertexts and both public keys.
//!
//! ML-KEM's keys and ciphertexts are drawn by the library's own generator, which cannot be given another: what is made
//! here is not reproducible from a seed, as everything else is.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::rng::Rng;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::base32;
use crate::error::SealError;
use crate::fingerprint::Fingerprint;
use crate::primitives::{Secret, hkdf_secret};

/// Length of an X25519 key, in bytes.
const X25519_LEN: usize = 32;
/// Length of an ML-KEM-768 public key, in bytes.
const ML_KEM_PUBLIC_LEN: usize = 1184;
/// Length of an ML-KEM-768 secret key, in bytes.
const ML_KEM_SECRET_LEN: usize = 2400;
/// Where the public key stands in the secret one (FIPS 203, 7.1: it follows the secret vector).
const PUBLIC_IN_SECRET: std::ops::Range<usize> = 1152..1152 + ML_KEM_PUBLIC_LEN;
/// Length of an ML-KEM-768 ciphertext, in bytes.
const ML_KEM_CIPHERTEXT_LEN: usize = 1088;
/// Length of what a slot keeps of both key agreements, in bytes.
pub(crate) const ENCAPSULATED_LEN: usize = X25519_LEN + ML_KEM_CIPHERTEXT_LEN;

/// Bytes of check behind a recipient's text; with it the length is a multiple of five.
const RECIPIENT_CHECK_LEN: usize = 4;
/// Bytes of check behind an identity's text.
const IDENTITY_CHECK_LEN: usize = 8;
/// How a recipient's text begins.
const RECIPIENT_PREFIX: &str = "larder-recipient-1-";
/// How an identity's text begins.
const IDENTITY_PREFIX: &str = "larder-secret-identity-1-";
/// Longest text of either kind that is read, in bytes: twice the longest, for line breaks and comments.
pub const KEY_TEXT_LEN_MAX: usize = 8192;

const RECIPIENT_CHECK: &str = "larder 2026 recipient checksum";
const IDENTITY_CHECK: &str = "larder 2026 identity checksum";
const FINGERPRINT: &str = "larder 2026 recipient fingerprint";
const DOMAIN: &[u8] = b"larder/1/recipient";

/// Text that is not a recipient or an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKeyText {
    /// It begins otherwise.
    #[error("this is no {what}: it does not begin with {prefix}")]
    Other {
        /// "recipient" or "secret identity".
        what: &'static str,
        /// How one begins.
        prefix: &'static str,
    },
    /// It was cut short or changed on the way.
    #[error("the {what} is incomplete or was changed: its check does not fit")]
    Damaged {
        /// "recipient" or "secret identity".
        what: &'static str,
    },
    /// The secret identity where the public recipient belongs.
    #[error("this is the secret identity; give the public recipient, which begins with {RECIPIENT_PREFIX}")]
    Secret,
}

impl BadKeyText {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Damaged { .. } => Kind::Damaged,
            _ => Kind::Invalid,
        }
    }
}

/// Whom a vault can be wrapped for. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    x25519: [u8; X25519_LEN],
    ml_kem: Bytes,
}

impl Recipient {
    fn bytes(&self) -> Vec<u8> {
        [&self.x25519[..], &self.ml_kem].concat()
    }

    /// What two people compare to be sure that they mean the same keys.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(FINGERPRINT, &[&self.x25519, &self.ml_kem])
    }

    /// One line of text, to be mailed or put in a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        text(RECIPIENT_PREFIX, &self.bytes(), RECIPIENT_CHECK, RECIPIENT_CHECK_LEN).to_string()
    }

    /// Reads [`Recipient::to_text`], also with line breaks, and with comments on lines that begin with `#`.
    ///
    /// # Errors
    /// [`BadKeyText`].
    pub fn parse(given: &str) -> Result<Self, BadKeyText> {
        if after_prefix(given, IDENTITY_PREFIX).is_some() {
            return Err(BadKeyText::Secret);
        }
        let len = X25519_LEN + ML_KEM_PUBLIC_LEN;
        let bytes = untext("recipient", RECIPIENT_PREFIX, given, len, RECIPIENT_CHECK, RECIPIENT_CHECK_LEN)?;
        let (mut x25519, ml_kem) = ([0; X25519_LEN], Bytes::copy_from_slice(&bytes[X25519_LEN..]));
        x25519.copy_from_slice(&bytes[..X25519_LEN]);
        Ok(Self { x25519, ml_kem })
    }

    /// Agrees on a secret with whoever has the identity. Answers what they need to agree on it too.
    ///
    /// # Errors
    /// [`SealError::BadRecipient`] if its keys are none.
    pub(crate) fn encapsulate(&self, rng: &mut impl Rng) -> Result<(Bytes, Secret), SealError> {
        let bad = |_| SealError::BadRecipient;
        let ephemeral = Secret::random(rng);
        let ephemeral_public = x25519_public(&ephemeral)?;
        let classic = x25519(&ephemeral, &self.x25519)?;
        let key = EncapsulationKey::new(&ML_KEM_768, &self.ml_kem).map_err(|_| SealError::BadRecipient)?;
        let (ciphertext, quantum) = key.encapsulate().map_err(bad)?;
        let encapsulated = [&ephemeral_public[..], ciphertext.as_ref()].concat();
        let secret = self.combine(&classic, quantum.as_ref(), &encapsulated);
        Ok((encapsulated.into(), secret))
    }

    fn combine(&self, classic: &Secret, quantum: &[u8], encapsulated: &[u8]) -> Secret {
        let mut both = Zeroizing::new(Vec::with_capacity(64));
        both.extend_from_slice(classic.expose());
        both.extend_from_slice(quantum);
        hkdf_secret(DOMAIN, &both, &[DOMAIN, encapsulated, &self.x25519, &self.ml_kem])
    }
}

/// The secret keys of a person or device. Wiped when dropped, never printed by `Debug`.
pub struct Identity {
    x25519: Secret,
    ml_kem: Zeroizing<Vec<u8>>,
    public: Recipient,
}

impl Identity {
    /// Draws new keys.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the library fails.
    pub fn generate(rng: &mut impl Rng) -> Result<Self, SealError> {
        let failed = |_| SealError::Crypto { what: "ml-kem-768 key generation" };
        let key = DecapsulationKey::generate(&ML_KEM_768).map_err(failed)?;
        let ml_kem = Zeroizing::new(key.key_bytes().map_err(failed)?.as_ref().to_vec());
        Self::from_parts(Secret::random(rng), ml_kem)
    }

    fn from_parts(x25519: Secret, ml_kem: Zeroizing<Vec<u8>>) -> Result<Self, SealError> {
        let public = Recipient {
            x25519: x25519_public(&x25519)?,
            ml_kem: Bytes::copy_from_slice(&ml_kem[PUBLIC_IN_SECRET]),
        };
        Ok(Self { x25519, ml_kem, public })
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.public
    }

    /// One line of text, to be kept in a file that nobody else can read.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(X25519_LEN + ML_KEM_SECRET_LEN));
        bytes.extend_from_slice(self.x25519.expose());
        bytes.extend_from_slice(&self.ml_kem);
        text(IDENTITY_PREFIX, &bytes, IDENTITY_CHECK, IDENTITY_CHECK_LEN)
    }

    /// Reads [`Identity::to_text`], also with line breaks, and with comments on lines that begin with `#`.
    ///
    /// # Errors
    /// [`BadKeyText`].
    pub fn parse(given: &str) -> Result<Self, BadKeyText> {
        let what = "secret identity";
        let len = X25519_LEN + ML_KEM_SECRET_LEN;
        let bytes = untext(what, IDENTITY_PREFIX, given, len, IDENTITY_CHECK, IDENTITY_CHECK_LEN)?;
        let mut x25519 = [0; X25519_LEN];
        x25519.copy_from_slice(&bytes[..X25519_LEN]);
        let secret = Secret::new(x25519);
        x25519.zeroize();
        let ml_kem = Zeroizing::new(bytes[X25519_LEN..].to_vec());
        Self::from_parts(secret, ml_kem).map_err(|_| BadKeyText::Damaged { what })
    }

    /// The secret that [`Recipient::encapsulate`] agreed on. With other keys it is another one: ML-KEM does not say
    /// so, the slot's commitment does.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if no such thing was encapsulated for anyone.
    pub(crate) fn decapsulate(&self, encapsulated: &[u8; ENCAPSULATED_LEN]) -> Result<Secret, SealError> {
        let damaged = SealError::Damaged { what: "recipient slot" };
        let (theirs, ciphertext) = encapsulated.split_at(X25519_LEN);
        let classic = x25519(&self.x25519, theirs).map_err(|_| damaged.clone())?;
        let key = DecapsulationKey::new(&ML_KEM_768, &self.ml_kem).map_err(|_| damaged.clone())?;
        let quantum = key.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| damaged)?;
        Ok(self.public.combine(&classic, quantum.as_ref(), encapsulated))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.public.fingerprint())
    }
}

fn x25519_public(secret: &Secret) -> Result<[u8; X25519_LEN], SealError> {
    let failed = SealError::Crypto { what: "x25519 public key" };
    let key = PrivateKey::from_private_key(&X25519, secret.expose()).map_err(|_| failed.clone())?;
    let public = key.compute_public_key().map_err(|_| failed.clone())?;
    public.as_ref().try_into().map_err(|_| failed)
}

/// The shared secret; refuses points that make it zero, whatever the secret.
fn x25519(secret: &Secret, public: &[u8]) -> Result<Secret, SealError> {
    let key = PrivateKey::from_private_key(&X25519, secret.expose())
        .map_err(|_| SealError::Crypto { what: "x25519" })?;
    agree(&key, UnparsedPublicKey::new(&X25519, public), SealError::BadRecipient, |shared| {
        let mut out = Secret::new([0; 32]);
        if shared.len() != 32 || shared.iter().all(|byte| *byte == 0) {
            return Err(SealError::BadRecipient);
        }
        out.expose_mut().copy_from_slice(shared);
        Ok(out)
    })
}

fn text(prefix: &str, bytes: &[u8], context: &str, check_len: usize) -> Zeroizing<String> {
    let mut all = Zeroizing::new(Vec::with_capacity(bytes.len() + check_len));
    all.extend_from_slice(bytes);
    all.extend_from_slice(&blake3::derive_key(context, bytes)[..check_len]);
    let symbols = base32::encode(&all);
    let mut out = Zeroizing::new(String::with_capacity(prefix.len() + symbols.len()));
    out.push_str(prefix);
    out.push_str(&symbols);
    out
}

fn untext(
    what: &'static str,
    prefix: &'static str,
    given: &str,
    len: usize,
    context: &str,
    check_len: usize,
) -> Result<Zeroizing<Vec<u8>>, BadKeyText> {
    let symbols = after_prefix(given, prefix).ok_or(BadKeyText::Other { what, prefix })?;
    let mut bytes = base32::decode(&symbols, len + check_len).ok_or(BadKeyText::Damaged { what })?;
    if blake3::derive_key(context, &bytes[..len])[..check_len] != bytes[len..] {
        return Err(BadKeyText::Damaged { what });
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// What follows the prefix, comments and white space left out.
fn after_prefix(given: &str, prefix: &str) -> Option<Zeroizing<String>> {
    if given.len() > KEY_TEXT_LEN_MAX {
        return None;
    }
    let lines = given.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut all = Zeroizing::new(String::with_capacity(given.len()));
    lines.for_each(|line| all.extend(line.chars().filter(|c| !c.is_whitespace())));
    let begins = all.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins.then(|| Zeroizing::new(all[prefix.len()..].to_owned()))
}

#[cfg(test)]
#[path = "recipient_tests.rs"]
mod tests;
