//! The vault header: what a person's passphrase or recovery code opens the vault with.
//!
//! It is kept in a local file and as a record (under [`header_record_key`]), the same bytes in both. A checksum
//! tells damage from a wrong passphrase before anything is derived; a MAC under a key derived from the root
//! makes any change by someone without the root unopenable. Adding, replacing and removing slots rewrap the
//! root and touch no data. Its revision rises with every change, so that a device notices an older header.

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::ids::VaultId;
use larder_format::rng::Rng;
use larder_format::sealed::{SUITE_1, SealedKind, ShapeError, VAULT_HEADER_LEN_MIN};

use crate::error::SealError;
use crate::keys::{PublicKey, VaultRoot};
use crate::primitives::{MacKey, equal};
use crate::slots::{Argon2Cost, SLOT_LEN_MAX, Slot, SlotKind, Unlock};

/// Version of the header layout that this program writes.
pub const VAULT_HEADER_FORMAT: u8 = 1;

/// Most slots. Each passphrase slot may cost a key derivation when unlocking, so there are few.
pub const SLOTS_MAX: usize = 16;

const MAC_LEN: usize = 32;
const CHECKSUM_LEN: usize = 16;
const CHECKSUM_CONTEXT: &str = "larder 2026 vault header checksum";
const RECORD_KEY_CONTEXT: &str = "larder 2026 vault header record";

/// Longest header, in bytes.
pub const VAULT_HEADER_LEN_MAX: usize = VAULT_HEADER_LEN_MIN + SLOTS_MAX * (1 + 4 + SLOT_LEN_MAX);

/// A decoded vault header. Changing it takes the open vault: every change computes the MAC anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultHeader {
    vault: VaultId,
    revision: u64,
    public: PublicKey,
    generation: u32,
    slots: Vec<Slot>,
    mac: [u8; MAC_LEN],
}

/// The record key under which a vault's header is found by whoever knows the vault's id.
#[must_use]
pub fn header_record_key(vault: VaultId) -> [u8; 32] {
    blake3::derive_key(RECORD_KEY_CONTEXT, &vault.0)
}

