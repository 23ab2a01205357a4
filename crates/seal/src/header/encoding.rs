//! The bytes of a vault header, both formats; byte by byte in `docs/design/format-seal.md`. What was read as format 1
//! is written as format 1 until it is changed.

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::ids::VaultId;
use larder_format::sealed::{SUITE_1, SealedKind, ShapeError, VAULT_HEADER_LEN_MIN};

use super::notes::SEALED_NOTES_LEN_MAX;
use super::{SLOTS_MAX, Signed, VaultHeader};
use crate::dual::{DualSignature, ML_DSA_PUBLIC_LEN, ML_DSA_SIGNATURE_LEN};
use crate::error::SealError;
use crate::keys::PublicKey;
use crate::slots::{SLOT_LEN_MAX, Slot};

/// Version of the header layout that this program writes.
pub const VAULT_HEADER_FORMAT: u8 = 2;
/// The layout without signatures, which is read for ever.
const FORMAT_UNSIGNED: u8 = 1;

/// Longest header, in bytes.
pub const VAULT_HEADER_LEN_MAX: usize = VAULT_HEADER_LEN_MIN
    + SLOTS_MAX * (1 + 4 + SLOT_LEN_MAX)
    + ML_DSA_PUBLIC_LEN
    + 4
    + SEALED_NOTES_LEN_MAX
    + 64
    + ML_DSA_SIGNATURE_LEN;

pub(super) const CHECKSUM_LEN: usize = 16;
pub(super) const CHECKSUM_CONTEXT: &str = "larder 2026 vault header checksum";
/// First part of what the signatures cover: none of them can be used for another purpose.
const SIGNED_DOMAIN: &[u8] = b"larder vault header 2\n";

impl VaultHeader {
    fn format(&self) -> u8 {
        if self.signed.is_some() { VAULT_HEADER_FORMAT } else { FORMAT_UNSIGNED }
    }

    fn encode_fields(&self, w: &mut Writer) {
        w.u8(SUITE_1).u8(SealedKind::VaultHeader.byte()).u8(self.format());
        w.raw(&self.vault.0).u64(self.revision).raw(&self.public.0);
        if let Some(signed) = &self.signed {
            w.raw(&signed.ml_dsa);
        }
        w.u32(self.generation).count(self.slots.len());
        for slot in &self.slots {
            w.u8(slot.kind).bytes(&slot.body);
        }
        if let Some(signed) = &self.signed {
            w.bytes(&signed.notes);
        }
    }

    /// What both signatures cover.
    pub(super) fn signed_bytes(&self) -> Bytes {
        let mut w = Writer::with_capacity(8192);
        w.raw(SIGNED_DOMAIN);
        self.encode_fields(&mut w);
        w.finish()
    }

    /// What the MAC covers.
    pub(super) fn authenticated_bytes(&self) -> Bytes {
        let mut w = Writer::with_capacity(8192);
        self.encode_authenticated(&mut w);
        w.finish()
    }

    fn encode_authenticated(&self, w: &mut Writer) {
        self.encode_fields(w);
        if let Some(signed) = &self.signed {
            w.raw(&signed.signature.ed25519).raw(&signed.signature.ml_dsa);
        }
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(8192);
        self.encode_authenticated(&mut w);
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
        let header = match r.u8("vault header format")? {
            FORMAT_UNSIGNED => Self::decode_fields(&mut r, false)?,
            VAULT_HEADER_FORMAT => Self::decode_fields(&mut r, true)?,
            0 => return Err(DecodeError::BadValue { field: "vault header format", value: 0 }.into()),
            newer => {
                let (what, version) = ("vault header", newer.into());
                let supported = VAULT_HEADER_FORMAT.into();
                return Err(DecodeError::TooNew { what, version, supported }.into());
            }
        };
        r.finish()?;
        Ok(header)
    }

    fn decode_fields(r: &mut Reader, signed: bool) -> Result<Self, DecodeError> {
        let vault = VaultId(r.array("vault id")?);
        let revision = r.u64("revision")?;
        let public = PublicKey(r.array("public key")?);
        let ml_dsa =
            if signed { r.array::<ML_DSA_PUBLIC_LEN>("ml-dsa public key")?.to_vec() } else { Vec::new() };
        let generation = r.u32("key generation")?;
        let count = r.count("slots", SLOTS_MAX, 5)?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            slots.push(Slot { kind: r.u8("slot kind")?, body: r.bytes("slot", SLOT_LEN_MAX)? });
        }
        let signed = if signed {
            let notes = r.bytes("notes", SEALED_NOTES_LEN_MAX)?;
            let ed25519 = r.array("ed25519 signature")?;
            let signature = r.array::<ML_DSA_SIGNATURE_LEN>("ml-dsa signature")?.to_vec();
            let signature = DualSignature { ed25519, ml_dsa: signature.into() };
            Some(Signed { ml_dsa: ml_dsa.into(), notes, signature })
        } else {
            None
        };
        Ok(Self { vault, revision, public, generation, slots, signed, mac: r.array("mac")? })
    }
}
