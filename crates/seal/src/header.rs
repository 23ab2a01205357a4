//! The vault header: what a person's passphrase or recovery code opens the vault with.
//!
//! It is kept in a local file and as a record (under [`header_record_key`]), the same bytes in both. A checksum
//! tells damage from a wrong passphrase before anything is derived; a MAC under a key derived from the root
//! makes any change by someone without the root unopenable. Adding, replacing and removing slots rewrap the
//! root and touch no data. Its revision rises with every change, so that a device notices an older header.
//!
//! Format 2 adds what whoever has no root yet can check: two signatures ([`crate::dual`]) by keys that a fingerprint
//! names; and sealed notes on the slots ([`notes`]). A header of format 1 opens for ever and becomes one of format 2
//! with its next change. [`encoding`] has the bytes.

mod encoding;
pub mod notes;

use bytes::Bytes;
use larder_format::ids::VaultId;
use larder_format::rng::Rng;

use crate::dual::{DualPublic, DualSignature};
use crate::error::SealError;
use crate::fingerprint::Fingerprint;
use crate::keys::{PublicKey, VaultRoot};
use crate::primitives::{MacKey, equal};
use crate::recipient::Recipient;
use crate::slots::{Argon2Cost, Slot, SlotId, SlotKind, Unlock};

pub use encoding::{VAULT_HEADER_FORMAT, VAULT_HEADER_LEN_MAX};

/// Most slots. Each passphrase slot may cost a key derivation when unlocking, so there are few.
pub const SLOTS_MAX: usize = 16;

const MAC_LEN: usize = 32;
const RECORD_KEY_CONTEXT: &str = "larder 2026 vault header record";

/// A decoded vault header. Changing it takes the open vault: every change computes the MAC anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultHeader {
    vault: VaultId,
    revision: u64,
    public: PublicKey,
    generation: u32,
    slots: Vec<Slot>,
    /// What format 2 adds; `None`: the header is of format 1.
    signed: Option<Signed>,
    mac: [u8; MAC_LEN],
}

