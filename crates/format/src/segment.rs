//! The bytes of the log: files, their stamps, and frames. What a frame says is in [`body`]; the sidecar that
//! lists a sealed segment's frames is in [`sidecar`]. `docs/design/format-log.md` describes every byte.
//!
//! A log is a run of segment files. Each begins with a block of [`BLOCK_LEN`] bytes that carries its
//! [`Stamp`] twice, and goes on with frames, each aligned to [`ALIGN`] bytes: a [`FrameHeader`], a *name part*
//! (what the index needs) and a *value part* (bytes that are only fetched when asked for), each with its own
//! checksum. Checksums are XXH3-64 seeded with the segment's salt, so that what an earlier life of a recycled
//! file left behind never passes for a frame.

pub mod body;
pub mod sidecar;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::StoreId;
use crate::limits::{BLOB_LEN_MAX, VALUE_LEN_MAX};

/// Version of the log's files that this program writes.
pub const LOG_FORMAT: u32 = 1;

/// Length of a segment file, in bytes: large enough that headers and directory syncs do not count, small
/// enough that compacting one takes a second.
pub const SEGMENT_LEN: u64 = 256 * 1024 * 1024;

/// Frames begin at multiples of this, in bytes, so that a search for the next frame has few places to look.
pub const ALIGN: u64 = 8;

/// First block of a segment, of the store file and of each slot of the marks file, in bytes: the largest
/// unit that disks write in one piece.
pub const BLOCK_LEN: usize = 4096;

/// Where a block's second copy of its stamp begins.
pub const SECOND_COPY: usize = 2048;

/// Length of a [`Stamp`], in bytes.
pub const STAMP_LEN: usize = 64;

/// Length of a [`FrameHeader`], in bytes.
pub const FRAME_HEADER_LEN: usize = 64;

/// Longest name part, in bytes. The largest is a record whose takers' bytes are still kept.
pub const NAME_PART_LEN_MAX: usize = 2 * VALUE_LEN_MAX;

/// Longest value part, in bytes.
pub const VALUE_PART_LEN_MAX: usize = if VALUE_LEN_MAX > BLOB_LEN_MAX { VALUE_LEN_MAX } else { BLOB_LEN_MAX };

/// First two bytes of a frame.
const FRAME_MAGIC: u16 = 0x464c;

/// XXH3-64 with a segment's salt as seed.
#[must_use]
pub fn checksum(bytes: &[u8], salt: u64) -> u64 {
    xxh3_64_with_seed(bytes, salt)
}

/// The salt of a segment: different for every life of every segment of every store, because a segment number
/// is used at most once between two starts and each start has its own boot counter.
#[must_use]
pub fn segment_salt(store: StoreId, boot: u64, number: u32) -> u64 {
    let mut input = [0; 28];
    input[..16].copy_from_slice(store.as_bytes());
    input[16..24].copy_from_slice(&boot.to_le_bytes());
    input[24..].copy_from_slice(&number.to_le_bytes());
    checksum(&input, 0)
}

/// `len` rounded up to [`ALIGN`].
#[must_use]
pub fn aligned(len: u64) -> u64 {
    len.next_multiple_of(ALIGN)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

/// Which file a stamp heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampKind {
    /// The folder's `STORE` file.
    Store,
    /// A segment.
    Segment,
    /// A slot of the marks file.
    Mark,
    /// A segment's sidecar.
    Sidecar,
}

impl StampKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            StampKind::Store => b"LARDERST",
            StampKind::Segment => b"LARDERSG",
            StampKind::Mark => b"LARDERMK",
            StampKind::Sidecar => b"LARDERIX",
        }
    }
}

/// What heads every file of the log. The checksum comes first: a stamp of any version verifies the same way,
/// so that a newer version is told from damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which file it heads.
    pub kind: StampKind,
    /// Version of the file's layout.
    pub version: u32,
    /// Segment number; 0 where there is none.
    pub number: u32,
    /// The store.
    pub store: StoreId,
    /// Store: boot counter. Segment and sidecar: salt. Mark: highest sequence number known durable.
    pub first: u64,
    /// Segment: sequence number of its first frame. Mark: counter. Sidecar: length of the list. Store: 0.
    pub second: u64,
    /// Segment: chain value its first frame follows. Sidecar: checksum of the list. Mark, store: 0.
    pub third: u64,
}

impl Stamp {
    /// The stamp's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; STAMP_LEN] {
        let mut out = [0; STAMP_LEN];
        out[..8].copy_from_slice(self.kind.magic());
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(self.store.as_bytes());
        out[32..40].copy_from_slice(&self.first.to_le_bytes());
        out[40..48].copy_from_slice(&self.second.to_le_bytes());
        out[48..56].copy_from_slice(&self.third.to_le_bytes());
        let sum = checksum(&out[..56], 0);
        out[56..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// A whole block with the stamp twice.
    #[must_use]
    pub fn encode_block(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK_LEN];
        block[..STAMP_LEN].copy_from_slice(&self.encode());
        block[SECOND_COPY..SECOND_COPY + STAMP_LEN].copy_from_slice(&self.encode());
        block
    }

