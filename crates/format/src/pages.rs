//! The pieces of a manifest's tree: chunk entries, references to pages, pages. Each is bounded, so that a file
//! of any length is described without any large message. [`crate::manifest`] has the top of the tree.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::BlobId;
use crate::record::unknown_format;

/// Version of the page layout that this program writes.
pub const PAGE_FORMAT: u8 = 1;

/// Most entries or references in one page. A page of entries is then 73 KiB and describes 1 GiB at the
/// default chunk length.
pub const PAGE_ITEMS_MAX: usize = 1024;

/// Most levels of pages under a manifest: at 1,024 items a page, two describe 46 TiB, four more than a `u64`
/// of bytes can be.
pub const PAGE_LEVELS_MAX: u8 = 5;

/// Longest chunk before compression, in bytes.
pub const CHUNK_LEN_MAX: usize = 4 * 1024 * 1024;

/// Shortest fixed chunk length, in bytes.
pub const CHUNK_LEN_MIN: usize = 64 * 1024;

/// Default fixed chunk length, in bytes: fits a core's second-level cache through all stages.
pub const CHUNK_LEN_DEFAULT: usize = 1024 * 1024;

/// Longest encoded page, in bytes.
pub const PAGE_LEN_MAX: usize = 1 + 1 + 4 + PAGE_ITEMS_MAX * PageRef::LEN;

/// Entry flag: the stored bytes are a zstd frame of the plain ones.
pub const FLAG_ZSTD: u8 = 1;

/// The secret that opens one chunk or page. Whoever has it and the blob can read it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkKey(pub [u8; 32]);

impl std::fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkKey(…)")
    }
}

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The sealed blob.
    pub blob: BlobId,
    /// What opens it.
    pub key: ChunkKey,
    /// Length of the chunk in the file, in bytes.
    pub plain_len: u32,
    /// Length after compression and before padding, in bytes.
    pub stored_len: u32,
    /// [`FLAG_ZSTD`] or 0.
    pub flags: u8,
}

/// A reference to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// The sealed blob.
    pub blob: BlobId,
    /// What opens it.
    pub key: ChunkKey,
    /// Length of the encoded page, in bytes.
    pub page_len: u32,
    /// Where in the file the bytes under it begin.
    pub offset: u64,
    /// How many bytes of the file lie under it.
    pub len: u64,
}

/// A page of a manifest's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Level 0: chunks in file order.
    Leaf(Vec<ChunkEntry>),
    /// Level 1 and above: pages one level below, in file order.
    Interior {
        /// 1 to [`PAGE_LEVELS_MAX`] − 1.
        level: u8,
        /// The pages below.
        refs: Vec<PageRef>,
    },
}

impl ChunkEntry {
    /// Encoded length, in bytes.
    pub const LEN: usize = 32 + 32 + 4 + 4 + 1;

    fn encode_into(&self, w: &mut Writer) {
        w.raw(&self.blob.0).raw(&self.key.0).u32(self.plain_len).u32(self.stored_len).u8(self.flags);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let blob = BlobId(r.array("chunk blob")?);
        let key = ChunkKey(r.array("chunk key")?);
        let plain_len = r.u32("chunk plain length")?;
        let stored_len = r.u32("chunk stored length")?;
        let flags = r.u8("chunk flags")?;
        let entry = Self { blob, key, plain_len, stored_len, flags };
        entry.check()?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.plain_len == 0 || self.plain_len as usize > CHUNK_LEN_MAX {
            return Err(DecodeError::BadValue { field: "chunk plain length", value: self.plain_len.into() });
        }
        let stored_fits = match self.flags {
            0 => self.stored_len == self.plain_len,
            FLAG_ZSTD => self.stored_len > 0 && self.stored_len < self.plain_len,
            other => return Err(DecodeError::BadValue { field: "chunk flags", value: other.into() }),
        };
        if stored_fits {
            Ok(())
        } else {
            Err(DecodeError::BadValue { field: "chunk stored length", value: self.stored_len.into() })
        }
    }
}

impl PageRef {
    /// Encoded length, in bytes.
    pub const LEN: usize = 32 + 32 + 4 + 8 + 8;

