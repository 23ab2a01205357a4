//! What frames say: the name part of each kind.
//!
//! Decoders take any bytes: they never panic, never allocate beyond the input, and accept exactly one
//! encoding of each value. Integers are little-endian.

use bytes::Bytes;

use crate::clock::Hlc;
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{BlobId, LeaseToken, NamespaceId};
use crate::limits::{KEY_LEN_MAX, TAKES_MAX};
use crate::record::{Ballot, Ballots, Expiry, Key, RecordMeta, ShadowReason, Version};

/// Most blobs one [`Grant`] frame names: keeps the frame within one page, so that a damaged byte can still be
/// found by trying.
pub const GRANT_BLOBS_MAX: usize = 120;

/// Most segments a [`Segments`] frame lists: 512 TiB of store, and still within one name part.
pub const SEGMENTS_MAX: usize = 1 << 21;

const HAS_STATE: u8 = 1;
const HAS_BALLOTS: u8 = 2;
const HAS_OPERATIONS: u8 = 4;
const HAS_TAKES: u8 = 8;
const SHADOW_SHIFT: u8 = 4;

/// Bytes before a record name's ballots and key.
const RECORD_FIXED_LEN: usize = 8 + 2 + 1 + 1 + 2 + 2 + 4 + 4 + 8 + 8;
const BALLOTS_LEN: usize = 32;

/// What the index keeps of a record: begins the name part of [`super::FrameKind::Record`] and
/// [`super::FrameKind::Promise`] frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordName<'a> {
    /// The record's namespace.
    pub namespace: NamespaceId,
    /// The number of its slot.
    pub slot: u16,
    /// Its key: 1 to [`KEY_LEN_MAX`] bytes.
    pub key: &'a [u8],
    /// What most operations need of the state; `None` where nothing was accepted.
    pub meta: Option<RecordMeta>,
    /// Ballots of a replicated register.
    pub ballots: Option<Ballots>,
}

fn shadow_bits(shadow: Option<ShadowReason>) -> u8 {
    let code = match shadow {
        None => 0,
        Some(ShadowReason::Deleted) => 1,
        Some(ShadowReason::Expired) => 2,
        Some(ShadowReason::Taken) => 3,
    };
    code << SHADOW_SHIFT
}

fn shadow_of(flags: u8) -> Option<ShadowReason> {
    match (flags >> SHADOW_SHIFT) & 3 {
        1 => Some(ShadowReason::Deleted),
        2 => Some(ShadowReason::Expired),
        3 => Some(ShadowReason::Taken),
        _ => None,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    super::word(bytes, at)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    super::half(bytes, at)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

impl<'a> RecordName<'a> {
    /// Appends the name's bytes.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_LEN_MAX`], which [`Key`] rules out.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let meta = self.meta;
        let mut flags = 0;
        if let Some(meta) = meta {
            flags |= HAS_STATE | shadow_bits(meta.shadow);
            if meta.has_operations {
                flags |= HAS_OPERATIONS;
            }
            if meta.takes_left.is_some() {
                flags |= HAS_TAKES;
            }
        }
        if self.ballots.is_some() {
            flags |= HAS_BALLOTS;
        }
        let key_len = u16::try_from(self.key.len()).expect("keys are at most KEY_LEN_MAX bytes");
        out.extend_from_slice(&self.namespace.0.to_le_bytes());
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(&[flags, 0]);
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&meta.and_then(|m| m.takes_left).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&meta.map_or(0, |m| m.value_len).to_le_bytes());
        out.extend_from_slice(&meta.map_or(0, |m| m.version.to_u64()).to_le_bytes());
        out.extend_from_slice(&meta.map_or(0, |m| m.expiry.to_u64()).to_le_bytes());
        if let Some(ballots) = self.ballots {
            for ballot in [ballots.promised, ballots.accepted] {
                out.extend_from_slice(&ballot.round.to_le_bytes());
                out.extend_from_slice(&ballot.proposer.to_le_bytes());
            }
        }
        out.extend_from_slice(self.key);
    }

    /// Reads a name at the front of `bytes`, and how many bytes it took.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let need = |need: usize| {
            let short = DecodeError::Truncated { field: "record name", need, have: bytes.len() };
            if bytes.len() < need { Err(short) } else { Ok(()) }
        };
        need(RECORD_FIXED_LEN)?;
        let flags = bytes[10];
        let key_len = usize::from(u16_at(bytes, 12));
        if key_len == 0 || key_len > KEY_LEN_MAX {
            return Err(DecodeError::TooLong { field: "key", len: key_len, max: KEY_LEN_MAX });
        }
        let takes = u32_at(bytes, 16);
        let spare = bytes[11] != 0 || u16_at(bytes, 14) != 0 || flags >> 6 != 0;
        let without_state = flags & HAS_STATE == 0
            && (flags & !HAS_BALLOTS != 0 || bytes[16..RECORD_FIXED_LEN].iter().any(|b| *b != 0));
        if spare || without_state || takes > TAKES_MAX || (flags & HAS_TAKES == 0) != (takes == 0) {
            return Err(DecodeError::BadValue { field: "record flags", value: flags.into() });
        }
        let meta = (flags & HAS_STATE != 0).then(|| RecordMeta {
            version: Version::from_u64(u64_at(bytes, 24)),
            expiry: Expiry::at_ms(u64_at(bytes, 32)),
            shadow: shadow_of(flags),
            takes_left: (takes > 0).then_some(takes),
            has_operations: flags & HAS_OPERATIONS != 0,
            value_len: u32_at(bytes, 20),
        });
        let mut at = RECORD_FIXED_LEN;
        let mut ballots = None;
        if flags & HAS_BALLOTS != 0 {
            need(at + BALLOTS_LEN)?;
            let ballot = |at| Ballot { round: u64_at(bytes, at), proposer: u64_at(bytes, at + 8) };
            ballots = Some(Ballots { promised: ballot(at), accepted: ballot(at + 16) });
            at += BALLOTS_LEN;
        }
        need(at + key_len)?;
        let name = Self {
            namespace: NamespaceId(u64_at(bytes, 0)),
            slot: u16_at(bytes, 8),
            key: &bytes[at..at + key_len],
            meta,
            ballots,
        };
        Ok((name, at + key_len))
    }
}

