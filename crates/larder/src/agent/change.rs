//! Changes of the vault's slots: what a command asks of the agent, as bytes, and the doing. It is done in the agent
//! because keys are derived there; the new header goes back to the command, which puts it in its place.

use bytes::Bytes;
use larder_format::codec::DecodeError;
use larder_format::error::Kind;
use larder_format::rng::Rng;
use larder_seal::header::VaultHeader;
use larder_seal::header::notes::{LABEL_LEN_MAX, Note};
use larder_seal::keys::VaultRoot;
use larder_seal::recipient::{Identity, KEY_TEXT_LEN_MAX, Recipient};
use larder_seal::recovery::RecoveryCode;
use larder_seal::slots::{Argon2Cost, SLOT_ID_LEN, SlotId, SlotKind, Unlock};
use zeroize::Zeroizing;

use crate::agent::protocol::{HEADER_LEN_MAX, Secret};
use crate::failure::{Failure, Outcome};

/// A change of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The header as it is.
    pub header: Bytes,
    /// What proves the right to it; `None`: the vault is open in the agent.
    pub proof: Option<Secret>,
    /// What to do.
    pub what: What,
}

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Another passphrase in the place of one.
    Passphrase {
        /// Which; `None`: the one that was the proof, or the only one.
        slot: Option<SlotId>,
        /// The new one.
        new: Zeroizing<Vec<u8>>,
        /// Make a new recovery code, too.
        new_code: bool,
    },
    /// A new recovery code in the place of all others.
    RecoveryCode,
    /// One more passphrase.
    AddPassphrase {
        /// The passphrase.
        new: Zeroizing<Vec<u8>>,
        /// Whose it is.
        label: String,
    },
    /// One more recipient.
    AddRecipient {
        /// As text.
        recipient: String,
        /// Whose it is.
        label: String,
    },
    /// One way in less.
    Remove {
        /// Which.
        slot: SlotId,
    },
}

/// What came of a change.
#[derive(Debug)]
pub struct Changed {
    /// Its new header.
    pub header: VaultHeader,
    /// The slot that is new; for a removal, the one that is gone.
    pub slot: SlotId,
    /// A new recovery code.
    pub recovery_code: Option<RecoveryCode>,
}

/// The parts every change has on the wire; those that a change does not need are empty.
struct Parts<'a> {
    tag: u8,
    slot: Option<SlotId>,
    flag: bool,
    label: &'a str,
    secret: &'a [u8],
}

impl What {
    fn parts(&self) -> Parts<'_> {
        let none = Parts { tag: 0, slot: None, flag: false, label: "", secret: &[] };
        match self {
            Self::Passphrase { slot, new, new_code } => {
                Parts { tag: 1, slot: *slot, flag: *new_code, secret: new, ..none }
            }
            Self::RecoveryCode => Parts { tag: 2, ..none },
            Self::AddPassphrase { new, label } => Parts { tag: 3, label, secret: new, ..none },
            Self::AddRecipient { recipient, label } => {
                Parts { tag: 4, label, secret: recipient.as_bytes(), ..none }
            }
            Self::Remove { slot } => Parts { tag: 5, slot: Some(*slot), ..none },
        }
    }
}

