//! Slots: the vault root wrapped under a passphrase or a recovery code, or for a recipient.
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
use crate::recipient::{ENCAPSULATED_LEN, Identity, Recipient};
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
    /// The secret keys of a person or device, which nobody needs to type.
    Recipient = 3,
}

impl SlotKind {
    /// From its byte; `None` for kinds of a newer program.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Passphrase, Self::RecoveryCode, Self::Recipient].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::RecoveryCode => "recovery code",
            Self::Recipient => "recipient",
        }
    }
}

/// Names a slot of a header: the first bytes of its hash. It changes with every wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub [u8; SLOT_ID_LEN]);

/// Bytes of a slot's id: of at most 16 slots no two meet.
pub const SLOT_ID_LEN: usize = 8;
const SLOT_ID_CONTEXT: &str = "larder 2026 slot id";

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
    /// The identity of a recipient.
    Identity(&'a Identity),
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
            Self::Identity(_) => SlotKind::Recipient,
        }
    }
}

/// A decoded slot of a known kind.
struct Fields {
    kind: SlotKind,
    /// Of passphrases.
    cost: Option<Argon2Cost>,
    /// Of recipients.
    encapsulated: Option<[u8; ENCAPSULATED_LEN]>,
    salt: [u8; SALT_LEN],
    commitment: [u8; COMMITMENT_LEN],
    wrapped: [u8; WRAPPED_LEN],
}

impl Fields {
    fn new(kind: SlotKind, rng: &mut impl Rng) -> Self {
        Self {
            kind,
            cost: None,
            encapsulated: None,
            salt: rng.array(),
            commitment: [0; COMMITMENT_LEN],
            wrapped: [0; WRAPPED_LEN],
        }
    }

    fn decode(kind: SlotKind, body: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let (mut cost, mut encapsulated) = (None, None);
        match kind {
            SlotKind::Passphrase => {
                cost = Some(Argon2Cost {
                    memory_kib: r.u32("argon2 memory")?,
                    passes: r.u32("argon2 passes")?,
                    lanes: r.u32("argon2 lanes")?,
                });
            }
            SlotKind::RecoveryCode => {}
            SlotKind::Recipient => encapsulated = Some(r.array("encapsulated secret")?),
        }
        let fields = Self {
            kind,
            cost,
            encapsulated,
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
        if let Some(encapsulated) = &self.encapsulated {
            w.raw(encapsulated);
        }
        w.raw(&self.salt);
    }

    /// Binds the vault, the kind and every parameter, so that no part of a slot can be taken elsewhere.
    fn associated_data(&self, vault: VaultId) -> Bytes {
        let mut w = Writer::with_capacity(128);
        w.raw(DOMAIN).u8(SUITE_1).raw(&vault.0).u8(self.kind as u8);
        self.encode_parameters(&mut w);
        w.raw(&self.commitment);
        w.finish()
    }

    /// The wrapping key and its commitment. One key wraps one root once: the salt is new each time.
    fn keys(&self, vault: VaultId, secret: &[u8]) -> (Secret, [u8; COMMITMENT_LEN]) {
        let mut both = [0; 64];
        hkdf_sha256(&vault.0, secret, &[DOMAIN, &[self.kind as u8], &self.salt], &mut both);
        let mut key = Secret::new([0; 32]);
        key.expose_mut().copy_from_slice(&both[..32]);
        let mut commitment = [0; COMMITMENT_LEN];
        commitment.copy_from_slice(&both[32..]);
        both.zeroize();
        (key, commitment)
    }

    /// The keys that this secret gives.
    fn keys_of(
        &self,
        vault: VaultId,
        unlock: Unlock<'_>,
    ) -> Result<(Secret, [u8; COMMITMENT_LEN]), SealError> {
        match (unlock, self.cost, &self.encapsulated) {
            (Unlock::Passphrase(passphrase), Some(cost), _) => {
                Ok(self.keys(vault, cost.derive(passphrase, &self.salt)?.expose()))
            }
            (Unlock::RecoveryCode(code), _, _) => Ok(self.keys(vault, code.expose())),
            (Unlock::Identity(identity), _, Some(encapsulated)) => {
                Ok(self.keys(vault, identity.decapsulate(encapsulated)?.expose()))
            }
            _ => Err(SealError::Crypto { what: "slot fields of another kind" }),
        }
    }

    fn wrap(
        mut self,
        vault: VaultId,
        root: &Secret,
        (key, commitment): (Secret, [u8; COMMITMENT_LEN]),
    ) -> Result<Slot, SealError> {
        self.commitment = commitment;
        let aad = self.associated_data(vault);
        AeadKey::new(key.expose()).seal(NONCE_ONCE, &aad, root.expose(), &mut self.wrapped)?;
        Ok(Slot { kind: self.kind as u8, body: self.encode() })
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
        if let Unlock::Identity(identity) = unlock {
            return Self::wrap_for(vault, root, identity.recipient(), rng);
        }
        let mut fields = Fields::new(unlock.kind(), rng);
        fields.cost = (fields.kind == SlotKind::Passphrase).then_some(cost);
        let keys = fields.keys_of(vault, unlock)?;
        fields.wrap(vault, root, keys)
    }

    /// Wraps a root for a recipient, who need not be there.
    ///
    /// # Errors
    /// [`SealError::BadRecipient`].
    pub fn wrap_for(
        vault: VaultId,
        root: &Secret,
        recipient: &Recipient,
        rng: &mut impl Rng,
    ) -> Result<Self, SealError> {
        let mut fields = Fields::new(SlotKind::Recipient, rng);
        let (encapsulated, secret) = recipient.encapsulate(rng)?;
        let encapsulated: [u8; ENCAPSULATED_LEN] =
            encapsulated[..].try_into().map_err(|_| SealError::BadRecipient)?;
        fields.encapsulated = Some(encapsulated);
        let keys = fields.keys(vault, secret.expose());
        fields.wrap(vault, root, keys)
    }

    /// What this slot is called.
    #[must_use]
    pub fn id(&self) -> SlotId {
        let mut hasher = blake3::Hasher::new_derive_key(SLOT_ID_CONTEXT);
        hasher.update(&[self.kind]).update(&self.body);
        let mut id = [0; SLOT_ID_LEN];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..SLOT_ID_LEN]);
        SlotId(id)
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
        let (key, commitment) = fields.keys_of(vault, unlock)?;
        if !equal(&commitment, &fields.commitment) {
            return Ok(None);
        }
        let aad = fields.associated_data(vault);
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
