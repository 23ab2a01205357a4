//! The vault's keys: one random root, from which HKDF-SHA256 labels derive all else.
//!
//! Losing the root loses the vault; knowing it opens all of it. It is kept wrapped in the slots of a
//! [`crate::header::VaultHeader`] and in the memory of whoever has the vault open, nowhere else. All secrets here
//! are wiped when dropped, as far as a program can promise that (not: copies the operating system swaps out).

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use larder_format::head::DirId;
use larder_format::ids::VaultId;
use larder_format::manifest::Statement;
use larder_format::rng::Rng;

use crate::error::SealError;
use crate::primitives::{Secret, hkdf_secret, hkdf_sha256};

/// First part of every derivation's info: the suite is part of it, so that a later suite shares no key.
const INFO: &[u8] = b"larder/1/";

/// A vault's root secret with its id.
#[derive(Clone, Debug)]
pub struct VaultRoot {
    id: VaultId,
    root: Secret,
}

impl VaultRoot {
    /// A new vault.
    #[must_use]
    pub fn generate(rng: &mut impl Rng) -> Self {
        Self { id: VaultId(rng.array()), root: Secret::random(rng) }
    }

    /// From a root that was unwrapped, or handed over by the agent.
    #[must_use]
    pub fn from_parts(id: VaultId, root: Secret) -> Self {
        Self { id, root }
    }

    /// The vault's id. Not secret.
    #[must_use]
    pub fn id(&self) -> VaultId {
        self.id
    }

    /// The root itself. To wrap it, or to hand it to the agent over its private socket.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.root
    }

    /// Derives 32 bytes under a label. Labels are listed in `docs/design/format-seal.md`; a program built on
    /// this crate takes one that begins with its own name.
    #[must_use]
    pub fn derive(&self, label: &str) -> Secret {
        hkdf_secret(&self.id.0, self.root.expose(), &[INFO, label.as_bytes()])
    }

    /// Derives 32 bytes under a label and a key generation.
    #[must_use]
    pub fn derive_generation(&self, label: &str, generation: u32) -> Secret {
        let generation = generation.to_be_bytes();
        hkdf_secret(&self.id.0, self.root.expose(), &[INFO, label.as_bytes(), b"/", &generation])
    }

    /// The root directory's id.
    #[must_use]
    pub fn root_dir(&self) -> DirId {
        let mut id = [0; 16];
        hkdf_sha256(&self.id.0, self.root.expose(), &[INFO, b"root-dir"], &mut id);
        DirId(id)
    }

    /// The key that signs for this vault.
    ///
    /// # Panics
    /// Never: the seed has the length that Ed25519 wants.
    #[must_use]
    pub fn signer(&self) -> Signer {
        let seed = self.derive("sign");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("an Ed25519 seed has 32 bytes");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Signer { pair, public: PublicKey(public) }
    }
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// Signs for a vault.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a statement.
    #[must_use]
    pub fn sign(&self, statement: &Statement) -> [u8; 64] {
        self.sign_bytes(&statement.encode())
    }

    /// Signs any other message. It must begin with a domain of its own (as
    /// [`larder_format::manifest::STATEMENT_DOMAIN`] does for statements), so that no signature can be used for
    /// another purpose.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

impl PublicKey {
    /// Checks who signed a statement. It still has to be compared with the file: see
    /// [`crate::manifest::verify_statement`].
    ///
    /// # Errors
    /// [`SealError::BadSignature`].
    pub fn verify(&self, statement: &Statement, signature: &[u8; 64]) -> Result<(), SealError> {
        self.verify_bytes(&statement.encode(), signature)
    }

    /// Checks who signed a message.
    ///
    /// # Errors
    /// [`SealError::BadSignature`].
    pub fn verify_bytes(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SealError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| SealError::BadSignature)
    }
}