impl Change {
    /// As bytes, to be wiped. Sized before they are filled, so that no copy of a secret stays behind.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (proof_tag, proof) = match &self.proof {
            None => (0, &[][..]),
            Some(Secret::Passphrase(bytes)) => (1, bytes.as_slice()),
            Some(Secret::RecoveryCode(bytes)) => (2, bytes.as_slice()),
            Some(Secret::Identity(bytes)) => (3, bytes.as_slice()),
        };
        let parts = self.what.parts();
        let slot = parts.slot.map_or([0; SLOT_ID_LEN], |slot| slot.0);
        let bytes = [&self.header[..], proof, &slot, parts.label.as_bytes(), parts.secret];
        let fixed = [proof_tag, parts.tag, u8::from(parts.slot.is_some()), u8::from(parts.flag)];
        let len = fixed.len() + bytes.iter().map(|b| 4 + b.len()).sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend_from_slice(&fixed);
        for part in bytes {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bad = |field, value: u8| DecodeError::BadValue { field, value: value.into() };
        let [proof_tag, tag, has_slot, flag, rest @ ..] = bytes else {
            return Err(DecodeError::Truncated { field: "change", need: 4, have: bytes.len() });
        };
        let mut rest = rest;
        let header = Bytes::copy_from_slice(part(&mut rest, "header", HEADER_LEN_MAX)?);
        let proof = secret(part(&mut rest, "proof", KEY_TEXT_LEN_MAX)?);
        let slot = part(&mut rest, "slot", SLOT_ID_LEN)?;
        let label = text(part(&mut rest, "label", LABEL_LEN_MAX)?, "label")?;
        let new = part(&mut rest, "new secret", KEY_TEXT_LEN_MAX)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { count: rest.len() });
        }
        let slot = match has_slot {
            0 => None,
            1 => Some(SlotId(slot.try_into().map_err(|_| bad("slot", *has_slot))?)),
            other => return Err(bad("slot", *other)),
        };
        let proof = match proof_tag {
            0 => None,
            1 => Some(Secret::Passphrase(proof)),
            2 => Some(Secret::RecoveryCode(proof)),
            3 => Some(Secret::Identity(proof)),
            other => return Err(bad("proof", *other)),
        };
        let what = match (*tag, slot) {
            (1, slot) => What::Passphrase { slot, new: secret(new), new_code: *flag == 1 },
            (2, _) => What::RecoveryCode,
            (3, _) => What::AddPassphrase { new: secret(new), label },
            (4, _) => What::AddRecipient { recipient: text(new, "recipient")?, label },
            (5, Some(slot)) => What::Remove { slot },
            (other, _) => return Err(bad("change", other)),
        };
        Ok(Self { header, proof, what })
    }

    /// Does it. `open` is the vault that is open here, if any.
    ///
    /// # Errors
    /// Locked; denied for a wrong proof; what is wrong with the change.
    pub fn apply(&self, open: Option<VaultRoot>, now_ms: u64, rng: &mut impl Rng) -> Outcome<Changed> {
        let seal = |e: larder_seal::SealError| Failure::new(e.kind(), e.to_string());
        let mut header = VaultHeader::decode(&self.header).map_err(seal)?;
        let (root, opened) = match &self.proof {
            Some(proof) => open_with(&header, proof).map(|(root, slot)| (root, Some(slot)))?,
            None => {
                let root = open.ok_or_else(|| Failure::new(Kind::Locked, "the vault is locked"))?;
                header.verify(&root).map_err(seal)?;
                (root, None)
            }
        };
        let cost = Argon2Cost::default();
        let mut note = Note { created_ms: now_ms, ..Note::default() };
        let mut code = None;
        let slot = match &self.what {
            What::Passphrase { slot, new, new_code } => {
                let unlock = Unlock::Passphrase(new);
                let target = slot.or(opened.filter(|id| is_passphrase(&header, *id)));
                let target = target.map_or_else(|| only_passphrase(&header), |id| Ok(Some(id)))?;
                let made = match target {
                    Some(id) => header.replace_slot(&root, id, unlock, cost, rng).map_err(seal)?,
                    None => header.add_slot(&root, unlock, cost, rng).map_err(seal)?,
                };
                let before = header.notes(&root).map_err(seal)?.remove(&made).unwrap_or_default();
                note.label = before.label;
                if *new_code {
                    code = Some(new_recovery_code(&mut header, &root, now_ms, rng).map_err(seal)?.1);
                }
                made
            }
            What::RecoveryCode => {
                let (made, new) = new_recovery_code(&mut header, &root, now_ms, rng).map_err(seal)?;
                code = Some(new);
                made
            }
            What::AddPassphrase { new, label } => {
                note.label.clone_from(label);
                header.add_slot(&root, Unlock::Passphrase(new), cost, rng).map_err(seal)?
            }
            What::AddRecipient { recipient, label } => {
                let recipient =
                    Recipient::parse(recipient).map_err(|bad| Failure::new(bad.kind(), bad.to_string()))?;
                note.label.clone_from(label);
                note.recipient = Some(recipient.fingerprint());
                let notes = header.notes(&root).map_err(seal)?;
                if notes.values().any(|there| there.recipient == note.recipient) {
                    return Err(Failure::new(Kind::Conflict, "this recipient has a slot already"));
                }
                header.add_recipient(&root, &recipient, rng).map_err(seal)?
            }
            What::Remove { slot } => {
                let at = header.position(*slot);
                let at = at.ok_or_else(|| Failure::new(Kind::NotFound, "there is no such slot"))?;
                header.remove_slot(&root, at).map_err(seal)?;
                return Ok(Changed { header, slot: *slot, recovery_code: None });
            }
        };
        header.annotate(&root, slot, note, rng).map_err(seal)?;
        Ok(Changed { header, slot, recovery_code: code })
    }
}

