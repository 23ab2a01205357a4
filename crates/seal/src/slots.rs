//! Slots: the vault root wrapped under a passphrase or a recovery code.
//!
//! A slot's body is the derivation's parameters, a key commitment and the wrapped root. The commitment is what
//! tells a wrong passphrase from a damaged slot, and what keeps one ciphertext from opening under two
//! passphrases. Slots of kinds this program does not know are carried along untouched: see [`crate::header`].

use argon2::{Algorithm, Argon2, Params, Version};
use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::ids::VaultId;
use larder_format::rng::Rng;
use larder_format::sealed::{COMMITMENT_LEN, SUITE_1, TAG_LEN};
use zeroize::Zeroize;

use crate::error::SealError;
use crate::primitives::{AeadKey, NONCE_ONCE, Secret, equal, hkdf_sha256};
use crate::recovery::RecoveryCode;

/// Longest slot body of any kind, in bytes: a hybrid recipient's (ML-KEM-768 ciphertext, 1,088 bytes) fits twice.
pub const SLOT_LEN_MAX: usize = 4096;

/// Length of a slot's salt, in bytes.
const SALT_LEN: usize = 16;
/// Length of the wrapped root, in bytes.
const WRAPPED_LEN: usize = 32 + TAG_LEN;
/// First part of a slot's associated data and derivation.
const DOMAIN: &[u8] = b"larder/1/slot";

/// Cost of turning a passphrase into a key (Argon2id, version 0x13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// 64 MiB, 3 passes, 4 lanes: the second recommended option of RFC 9106; about 0.4 s here.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Argon2Cost {
    /// Most memory a header can make us allocate, in KiB (1 GiB).
    pub const MEMORY_KIB_MAX: u32 = 1024 * 1024;
    /// Least memory, in KiB, times the lanes: what Argon2 needs to be defined.
    pub const MEMORY_KIB_PER_LANE_MIN: u32 = 8;
    /// Most passes a header can make us do.
    pub const PASSES_MAX: u32 = 64;
    /// Most lanes.
    pub const LANES_MAX: u32 = 16;

    /// Checks the bounds; done before anything is allocated.
    ///
    /// # Errors
    /// [`SealError::BadParameters`].
    pub fn check(&self) -> Result<(), SealError> {
        let within = |field, value, min, max| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(SealError::BadParameters { field, value, min, max })
            }
        };
        within("lanes", self.lanes, 1, Self::LANES_MAX)?;
        within("passes", self.passes, 1, Self::PASSES_MAX)?;
        let least = Self::MEMORY_KIB_PER_LANE_MIN * self.lanes;
        within("memory_kib", self.memory_kib, least, Self::MEMORY_KIB_MAX)
    }

    fn derive(&self, passphrase: &[u8], salt: &[u8; SALT_LEN]) -> Result<Secret, SealError> {
        self.check()?;
        let failed = |_| SealError::Crypto { what: "argon2id" };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut out = Secret::new([0; 32]);
        argon2.hash_password_into(passphrase, salt, out.expose_mut()).map_err(failed)?;
        Ok(out)
    }
}

/// What a slot is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotKind {
    /// A passphrase, stretched with Argon2id.
    Passphrase = 1,
    /// A recovery code, which needs no stretching.
    RecoveryCode = 2,
}

impl SlotKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::RecoveryCode => "recovery code",
        }
    }
}

/// A slot as it stands in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Kind, as its byte: [`SlotKind`] or one of a newer program.
    pub kind: u8,
    /// What only that kind understands.
    pub body: Bytes,
}

/// A secret given to open or make a slot.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// A passphrase: these exact bytes. (No Unicode normalisation; the terminal's input form counts.)
    Passphrase(&'a [u8]),
    /// A recovery code.
    RecoveryCode(&'a RecoveryCode),
}

impl std::fmt::Debug for Unlock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unlock({})", self.kind().name())
    }
}

impl Unlock<'_> {
    /// The kind of slot it belongs to.
    #[must_use]
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::RecoveryCode(_) => SlotKind::RecoveryCode,
        }
    }
}

/// A decoded slot of a known kind. `cost` is `None` for recovery codes.
struct Fields {
    cost: Option<Argon2Cost>,
    salt: [u8; SALT_LEN],
    commitment: [u8; COMMITMENT_LEN],
    wrapped: [u8; WRAPPED_LEN],
}

