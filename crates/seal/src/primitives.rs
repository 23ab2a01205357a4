//! Thin, typed wrappers of the primitives of suite 1, so that nothing else names the library they come from:
//! HKDF-SHA256, HMAC-SHA256, AES-256-GCM, and 32 secret bytes that are wiped when dropped.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use larder_format::rng::Rng;
use larder_format::sealed::TAG_LEN;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::SealError;

/// 32 secret bytes, wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes. The caller wipes its own copy.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Draws them.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut out = Self([0; 32]);
        rng.fill(&mut out.0);
        out
    }

    /// The bytes. Do not copy them to where they are not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes, to be filled in place.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 (RFC 5869). `info` is the concatenation of its parts.
pub(crate) fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let okm = prk.expand(info, OutputLen(out.len())).expect("an output of at most 64 bytes is allowed");
    okm.fill(out).expect("the output has the length that was asked for");
}

/// HKDF-SHA256 to 32 bytes.
pub(crate) fn hkdf_secret(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Secret {
    let mut out = Secret([0; 32]);
    hkdf_sha256(salt, secret, info, &mut out.0);
    out
}

/// A key for HMAC-SHA256.
pub(crate) struct MacKey(hmac::Key);

impl MacKey {
    pub(crate) fn new(key: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// HMAC over the concatenation of the parts.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// Whether two byte strings are equal, in time that depends on their length only.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// A key for AES-256-GCM.
pub(crate) struct AeadKey(LessSafeKey);

/// A nonce, as the 12 bytes AES-GCM takes.
pub(crate) type NonceBytes = [u8; 12];

/// The nonce of every key that seals exactly one plaintext.
pub(crate) const NONCE_ONCE: NonceBytes = [0; 12];

impl AeadKey {
    /// # Panics
    /// Never: the key has the length the algorithm wants.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes");
        Self(LessSafeKey::new(unbound))
    }

    /// Encrypts `plain` into `out`, which takes as many bytes and the tag.
    pub(crate) fn seal(
        &self,
        nonce: NonceBytes,
        aad: &[u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        assert_eq!(out.len(), plain.len() + TAG_LEN, "the output takes the ciphertext and the tag");
        let (cipher, tag) = out.split_at_mut(plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plain, cipher, &[], tag)
            .map_err(|_| SealError::Crypto { what: "aes-256-gcm seal" })
    }

    /// Decrypts `sealed` (ciphertext and tag) into `out`, which takes as many bytes less the tag. On failure
    /// `out` is zeroed.
    pub(crate) fn open(
        &self,
        nonce: NonceBytes,
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
        what: &'static str,
    ) -> Result<(), SealError> {
        assert_eq!(out.len() + TAG_LEN, sealed.len(), "the input is the ciphertext and the tag");
        let (cipher, tag) = sealed.split_at(out.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), cipher, tag, out).map_err(|_| {
            out.fill(0);
            SealError::Damaged { what }
        })
    }
}