impl VaultHeader {
    /// A new vault's header with its first slot.
    ///
    /// # Errors
    /// As [`Slot::wrap`].
    pub fn create(
        root: &VaultRoot,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<Self, SealError> {
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        let mut header = Self {
            vault: root.id(),
            revision: 0,
            public: root.signer().public(),
            generation: 0,
            slots: vec![slot],
            mac: [0; MAC_LEN],
        };
        header.renew(root);
        Ok(header)
    }

    /// Opens the vault: tries every slot of the secret's kind, then checks the whole header.
    ///
    /// # Errors
    /// [`SealError::WrongSecret`], [`SealError::NoSlot`], or [`SealError::Damaged`] if the secret is right and
    /// the header is not what the vault's owner wrote.
    pub fn open(&self, unlock: Unlock<'_>) -> Result<VaultRoot, SealError> {
        let what = unlock.kind().name();
        let mut tried = 0;
        for slot in &self.slots {
            if slot.kind != unlock.kind() as u8 {
                continue;
            }
            tried += 1;
            if let Some(secret) = slot.unwrap(self.vault, unlock)? {
                let root = VaultRoot::from_parts(self.vault, secret);
                self.verify(&root)?;
                return Ok(root);
            }
        }
        Err(if tried == 0 { SealError::NoSlot { what } } else { SealError::WrongSecret { what } })
    }

    /// Checks that this header is as the vault's owner wrote it, for instance when a newer one arrives while
    /// the vault is open.
    ///
    /// # Errors
    /// [`SealError::Damaged`].
    pub fn verify(&self, root: &VaultRoot) -> Result<(), SealError> {
        let fits = self.vault == root.id()
            && equal(&self.mac, &self.mac_under(root))
            && self.public == root.signer().public();
        if fits { Ok(()) } else { Err(SealError::Damaged { what: "vault header" }) }
    }

    /// Adds a slot.
    ///
    /// # Errors
    /// [`SealError::Slots`] if there are [`SLOTS_MAX`]; as [`Slot::wrap`]; as [`VaultHeader::verify`].
    pub fn add_slot(
        &mut self,
        root: &VaultRoot,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<(), SealError> {
        self.verify(root)?;
        if self.slots.len() >= SLOTS_MAX {
            return Err(SealError::Slots { why: "all 16 are taken; remove one first" });
        }
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        self.slots.push(slot);
        self.renew(root);
        Ok(())
    }

    /// Replaces all slots of the secret's kind by one for this secret: how a passphrase is changed.
    ///
    /// # Errors
    /// As [`VaultHeader::add_slot`].
    pub fn replace_slots(
        &mut self,
        root: &VaultRoot,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<(), SealError> {
        self.verify(root)?;
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        let kind = unlock.kind() as u8;
        let kept = self.slots.iter().filter(|s| s.kind != kind).cloned();
        let slots: Vec<Slot> = kept.chain([slot]).collect();
        if slots.len() > SLOTS_MAX {
            return Err(SealError::Slots { why: "all 16 are taken; remove one first" });
        }
        self.slots = slots;
        self.renew(root);
        Ok(())
    }

    /// Removes the slot at this position.
    ///
    /// # Errors
    /// [`SealError::Slots`] if it is the last one that a passphrase or recovery code opens, or not there; as
    /// [`VaultHeader::verify`].
    pub fn remove_slot(&mut self, root: &VaultRoot, position: usize) -> Result<(), SealError> {
        self.verify(root)?;
        if position >= self.slots.len() {
            return Err(SealError::Slots { why: "there is no such slot" });
        }
        let known =
            |slot: &Slot| [SlotKind::Passphrase as u8, SlotKind::RecoveryCode as u8].contains(&slot.kind);
        let left = self.slots.iter().enumerate().filter(|(i, slot)| *i != position && known(slot)).count();
        if left == 0 {
            return Err(SealError::Slots {
                why: "it is the last one: without it the vault could not be opened",
            });
        }
        self.slots.remove(position);
        self.renew(root);
        Ok(())
    }

    /// Begins the next key generation: new chunks and records are sealed under new keys.
    ///
    /// # Errors
    /// As [`VaultHeader::verify`].
    pub fn advance_generation(&mut self, root: &VaultRoot) -> Result<(), SealError> {
        self.verify(root)?;
        self.generation += 1;
        self.renew(root);
        Ok(())
    }

    /// The vault's id.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// How often the header was written; of two valid headers the higher counts.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The vault's signing key, public half. Trustworthy only after [`VaultHeader::open`] or
    /// [`VaultHeader::verify`].
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The key generation that new data is sealed under.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn renew(&mut self, root: &VaultRoot) {
        self.revision += 1;
        self.mac = self.mac_under(root);
    }

    fn mac_under(&self, root: &VaultRoot) -> [u8; MAC_LEN] {
        MacKey::new(&root.derive("header-mac")).mac(&[&self.encode_fields().finish()])
    }

    fn encode_fields(&self) -> Writer {
        let mut w = Writer::with_capacity(512);
        w.u8(SUITE_1).u8(SealedKind::VaultHeader.byte()).u8(VAULT_HEADER_FORMAT);
        w.raw(&self.vault.0).u64(self.revision).raw(&self.public.0).u32(self.generation);
        w.count(self.slots.len());
        for slot in &self.slots {
            w.u8(slot.kind).bytes(&slot.body);
        }
        w
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = self.encode_fields();
        w.raw(&self.mac);
        let mut all = w.finish().to_vec();
        let checksum = blake3::derive_key(CHECKSUM_CONTEXT, &all);
        all.extend_from_slice(&checksum[..CHECKSUM_LEN]);
        all.into()
    }

    /// Reads what [`VaultHeader::encode`] wrote. What it says is not to be trusted before
    /// [`VaultHeader::open`].
    ///
    /// # Errors
    /// [`SealError::Damaged`] if the checksum does not fit; shape and decoding errors.
    pub fn decode(bytes: &Bytes) -> Result<Self, SealError> {
        let len = bytes.len();
        if !(VAULT_HEADER_LEN_MIN..=VAULT_HEADER_LEN_MAX).contains(&len) {
            let (min, max) = (VAULT_HEADER_LEN_MIN, VAULT_HEADER_LEN_MAX);
            return Err(ShapeError::Length { what: "vault header", len, min, max }.into());
        }
        let (covered, checksum) = bytes.split_at(len - CHECKSUM_LEN);
        if blake3::derive_key(CHECKSUM_CONTEXT, covered)[..CHECKSUM_LEN] != *checksum {
            return Err(SealError::Damaged { what: "vault header" });
        }
        let mut r = Reader::new(bytes.slice(..len - CHECKSUM_LEN));
        let suite = r.u8("suite")?;
        if suite != SUITE_1 {
            return Err(ShapeError::NewerSuite { suite }.into());
        }
        let kind = r.u8("kind")?;
        if kind != SealedKind::VaultHeader.byte() {
            return Err(ShapeError::WrongKind { want: "vault header", kind }.into());
        }
        let format = r.u8("vault header format")?;
        if format != VAULT_HEADER_FORMAT {
            let (what, version) = ("vault header", format.into());
            return Err(DecodeError::TooNew { what, version, supported: VAULT_HEADER_FORMAT.into() }.into());
        }
        let header = Self::decode_fields(&mut r)?;
        r.finish()?;
        Ok(header)
    }

    fn decode_fields(r: &mut Reader) -> Result<Self, DecodeError> {
        let vault = VaultId(r.array("vault id")?);
        let revision = r.u64("revision")?;
        let public = PublicKey(r.array("public key")?);
        let generation = r.u32("key generation")?;
        let count = r.count("slots", SLOTS_MAX, 5)?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            slots.push(Slot { kind: r.u8("slot kind")?, body: r.bytes("slot", SLOT_LEN_MAX)? });
        }
        Ok(Self { vault, revision, public, generation, slots, mac: r.array("mac")? })
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
