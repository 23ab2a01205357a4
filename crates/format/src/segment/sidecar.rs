//! A sidecar lists the frames of one sealed segment, so that a store opens without reading its values. It
//! can be deleted at any time; it is believed only if its checksum holds, and it is rebuilt from its segment.
//!
//! Layout: a [`super::Stamp`] block, then the list, then nothing. The list is one entry per frame: a fixed
//! part of [`ENTRY_LEN`] bytes and what the index needs of the name part (of a record its
//! [`super::body::RecordName`], of any other frame all of it).

use super::{FrameKind, half, word};

/// Fixed part of an entry, in bytes.
pub const ENTRY_LEN: usize = 28;

/// One frame of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SidecarEntry<'a> {
    /// What the frame says.
    pub kind: FrameKind,
    /// Where it begins, in units of [`super::ALIGN`].
    pub place: u32,
    /// Bytes of its name part.
    pub name_len: u32,
    /// Bytes of its value part.
    pub value_len: u32,
    /// Its sequence number.
    pub sequence: u64,
    /// The front of its name part.
    pub name: &'a [u8],
}

impl<'a> SidecarEntry<'a> {
    /// Appends the entry.
    ///
    /// # Panics
    /// If the name part is longer than 4 GiB, which [`super::NAME_PART_LEN_MAX`] rules out.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let kept = u32::try_from(self.name.len()).expect("name parts are far below 2^32 bytes");
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&kept.to_le_bytes());
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.name_len.to_le_bytes());
        out.extend_from_slice(&self.value_len.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(self.name);
    }

    /// Reads the entry at the front of `list` and what follows it; `None` if there is no whole one.
    #[must_use]
    pub fn decode(list: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let kept = half(list.get(..ENTRY_LEN)?, 4) as usize;
        let name_len = half(list, 12);
        if list[1..4] != [0, 0, 0] || kept > name_len as usize {
            return None;
        }
        let entry = Self {
            kind: FrameKind::from_u8(list[0])?,
            place: half(list, 8),
            name_len,
            value_len: half(list, 16),
            sequence: word(list, 20),
            name: list.get(ENTRY_LEN..ENTRY_LEN.checked_add(kept)?)?,
        };
        Some((entry, &list[ENTRY_LEN + kept..]))
    }
}