/// Opens a header with a secret; says which slot it was.
///
/// # Errors
/// Denied for a wrong secret; invalid for one that was mistyped.
pub fn open_with(header: &VaultHeader, secret: &Secret) -> Outcome<(VaultRoot, SlotId)> {
    let text = |bytes: &Zeroizing<Vec<u8>>| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let opened = match secret {
        Secret::Passphrase(passphrase) => header.open_slot(Unlock::Passphrase(passphrase)),
        Secret::RecoveryCode(typed) => {
            // A mistyped code opens nothing, like a wrong one, but says more.
            let code =
                RecoveryCode::parse(&text(typed)).map_err(|bad| Failure::new(bad.kind(), bad.to_string()))?;
            header.open_slot(Unlock::RecoveryCode(&code))
        }
        Secret::Identity(typed) => {
            let identity =
                Identity::parse(&text(typed)).map_err(|bad| Failure::new(bad.kind(), bad.to_string()))?;
            header.open_slot(Unlock::Identity(&identity))
        }
    };
    opened.map_err(|error| match error {
        larder_seal::SealError::WrongSecret { what: "recipient" }
        | larder_seal::SealError::NoSlot { what: "recipient" } => {
            Failure::new(Kind::Denied, "the vault has no slot for this identity")
        }
        other => Failure::new(other.kind(), other.to_string()),
    })
}

fn new_recovery_code(
    header: &mut VaultHeader,
    root: &VaultRoot,
    now_ms: u64,
    rng: &mut impl Rng,
) -> Result<(SlotId, RecoveryCode), larder_seal::SealError> {
    let code = RecoveryCode::generate(rng);
    let id = header.replace_slots(root, Unlock::RecoveryCode(&code), Argon2Cost::default(), rng)?;
    header.annotate(root, id, Note { created_ms: now_ms, ..Note::default() }, rng)?;
    Ok((id, code))
}

fn is_passphrase(header: &VaultHeader, id: SlotId) -> bool {
    header.slots().iter().any(|slot| slot.id() == id && slot.kind == SlotKind::Passphrase as u8)
}

/// The one passphrase there is; `None` if there is none.
fn only_passphrase(header: &VaultHeader) -> Outcome<Option<SlotId>> {
    let mut all = header.slots().iter().filter(|slot| slot.kind == SlotKind::Passphrase as u8);
    match (all.next(), all.next()) {
        (_, Some(_)) => Err(Failure::invalid(
            "the vault has several passphrases: name the one to replace with --slot ID (larder vault slots)",
        )),
        (only, None) => Ok(only.map(larder_seal::slots::Slot::id)),
    }
}

