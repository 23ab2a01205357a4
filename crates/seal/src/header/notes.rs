//! Notes on slots: whose they are and since when. They are sealed under the root, because the header lies on the node:
//! it does not learn the names of people and devices.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::rng::Rng;
use larder_format::sealed::{SUITE_1, TAG_LEN};

use super::{SLOTS_MAX, VaultHeader};
use crate::error::SealError;
use crate::fingerprint::{FINGERPRINT_LEN, Fingerprint};
use crate::keys::VaultRoot;
use crate::primitives::{AeadKey, NONCE_ONCE, Secret, hkdf_secret};
use crate::slots::{SLOT_ID_LEN, SlotId};

/// Longest label, in bytes of UTF-8: a name and a device.
pub const LABEL_LEN_MAX: usize = 64;
/// Longest sealed notes, in bytes: a note on each slot, padded, with salt and tag.
pub const SEALED_NOTES_LEN_MAX: usize = SALT_LEN + 4 * PADDED_STEP + TAG_LEN;

/// Notes are padded to a multiple of this, in bytes, so that their length says little about labels.
const PADDED_STEP: usize = 512;
const SALT_LEN: usize = 16;
const DOMAIN: &[u8] = b"larder/1/header-notes";
/// Notes, format.
const FORMAT: u8 = 1;
/// Shortest note: id, time, whether there is a fingerprint, an empty label.
const NOTE_LEN_MIN: usize = SLOT_ID_LEN + 8 + 1 + 4;

/// What its owner noted of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// Whose it is, in the owner's words; may be empty.
    pub label: String,
    /// When it was made, in milliseconds since 1970 by the clock of whoever made it.
    pub created_ms: u64,
    /// For whom it was made, if it is a recipient's.
    pub recipient: Option<Fingerprint>,
}

/// Notes by slot.
pub type Notes = BTreeMap<SlotId, Note>;

impl VaultHeader {
    /// The notes. Slots without one are of a header of format 1.
    ///
    /// # Errors
    /// [`SealError::Damaged`]; decoding errors.
    pub fn notes(&self, root: &VaultRoot) -> Result<Notes, SealError> {
        let sealed = self.signed.as_ref().map_or(&[][..], |signed| &signed.notes);
        if sealed.is_empty() {
            return Ok(Notes::new());
        }
        let what = "notes of the vault header";
        if sealed.len() < SALT_LEN + TAG_LEN {
            return Err(SealError::Damaged { what });
        }
        let (salt, sealed) = sealed.split_at(SALT_LEN);
        let mut plain = vec![0; sealed.len() - TAG_LEN];
        let key = notes_key(root, salt);
        AeadKey::new(key.expose()).open(NONCE_ONCE, &associated_data(root), sealed, &mut plain, what)?;
        Ok(decode(plain.into())?)
    }

    /// Notes something of a slot.
    ///
    /// # Errors
    /// [`SealError::Slots`] if it is not there; [`SealError::TooLong`] for a label beyond [`LABEL_LEN_MAX`]; as
    /// [`VaultHeader::verify`].
    pub fn annotate(
        &mut self,
        root: &VaultRoot,
        id: SlotId,
        note: Note,
        rng: &mut impl Rng,
    ) -> Result<(), SealError> {
        self.verify(root)?;
        if note.label.len() > LABEL_LEN_MAX {
            return Err(SealError::TooLong { what: "label", len: note.label.len(), max: LABEL_LEN_MAX });
        }
        if self.position(id).is_none() {
            return Err(SealError::Slots { why: "there is no such slot" });
        }
        let mut notes = self.notes(root)?;
        notes.insert(id, note);
        self.set_notes(root, notes, rng)
    }

    /// Seals notes, those of slots that are gone left out.
    pub(super) fn set_notes(
        &mut self,
        root: &VaultRoot,
        mut notes: Notes,
        rng: &mut impl Rng,
    ) -> Result<(), SealError> {
        notes.retain(|id, _| self.position(*id).is_some());
        let plain = encode(&notes);
        let salt: [u8; SALT_LEN] = rng.array();
        let mut sealed = vec![0; SALT_LEN + plain.len() + TAG_LEN];
        sealed[..SALT_LEN].copy_from_slice(&salt);
        let key = notes_key(root, &salt);
        AeadKey::new(key.expose()).seal(
            NONCE_ONCE,
            &associated_data(root),
            &plain,
            &mut sealed[SALT_LEN..],
        )?;
        // A header of format 1 becomes one of format 2 first: it has no place for notes.
        if self.signed.is_none() {
            self.renew(root)?;
        }
        self.signed.iter_mut().for_each(|signed| signed.notes = sealed.clone().into());
        self.renew(root)
    }
}

/// One key seals once: the salt is new each time.
fn notes_key(root: &VaultRoot, salt: &[u8]) -> Secret {
    hkdf_secret(salt, root.derive("header-notes").expose(), &[DOMAIN])
}

fn associated_data(root: &VaultRoot) -> Vec<u8> {
    [DOMAIN, &[SUITE_1], &root.id().0].concat()
}

fn encode(notes: &Notes) -> Vec<u8> {
    let mut w = Writer::with_capacity(PADDED_STEP);
    w.u8(FORMAT).count(notes.len());
    for (id, note) in notes {
        w.raw(&id.0).u64(note.created_ms).u8(u8::from(note.recipient.is_some()));
        if let Some(recipient) = note.recipient {
            w.raw(&recipient.0);
        }
        w.bytes(note.label.as_bytes());
    }
    let mut plain = w.finish().to_vec();
    plain.resize(plain.len().next_multiple_of(PADDED_STEP), 0);
    plain
}

fn decode(plain: Bytes) -> Result<Notes, DecodeError> {
    let mut r = Reader::new(plain);
    let format = r.u8("format of notes")?;
    if format != FORMAT {
        let (what, version, supported) = ("notes of the vault header", format.into(), FORMAT.into());
        return Err(DecodeError::TooNew { what, version, supported });
    }
    let count = r.count("notes", SLOTS_MAX, NOTE_LEN_MIN)?;
    let mut notes = Notes::new();
    for _ in 0..count {
        let id = SlotId(r.array("slot id")?);
        let created_ms = r.u64("creation time")?;
        let recipient = match r.u8("recipient")? {
            0 => None,
            1 => Some(Fingerprint(r.array::<FINGERPRINT_LEN>("recipient fingerprint")?)),
            other => return Err(DecodeError::BadValue { field: "recipient", value: other.into() }),
        };
        let label = r.string("label", LABEL_LEN_MAX)?;
        notes.insert(id, Note { label, created_ms, recipient });
    }
    Ok(notes)
}