/// All that was kept for a key is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remove {
    /// The record's namespace.
    pub namespace: NamespaceId,
    /// The number of its slot.
    pub slot: u16,
    /// Its key.
    pub key: Key,
    /// The floor of its slot group rises to at least this.
    pub floor: Ballot,
    /// Frames of this key older than this one lie in segments `since` to `until`, both included, or nowhere.
    /// When all of them are gone this frame may go.
    pub since: u32,
    /// See `since`.
    pub until: u32,
}

impl Remove {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(48 + self.key.as_bytes().len());
        w.u64(self.namespace.0).u16(self.slot).u64(self.floor.round).u64(self.floor.proposer);
        w.u32(self.since).u32(self.until).bytes(self.key.as_bytes());
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let namespace = NamespaceId(r.u64("namespace")?);
        let slot = r.u16("slot")?;
        let floor = Ballot { round: r.u64("floor round")?, proposer: r.u64("floor proposer")? };
        let (since, until) = (r.u32("since")?, r.u32("until")?);
        let key = read_key(&mut r)?;
        r.finish()?;
        Ok(Self { namespace, slot, key, floor, since, until })
    }
}

fn read_key(r: &mut Reader) -> Result<Key, DecodeError> {
    let bytes = r.bytes("key", KEY_LEN_MAX)?;
    Key::new(bytes).map_err(|e| DecodeError::BadValue { field: "key length", value: e.len as u64 })
}

/// A floor of one slot group of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The slot group.
    pub group: u8,
    /// Every ballot dropped there is at or below this.
    pub floor: Ballot,
}

impl Floor {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u64(self.namespace.0).u8(self.group).u64(self.floor.round).u64(self.floor.proposer);
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let namespace = NamespaceId(r.u64("namespace")?);
        let group = r.u8("group")?;
        let floor = Ballot { round: r.u64("floor round")?, proposer: r.u64("floor proposer")? };
        r.finish()?;
        Ok(Self { namespace, group, floor })
    }
}

/// A lease is granted, or blobs are added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which lease.
    pub token: LeaseToken,
    /// Namespace of the record it belongs to.
    pub namespace: NamespaceId,
    /// The record it belongs to.
    pub key: Key,
    /// Hybrid time in milliseconds.
    pub deadline_ms: u64,
    /// Whether the deadline no longer counts.
    pub confirmed: bool,
    /// Blobs it keeps from now on; at most [`GRANT_BLOBS_MAX`].
    pub blobs: Vec<BlobId>,
}