fn part<'a>(rest: &mut &'a [u8], field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
    let Some((len, after)) = rest.split_first_chunk::<4>() else {
        return Err(DecodeError::Truncated { field, need: 4, have: rest.len() });
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > max {
        return Err(DecodeError::TooLong { field, len, max });
    }
    if len > after.len() {
        return Err(DecodeError::Truncated { field, need: len, have: after.len() });
    }
    let (part, after) = after.split_at(len);
    *rest = after;
    Ok(part)
}

fn secret(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn text(bytes: &[u8], field: &'static str) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::BadValue { field, value: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::rng::SeededRng;

    fn changes() -> Vec<Change> {
        let new = || secret(b"new one");
        let slot = SlotId([7; SLOT_ID_LEN]);
        let header = Bytes::from_static(b"header");
        let whats = [
            What::Passphrase { slot: None, new: new(), new_code: true },
            What::Passphrase { slot: Some(slot), new: new(), new_code: false },
            What::RecoveryCode,
            What::AddPassphrase { new: new(), label: "Anna".to_owned() },
            What::AddRecipient { recipient: "larder-recipient-1-X".to_owned(), label: String::new() },
            What::Remove { slot },
        ];
        let proofs = [
            None,
            Some(Secret::Passphrase(new())),
            Some(Secret::RecoveryCode(new())),
            Some(Secret::Identity(new())),
        ];
        whats
            .into_iter()
            .flat_map(|what| {
                proofs.clone().map(|proof| Change { header: header.clone(), proof, what: what.clone() })
            })
            .collect()
    }

    #[test]
    fn changes_round_trip_and_cut_ones_are_refused() {
        for change in changes() {
            let bytes = change.encode();
            assert_eq!(Change::decode(&bytes), Ok(change));
            for len in 0..bytes.len() {
                assert!(Change::decode(&bytes[..len]).is_err(), "len={len}");
            }
        }
        let mut rng = SeededRng::new(1);
        for _ in 0..20_000 {
            let mut bytes = vec![0; usize::try_from(rng.below(64)).unwrap()];
            rng.fill(&mut bytes);
            bytes.iter_mut().take(16).for_each(|byte| *byte %= 6);
            let _ = Change::decode(&bytes);
        }
    }

    #[test]
    fn without_proof_and_locked_nothing_changes() {
        let mut rng = SeededRng::new(1);
        let root = VaultRoot::generate(&mut rng);
        let code = RecoveryCode::generate(&mut rng);
        let cost = Argon2Cost::default();
        let header = VaultHeader::create(&root, Unlock::RecoveryCode(&code), cost, &mut rng).unwrap();
        let change = |proof| Change { header: header.encode(), proof, what: What::RecoveryCode };
        let apply = |proof, open| change(proof).apply(open, 5, &mut SeededRng::new(2));
        assert_eq!(apply(None, None).unwrap_err().kind(), Some(Kind::Locked));
        let other = VaultRoot::generate(&mut rng);
        assert_eq!(apply(None, Some(other)).unwrap_err().kind(), Some(Kind::Damaged));
        let wrong = RecoveryCode::generate(&mut rng);
        let proof = |code: &RecoveryCode| Some(Secret::RecoveryCode(secret(code.to_text().as_bytes())));
        assert_eq!(apply(proof(&wrong), Some(root.clone())).unwrap_err().kind(), Some(Kind::Denied));
        for changed in [apply(proof(&code), None).unwrap(), apply(None, Some(root.clone())).unwrap()] {
            let new = changed.recovery_code.unwrap();
            assert!(changed.header.open(Unlock::RecoveryCode(&new)).is_ok());
            assert!(changed.header.open(Unlock::RecoveryCode(&code)).is_err());
            assert_eq!(changed.header.notes(&root).unwrap()[&changed.slot].created_ms, 5);
        }
    }
}