    /// Reads a stamp of the given kind; `None` if these bytes are not one. The version is not judged.
    #[must_use]
    pub fn decode(kind: StampKind, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..STAMP_LEN)?;
        if &bytes[..8] != kind.magic() || word(bytes, 56) != checksum(&bytes[..56], 0) {
            return None;
        }
        let mut store = [0; StoreId::LEN];
        store.copy_from_slice(&bytes[16..32]);
        Some(Self {
            kind,
            version: half(bytes, 8),
            number: half(bytes, 12),
            store: StoreId(store),
            first: word(bytes, 32),
            second: word(bytes, 40),
            third: word(bytes, 48),
        })
    }

    /// Reads whichever copy in a block is whole.
    #[must_use]
    pub fn decode_block(kind: StampKind, block: &[u8]) -> Option<Self> {
        Self::decode(kind, block)
            .or_else(|| block.get(SECOND_COPY..).and_then(|copy| Self::decode(kind, copy)))
    }
}

/// What a frame says. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A record's whole slot: state and ballots.
    Record = 1,
    /// A record's ballots alone; its state stays where it was.
    Promise = 2,
    /// All that was kept for a key is dropped, and the floor raised.
    Remove = 3,
    /// A floor.
    Floor = 4,
    /// The high-water mark of hybrid time.
    Time = 5,
    /// A blob.
    Blob = 6,
    /// A lease is granted, or blobs are added to it.
    Grant = 7,
    /// A lease ended for good.
    Release = 8,
    /// A lease lost its deadline.
    Confirm = 9,
    /// First frame of a segment: which other segments there are.
    Segments = 10,
    /// The store was opened.
    Boot = 11,
    /// The operator accepted the loss of what was damaged.
    Accept = 12,
    /// A segment is no longer needed.
    Freed = 13,
    /// Last frame of a segment.
    End = 14,
}

impl FrameKind {
    /// From its number.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Record,
            2 => Self::Promise,
            3 => Self::Remove,
            4 => Self::Floor,
            5 => Self::Time,
            6 => Self::Blob,
            7 => Self::Grant,
            8 => Self::Release,
            9 => Self::Confirm,
            10 => Self::Segments,
            11 => Self::Boot,
            12 => Self::Accept,
            13 => Self::Freed,
            14 => Self::End,
            _ => return None,
        })
    }
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// Bytes of the name part.
    pub name_len: u32,
    /// Bytes of the value part.
    pub value_len: u32,
    /// Where the frame begins in its segment, in units of [`ALIGN`]: a frame found elsewhere is not one.
    pub place: u32,
    /// Its number in the whole store, rising by one.
    pub sequence: u64,
    /// Highest sequence number known to be durable when this was written.
    pub durable_through: u64,
    /// [`FrameHeader::chain`] of the frame before.
    pub follows: u64,
    /// Checksum of the name part.
    pub name_sum: u64,
    /// Checksum of the value part; 0 for a blob, whose id is its hash.
    pub value_sum: u64,
}

impl FrameHeader {
    /// The header's bytes under a segment's salt. The last eight are the checksum, which is also the chain
    /// value that the next frame carries.
    #[must_use]
    pub fn encode(&self, salt: u64) -> [u8; FRAME_HEADER_LEN] {
        let mut out = [0; FRAME_HEADER_LEN];
        out[..2].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[2] = self.kind as u8;
        out[4..8].copy_from_slice(&self.name_len.to_le_bytes());
        out[8..12].copy_from_slice(&self.value_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.place.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_through.to_le_bytes());
        out[32..40].copy_from_slice(&self.follows.to_le_bytes());
        out[40..48].copy_from_slice(&self.name_sum.to_le_bytes());
        out[48..56].copy_from_slice(&self.value_sum.to_le_bytes());
        let sum = checksum(&out[..56], salt);
        out[56..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// The chain value of an encoded header: what the next frame's `follows` must be.
    #[must_use]
    pub fn chain(encoded: &[u8; FRAME_HEADER_LEN]) -> u64 {
        word(encoded, 56)
    }

    /// Reads a header; `None` if these bytes are not one of this segment at this place.
    #[must_use]
    pub fn decode(bytes: &[u8], salt: u64, place: u32) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_LEN)?;
        // Cheap checks first: a search looks at every eighth byte of a segment.
        if bytes[..2] != FRAME_MAGIC.to_le_bytes() || half(bytes, 12) != place || bytes[3] != 0 {
            return None;
        }
        if word(bytes, 56) != checksum(&bytes[..56], salt) {
            return None;
        }
        let header = Self {
            kind: FrameKind::from_u8(bytes[2])?,
            name_len: half(bytes, 4),
            value_len: half(bytes, 8),
            place,
            sequence: word(bytes, 16),
            durable_through: word(bytes, 24),
            follows: word(bytes, 32),
            name_sum: word(bytes, 40),
            value_sum: word(bytes, 48),
        };
        let fits = header.name_len as usize <= NAME_PART_LEN_MAX
            && header.value_len as usize <= VALUE_PART_LEN_MAX
            && header.durable_through < header.sequence;
        fits.then_some(header)
    }

    /// Bytes of the whole frame, with the padding that aligns the next.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        frame_len(self.name_len as usize, self.value_len as usize)
    }
}

/// Bytes of a frame with parts of these lengths, with the padding that aligns the next.
#[must_use]
pub fn frame_len(name_len: usize, value_len: usize) -> u64 {
    aligned((FRAME_HEADER_LEN + name_len + value_len) as u64)
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
