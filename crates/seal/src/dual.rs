//! Dual signatures: what a vault's owner says of the vault itself is signed with Ed25519 *and* ML-DSA-65, and counts
//! only if both verify. A forger has to break both, and whoever pinned the [`Fingerprint`] of both public keys can check
//! without the root.
//!
//! Both keys follow from the root. ML-DSA's signatures are randomised by the library, so that two of the same message
//! differ.

use aws_lc_rs::signature::{KeyPair, ML_DSA_65, ML_DSA_65_SIGNING, PqdsaKeyPair, UnparsedPublicKey};
use bytes::Bytes;
use larder_format::ids::VaultId;

use crate::error::SealError;
use crate::fingerprint::Fingerprint;
use crate::keys::{PublicKey, Signer, VaultRoot};

/// Length of an ML-DSA-65 public key, in bytes.
pub const ML_DSA_PUBLIC_LEN: usize = 1952;
/// Length of an ML-DSA-65 signature, in bytes.
pub const ML_DSA_SIGNATURE_LEN: usize = 3309;

const FINGERPRINT: &str = "larder 2026 vault fingerprint";

/// Both public keys of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DualPublic {
    /// Ed25519.
    pub ed25519: PublicKey,
    /// ML-DSA-65, [`ML_DSA_PUBLIC_LEN`] bytes.
    pub ml_dsa: Bytes,
}

/// Two signatures of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DualSignature {
    /// Ed25519.
    pub ed25519: [u8; 64],
    /// ML-DSA-65, [`ML_DSA_SIGNATURE_LEN`] bytes.
    pub ml_dsa: Bytes,
}

/// Signs for a vault with both keys.
#[derive(Debug)]
pub struct DualSigner {
    ed25519: Signer,
    ml_dsa: PqdsaKeyPair,
}

impl DualPublic {
    /// What names these keys and the vault they belong to, for people.
    #[must_use]
    pub fn fingerprint(&self, vault: VaultId) -> Fingerprint {
        Fingerprint::of(FINGERPRINT, &[&vault.0, &self.ed25519.0, &self.ml_dsa])
    }

    /// Checks both signatures.
    ///
    /// # Errors
    /// [`SealError::BadSignature`] if either does not verify.
    pub fn verify(&self, message: &[u8], signature: &DualSignature) -> Result<(), SealError> {
        self.ed25519.verify_bytes(message, &signature.ed25519)?;
        UnparsedPublicKey::new(&ML_DSA_65, &self.ml_dsa)
            .verify(message, &signature.ml_dsa)
            .map_err(|_| SealError::BadSignature)
    }
}

impl DualSigner {
    /// Both public keys.
    #[must_use]
    pub fn public(&self) -> DualPublic {
        let ml_dsa = Bytes::copy_from_slice(self.ml_dsa.public_key().as_ref());
        DualPublic { ed25519: self.ed25519.public(), ml_dsa }
    }

    /// Signs a message that begins with a domain of its own.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<DualSignature, SealError> {
        let mut ml_dsa = vec![0; ML_DSA_SIGNATURE_LEN];
        let signed = self.ml_dsa.sign(message, &mut ml_dsa);
        if signed != Ok(ML_DSA_SIGNATURE_LEN) {
            return Err(SealError::Crypto { what: "ml-dsa-65 signature" });
        }
        Ok(DualSignature { ed25519: self.ed25519.sign_bytes(message), ml_dsa: ml_dsa.into() })
    }
}

impl VaultRoot {
    /// The keys that sign what is said of the vault itself.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the library fails.
    pub fn dual_signer(&self) -> Result<DualSigner, SealError> {
        let seed = self.derive("sign-ml-dsa-65");
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, seed.expose())
            .map_err(|_| SealError::Crypto { what: "ml-dsa-65 key" })?;
        Ok(DualSigner { ed25519: self.signer(), ml_dsa })
    }

    /// The vault's fingerprint.
    ///
    /// # Errors
    /// As [`VaultRoot::dual_signer`].
    pub fn fingerprint(&self) -> Result<Fingerprint, SealError> {
        Ok(self.dual_signer()?.public().fingerprint(self.id()))
    }
}

#[cfg(test)]
mod tests {
    use larder_format::rng::SeededRng;

    use super::*;

    #[test]
    fn both_signatures_are_needed() {
        let root = VaultRoot::generate(&mut SeededRng::new(1));
        let signer = root.dual_signer().unwrap();
        let public = signer.public();
        assert_eq!(public, root.dual_signer().unwrap().public(), "the keys follow from the root");
        let (good, other) = (signer.sign(b"this").unwrap(), signer.sign(b"that").unwrap());
        public.verify(b"this", &good).unwrap();
        let half = DualSignature { ed25519: other.ed25519, ..good.clone() };
        assert_eq!(public.verify(b"this", &half), Err(SealError::BadSignature));
        let half = DualSignature { ml_dsa: other.ml_dsa, ..good.clone() };
        assert_eq!(public.verify(b"this", &half), Err(SealError::BadSignature));
        let stranger = VaultRoot::generate(&mut SeededRng::new(2)).dual_signer().unwrap().public();
        for mixed in [
            DualPublic { ed25519: stranger.ed25519, ..public.clone() },
            DualPublic { ml_dsa: stranger.ml_dsa, ..public.clone() },
        ] {
            assert_eq!(mixed.verify(b"this", &good), Err(SealError::BadSignature));
            assert_ne!(mixed.fingerprint(root.id()), public.fingerprint(root.id()));
        }
    }
}