/// What format 2 adds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    /// ML-DSA-65 public key.
    ml_dsa: Bytes,
    /// Sealed notes on the slots; may be empty.
    notes: Bytes,
    signature: DualSignature,
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
        Self::create_after(root, unlock, 0, cost, rng)
    }

    /// A header with its first slot for a vault whose header was lost, newer than the revision that was last seen of
    /// that one. The key generation begins anew, too: none but the first is in use yet.
    ///
    /// # Errors
    /// As [`Slot::wrap`].
    pub fn create_after(
        root: &VaultRoot,
        unlock: Unlock<'_>,
        revision: u64,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<Self, SealError> {
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        let mut header = Self {
            vault: root.id(),
            revision,
            public: root.signer().public(),
            generation: 0,
            slots: vec![slot],
            signed: None,
            mac: [0; MAC_LEN],
        };
        header.renew(root)?;
        Ok(header)
    }

    /// Opens the vault: tries every slot of the secret's kind, then checks the whole header.
    ///
    /// # Errors
    /// [`SealError::WrongSecret`], [`SealError::NoSlot`], or [`SealError::Damaged`] if the secret is right and
    /// the header is not what the vault's owner wrote.
    pub fn open(&self, unlock: Unlock<'_>) -> Result<VaultRoot, SealError> {
        self.open_slot(unlock).map(|(root, _)| root)
    }

    /// Opens the vault, and says which slot it was.
    ///
    /// # Errors
    /// As [`VaultHeader::open`].
    pub fn open_slot(&self, unlock: Unlock<'_>) -> Result<(VaultRoot, SlotId), SealError> {
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
                return Ok((root, slot.id()));
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
            && self.public == root.signer().public()
            && match (&self.signed, self.dual_public()) {
                (Some(signed), Some(public)) => {
                    public == root.dual_signer()?.public()
                        && public.verify(&self.signed_bytes(), &signed.signature).is_ok()
                }
                _ => true,
            };
        if fits { Ok(()) } else { Err(SealError::Damaged { what: "vault header" }) }
    }

    /// Checks, without the root, that the vault with this fingerprint signed the header as it stands.
    ///
    /// # Errors
    /// [`SealError::Unsigned`] for a header of format 1; [`SealError::Stranger`]; [`SealError::BadSignature`].
    pub fn verify_pinned(&self, wanted: &Fingerprint) -> Result<(), SealError> {
        let (Some(signed), Some(public)) = (&self.signed, self.dual_public()) else {
            return Err(SealError::Unsigned);
        };
        if public.fingerprint(self.vault) != *wanted {
            return Err(SealError::Stranger { wanted: *wanted });
        }
        public.verify(&self.signed_bytes(), &signed.signature)
    }

    /// The fingerprint of the keys this header says are the vault's; `None` for format 1. It is as trustworthy as
    /// the header.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.dual_public().map(|public| public.fingerprint(self.vault))
    }

    fn dual_public(&self) -> Option<DualPublic> {
        let ml_dsa = self.signed.as_ref()?.ml_dsa.clone();
        Some(DualPublic { ed25519: self.public, ml_dsa })
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
    ) -> Result<SlotId, SealError> {
        self.room_for_one(root)?;
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        self.push(root, slot)
    }

    /// Adds a slot for somebody who need not be there.
    ///
    /// # Errors
    /// As [`VaultHeader::add_slot`] and [`Slot::wrap_for`].
    pub fn add_recipient(
        &mut self,
        root: &VaultRoot,
        recipient: &Recipient,
        rng: &mut impl Rng,
    ) -> Result<SlotId, SealError> {
        self.room_for_one(root)?;
        let slot = Slot::wrap_for(root.id(), root.secret(), recipient, rng)?;
        self.push(root, slot)
    }

    fn room_for_one(&self, root: &VaultRoot) -> Result<(), SealError> {
        self.verify(root)?;
        if self.slots.len() >= SLOTS_MAX {
            return Err(SealError::Slots { why: "all 16 are taken; remove one first" });
        }
        Ok(())
    }

    fn push(&mut self, root: &VaultRoot, slot: Slot) -> Result<SlotId, SealError> {
        let id = slot.id();
        self.slots.push(slot);
        self.renew(root)?;
        Ok(id)
    }

    /// Replaces all slots of the secret's kind by one for this secret: how there comes to be one recovery code.
    ///
    /// # Errors
    /// As [`VaultHeader::add_slot`].
    pub fn replace_slots(
        &mut self,
        root: &VaultRoot,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<SlotId, SealError> {
        self.verify(root)?;
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        let kind = unlock.kind() as u8;
        let kept = self.slots.iter().filter(|s| s.kind != kind).count();
        if kept >= SLOTS_MAX {
            return Err(SealError::Slots { why: "all 16 are taken; remove one first" });
        }
        self.slots.retain(|s| s.kind != kind);
        self.push(root, slot)
    }

    /// Replaces one slot by one for this secret: how a passphrase is changed. A note on it stays, under its new id.
    ///
    /// # Errors
    /// [`SealError::Slots`] if it is not there; as [`Slot::wrap`] and [`VaultHeader::verify`].
    pub fn replace_slot(
        &mut self,
        root: &VaultRoot,
        id: SlotId,
        unlock: Unlock<'_>,
        cost: Argon2Cost,
        rng: &mut impl Rng,
    ) -> Result<SlotId, SealError> {
        self.verify(root)?;
        let at = self.position(id).ok_or(SealError::Slots { why: "there is no such slot" })?;
        let mut notes = self.notes(root)?;
        let slot = Slot::wrap(root.id(), root.secret(), unlock, cost, rng)?;
        let new = slot.id();
        self.slots[at] = slot;
        if let Some(note) = notes.remove(&id) {
            notes.insert(new, note);
        }
        self.set_notes(root, notes, rng)?;
        Ok(new)
    }

    /// Where a slot stands.
    #[must_use]
    pub fn position(&self, id: SlotId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id() == id)
    }

    /// Removes the slot at this position.
    ///
    /// # Errors
    /// [`SealError::Slots`] if it is the last one that this program can open, or not there; as
    /// [`VaultHeader::verify`].
    pub fn remove_slot(&mut self, root: &VaultRoot, position: usize) -> Result<(), SealError> {
        self.verify(root)?;
        if position >= self.slots.len() {
            return Err(SealError::Slots { why: "there is no such slot" });
        }
        let known = |slot: &Slot| SlotKind::from_byte(slot.kind).is_some();
        let left = self.slots.iter().enumerate().filter(|(i, slot)| *i != position && known(slot)).count();
        if left == 0 {
            return Err(SealError::Slots {
                why: "it is the last one: without it the vault could not be opened",
            });
        }
        self.slots.remove(position);
        self.renew(root)
    }

    /// Begins the next key generation: new chunks and records are sealed under new keys.
    ///
    /// # Errors
    /// As [`VaultHeader::verify`].
    pub fn advance_generation(&mut self, root: &VaultRoot) -> Result<(), SealError> {
        self.verify(root)?;
        self.generation += 1;
        self.renew(root)
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

    /// Makes a change count: the next revision, signed and authenticated, in the newest format.
    fn renew(&mut self, root: &VaultRoot) -> Result<(), SealError> {
        let signer = root.dual_signer()?;
        let notes = self.signed.take().map_or_else(Bytes::new, |signed| signed.notes);
        self.revision += 1;
        // The signature covers everything before it, the public keys too.
        let ml_dsa = signer.public().ml_dsa;
        let none = DualSignature { ed25519: [0; 64], ml_dsa: Bytes::new() };
        self.signed = Some(Signed { ml_dsa, notes, signature: none });
        let signature = signer.sign(&self.signed_bytes())?;
        self.signed.iter_mut().for_each(|signed| signed.signature = signature.clone());
        self.mac = self.mac_under(root);
        Ok(())
    }

    fn mac_under(&self, root: &VaultRoot) -> [u8; MAC_LEN] {
        MacKey::new(&root.derive("header-mac")).mac(&[&self.authenticated_bytes()])
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