    fn encode_into(&self, w: &mut Writer) {
        w.raw(&self.blob.0).raw(&self.key.0).u32(self.page_len).u64(self.offset).u64(self.len);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let blob = BlobId(r.array("page blob")?);
        let key = ChunkKey(r.array("page key")?);
        let page_len = r.u32("page length")?;
        if page_len as usize > PAGE_LEN_MAX {
            return Err(DecodeError::TooLong {
                field: "page length",
                len: page_len as usize,
                max: PAGE_LEN_MAX,
            });
        }
        Ok(Self { blob, key, page_len, offset: r.u64("page offset")?, len: r.u64("page span")? })
    }
}

pub(crate) fn decode_chunks(r: &mut Reader, max: usize) -> Result<Vec<ChunkEntry>, DecodeError> {
    let count = r.count("chunks", max, ChunkEntry::LEN)?;
    if count == 0 {
        // Nothing is always written as empty inline content, so that it has one encoding only.
        return Err(DecodeError::BadValue { field: "chunks", value: 0 });
    }
    (0..count).map(|_| ChunkEntry::decode(r)).collect()
}

/// Reads references and checks that they lie end to end.
pub(crate) fn decode_refs(r: &mut Reader, max: usize) -> Result<Vec<PageRef>, DecodeError> {
    let count = r.count("page references", max, PageRef::LEN)?;
    let mut refs: Vec<PageRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let next = PageRef::decode(r)?;
        let end = next.offset.checked_add(next.len);
        let joins = refs.last().is_none_or(|last| last.offset + last.len == next.offset);
        if next.len == 0 || end.is_none() || !joins {
            return Err(DecodeError::BadValue { field: "page offset", value: next.offset });
        }
        refs.push(next);
    }
    if refs.is_empty() {
        return Err(DecodeError::BadValue { field: "page references", value: 0 });
    }
    Ok(refs)
}

pub(crate) fn encode_chunks(w: &mut Writer, chunks: &[ChunkEntry]) {
    w.count(chunks.len());
    chunks.iter().for_each(|chunk| chunk.encode_into(w));
}

pub(crate) fn encode_refs(w: &mut Writer, refs: &[PageRef]) {
    w.count(refs.len());
    refs.iter().for_each(|page| page.encode_into(w));
}

impl Page {
    /// The page's level: 0 for a leaf.
    #[must_use]
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Interior { level, .. } => *level,
        }
    }

    /// Bytes of the file under this page, or `None` if they do not add up to a `u64`.
    #[must_use]
    pub fn span(&self) -> Option<u64> {
        match self {
            Self::Leaf(chunks) => chunks.iter().try_fold(0u64, |sum, c| sum.checked_add(c.plain_len.into())),
            Self::Interior { refs, .. } => refs.iter().try_fold(0u64, |sum, p| sum.checked_add(p.len)),
        }
    }

    /// The page's bytes.
    ///
    /// # Panics
    /// If it holds more than [`PAGE_ITEMS_MAX`] items: whoever builds pages cuts them before.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(8 + PAGE_ITEMS_MAX * ChunkEntry::LEN);
        w.u8(PAGE_FORMAT).u8(self.level());
        match self {
            Self::Leaf(chunks) => {
                assert!(chunks.len() <= PAGE_ITEMS_MAX, "pages are cut before they overflow");
                encode_chunks(&mut w, chunks);
            }
            Self::Interior { refs, .. } => {
                assert!(refs.len() <= PAGE_ITEMS_MAX, "pages are cut before they overflow");
                encode_refs(&mut w, refs);
            }
        }
        w.finish()
    }

    /// Reads what [`Page::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("page format")?;
        if format != PAGE_FORMAT {
            return Err(unknown_format("page", format, PAGE_FORMAT));
        }
        let level = r.u8("page level")?;
        let page = match level {
            0 => Self::Leaf(decode_chunks(&mut r, PAGE_ITEMS_MAX)?),
            1..PAGE_LEVELS_MAX => Self::Interior { level, refs: decode_refs(&mut r, PAGE_ITEMS_MAX)? },
            _ => return Err(DecodeError::BadValue { field: "page level", value: level.into() }),
        };
        r.finish()?;
        Ok(page)
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
pub(crate) mod tests;