impl Fields {
    fn decode(kind: SlotKind, body: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let cost = match kind {
            SlotKind::Passphrase => Some(Argon2Cost {
                memory_kib: r.u32("argon2 memory")?,
                passes: r.u32("argon2 passes")?,
                lanes: r.u32("argon2 lanes")?,
            }),
            SlotKind::RecoveryCode => None,
        };
        let fields = Self {
            cost,
            salt: r.array("slot salt")?,
            commitment: r.array("slot commitment")?,
            wrapped: r.array("wrapped root")?,
        };
        r.finish()?;
        Ok(fields)
    }

    fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(128);
        self.encode_parameters(&mut w);
        w.raw(&self.commitment).raw(&self.wrapped);
        w.finish()
    }

    fn encode_parameters(&self, w: &mut Writer) {
        if let Some(cost) = self.cost {
            w.u32(cost.memory_kib).u32(cost.passes).u32(cost.lanes);
        }
        w.raw(&self.salt);
    }

    /// Binds the vault, the kind and every parameter, so that no part of a slot can be taken elsewhere.
    fn associated_data(&self, vault: VaultId, kind: SlotKind) -> Bytes {
        let mut w = Writer::with_capacity(128);
        w.raw(DOMAIN).u8(SUITE_1).raw(&vault.0).u8(kind as u8);
        self.encode_parameters(&mut w);
        w.raw(&self.commitment);
        w.finish()
    }

    /// The wrapping key and its commitment. One key wraps one root once: the salt is new each time.
    fn keys(&self, vault: VaultId, unlock: Unlock<'_>) -> Result<(Secret, [u8; COMMITMENT_LEN]), SealError> {
        let mut both = [0; 64];
        let info: &[&[u8]] = &[DOMAIN, &[unlock.kind() as u8], &self.salt];
        match (unlock, self.cost) {
            (Unlock::Passphrase(passphrase), Some(cost)) => {
                let stretched = cost.derive(passphrase, &self.salt)?;
                hkdf_sha256(&vault.0, stretched.expose(), info, &mut both);
            }
            (Unlock::RecoveryCode(code), None) => hkdf_sha256(&vault.0, code.expose(), info, &mut both),
            _ => return Err(SealError::Crypto { what: "slot fields of another kind" }),
        }
        let mut key = Secret::new([0; 32]);
        key.expose_mut().copy_from_slice(&both[..32]);
        let mut commitment = [0; COMMITMENT_LEN];
        commitment.copy_from_slice(&both[32..]);
        both.zeroize();
        Ok((key, commitment))
    }
}

impl Slot {
    /// Wraps a root.
    ///
    /// # Errors
    /// [`SealError::BadParameters`] if the cost is out of bounds.
    pub fn wrap(
        vault: VaultId,
        root: &Secret,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<Self, SealError> {
        let kind = unlock.kind();
        let mut fields = Fields {
            cost: (kind == SlotKind::Passphrase).then_some(cost),
            salt: rng.array(),
            commitment: [0; COMMITMENT_LEN],
            wrapped: [0; WRAPPED_LEN],
        };
        let (key, commitment) = fields.keys(vault, unlock)?;
        fields.commitment = commitment;
        let aad = fields.associated_data(vault, kind);
        AeadKey::new(key.expose()).seal(NONCE_ONCE, &aad, root.expose(), &mut fields.wrapped)?;
        Ok(Self { kind: kind as u8, body: fields.encode() })
    }

    /// Unwraps the root. `None`: this slot is not this secret's.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if the secret is right and the wrapped root does not verify; decoding and
    /// parameter errors.
    pub fn unwrap(&self, vault: VaultId, unlock: Unlock<'_>) -> Result<Option<Secret>, SealError> {
        let kind = unlock.kind();
        if self.kind != kind as u8 {
            return Ok(None);
        }
        let fields = Fields::decode(kind, self.body.clone())?;
        let (key, commitment) = fields.keys(vault, unlock)?;
        if !equal(&commitment, &fields.commitment) {
            return Ok(None);
        }
        let aad = fields.associated_data(vault, kind);
        let mut root = Secret::new([0; 32]);
        AeadKey::new(key.expose()).open(
            NONCE_ONCE,
            &aad,
            &fields.wrapped,
            root.expose_mut(),
            "vault root",
        )?;
        Ok(Some(root))
    }
}