impl Grant {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(64 + self.key.as_bytes().len() + 32 * self.blobs.len());
        w.raw(&self.token.0).u64(self.namespace.0).u64(self.deadline_ms).u8(self.confirmed.into());
        w.bytes(self.key.as_bytes()).count(self.blobs.len());
        for blob in &self.blobs {
            w.raw(&blob.0);
        }
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let token = LeaseToken(r.array("token")?);
        let namespace = NamespaceId(r.u64("namespace")?);
        let deadline_ms = r.u64("deadline")?;
        let confirmed = match r.u8("confirmed")? {
            0 => false,
            1 => true,
            other => return Err(DecodeError::BadValue { field: "confirmed", value: other.into() }),
        };
        let key = read_key(&mut r)?;
        let count = r.count("blobs", GRANT_BLOBS_MAX, BlobId::LEN)?;
        let mut blobs = Vec::with_capacity(count);
        for _ in 0..count {
            blobs.push(BlobId(r.array("blob")?));
        }
        r.finish()?;
        Ok(Self { token, namespace, key, deadline_ms, confirmed, blobs })
    }
}

/// A lease ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Which lease.
    pub token: LeaseToken,
    /// Hybrid time in milliseconds until which the token must be remembered as released.
    pub remember_until_ms: u64,
    /// Grants of this token lie in segments `since` to `until`, both included, or nowhere.
    pub since: u32,
    /// See `since`.
    pub until: u32,
}

impl Release {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.raw(&self.token.0).u64(self.remember_until_ms).u32(self.since).u32(self.until);
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let token = LeaseToken(r.array("token")?);
        let remember_until_ms = r.u64("remember until")?;
        let (since, until) = (r.u32("since")?, r.u32("until")?);
        r.finish()?;
        Ok(Self { token, remember_until_ms, since, until })
    }
}

/// The operator accepted the loss of what could not be attributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// Lost frames up to this sequence number are accepted as lost.
    pub through: u64,
    /// Every floor of the store is at least this from now on.
    pub floor: Ballot,
}

impl Accept {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u64(self.through).u64(self.floor.round).u64(self.floor.proposer);
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let through = r.u64("through")?;
        let floor = Ballot { round: r.u64("floor round")?, proposer: r.u64("floor proposer")? };
        r.finish()?;
        Ok(Self { through, floor })
    }
}

/// Which segments there are when a new one begins, the new one excepted: number and first sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments(pub Vec<(u32, u64)>);

impl Segments {
    /// The name part.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(4 + 12 * self.0.len());
        w.count(self.0.len());
        for (number, first) in &self.0 {
            w.u32(*number).u64(*first);
        }
        w.finish()
    }

    /// Reads the name part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let count = r.count("segments", SEGMENTS_MAX, 12)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push((r.u32("segment number")?, r.u64("first sequence")?));
        }
        r.finish()?;
        Ok(Self(list))
    }
}

/// The name part of a frame that says one number: a time, a boot counter, a freed segment.
#[must_use]
pub fn encode_number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

/// Reads what [`encode_number`] wrote.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_number(bytes: Bytes) -> Result<u64, DecodeError> {
    let mut r = Reader::new(bytes);
    let value = r.u64("number")?;
    r.finish()?;
    Ok(value)
}

/// Reads the name part of a [`super::FrameKind::Time`] frame.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_time(bytes: Bytes) -> Result<Hlc, DecodeError> {
    decode_number(bytes).map(Hlc::from_u64)
}

/// Reads the name part of a [`super::FrameKind::Blob`] frame: the blob's id.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_blob(bytes: Bytes) -> Result<BlobId, DecodeError> {
    let mut r = Reader::new(bytes);
    let id = BlobId(r.array("blob")?);
    r.finish()?;
    Ok(id)
}

/// Reads the name part of a [`super::FrameKind::Confirm`] frame: the lease's token.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_token(bytes: Bytes) -> Result<LeaseToken, DecodeError> {
    let mut r = Reader::new(bytes);
    let token = LeaseToken(r.array("token")?);
    r.finish()?;
    Ok(token)
}
