//! What a file's record body says once it is opened: the description of one file version, in bounded pieces.
//!
//! A [`Manifest`] holds the content itself (small files), or its chunk list, or the top of a tree of pages that
//! hold it, so that no piece is large however large the file. It carries an Ed25519 signature over a
//! [`Statement`], which holds no key and can be shown to anyone. Sealing pages and walking the tree is
//! `larder-seal`'s; `docs/design/format-seal.md` has every byte.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::head::{Attributes, FileId, FileKind};
use crate::ids::VaultId;
use crate::limits::INLINE_FILE_LEN_MAX;
use crate::pages::{
    CHUNK_LEN_MAX, CHUNK_LEN_MIN, ChunkEntry, PAGE_LEVELS_MAX, PageRef, decode_chunks, decode_refs,
    encode_chunks, encode_refs,
};
use crate::record::unknown_format;

/// Version of the manifest layout that this program writes.
pub const MANIFEST_FORMAT: u8 = 1;

/// Longest encoded manifest whose content is a list of entries or references, in bytes: bodies stay small
/// enough that reading one costs nothing beside the round trip.
pub const MANIFEST_LEN_MAX: usize = 4096;

/// How a file was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chunking {
    /// Every chunk but the last has this length, a power of two between [`CHUNK_LEN_MIN`] and
    /// [`CHUNK_LEN_MAX`].
    Fixed {
        /// In bytes.
        len: u32,
    },
    /// Cut where the content says; this is the average length.
    ContentDefined {
        /// In bytes.
        average: u32,
    },
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Inline(Bytes),
    /// In these chunks, in order.
    Chunks(Vec<ChunkEntry>),
    /// Under these pages, in order.
    Pages {
        /// Level of the pages referred to (0: they are leaves).
        level: u8,
        /// The pages.
        refs: Vec<PageRef>,
    },
}

/// The description of one file version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The file's identity.
    pub file: FileId,
    /// File or link.
    pub kind: FileKind,
    /// The writer's hybrid time, strictly above the previous version's: what rollback is measured by.
    pub revision: u64,
    /// The record version this one replaced; 0: none.
    pub previous_version: u64,
    /// Hash of the statement of the version this one replaced; zeros: none.
    pub previous_statement: [u8; 32],
    /// Length of the content, in bytes.
    pub size: u64,
    /// BLAKE3 of the whole content, as `b3sum` prints it.
    pub content_hash: [u8; 32],
    /// [`attributes_hash`] of the head's attributes.
    pub attributes_hash: [u8; 32],
    /// How the content was cut.
    pub chunking: Chunking,
    /// Where it is.
    pub content: Content,
    /// Ed25519 over [`Statement::encode`].
    pub signature: [u8; 64],
}

/// What a manifest's signature says. It holds no key: it may be given away to prove who wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The vault whose key signed.
    pub vault: VaultId,
    /// The file's identity.
    pub file: FileId,
    /// File or link.
    pub kind: FileKind,
    /// As in the manifest.
    pub revision: u64,
    /// As in the manifest.
    pub size: u64,
    /// As in the manifest.
    pub content_hash: [u8; 32],
    /// As in the manifest.
    pub attributes_hash: [u8; 32],
    /// BLAKE3 of the manifest's encoded chunking and content: binds every chunk to its place.
    pub tree_hash: [u8; 32],
    /// As in the manifest.
    pub previous_statement: [u8; 32],
}

/// Context of [`attributes_hash`].
const ATTRIBUTES_CONTEXT: &str = "larder 2026 attributes hash";
/// Context of [`Statement::tree_hash`].
const TREE_CONTEXT: &str = "larder 2026 manifest tree hash";
/// Context of [`Statement::hash`].
const STATEMENT_CONTEXT: &str = "larder 2026 statement hash";
/// First bytes of every statement: no other signed message of Larder begins so.
pub const STATEMENT_DOMAIN: &[u8; 24] = b"larder file statement 1\n";

const CHUNKING_FIXED: u8 = 1;
const CHUNKING_CONTENT_DEFINED: u8 = 2;
const CONTENT_INLINE: u8 = 0;
const CONTENT_CHUNKS: u8 = 1;
const CONTENT_PAGES: u8 = 2;

/// Bytes of a manifest besides what [`Content`] takes.
const MANIFEST_FIXED_LEN: usize = 1 + 1 + 16 + 8 + 8 + 32 + 8 + 32 + 32 + CHUNKING_LEN + 64;
const CHUNKING_LEN: usize = 1 + 4;

/// Most chunks a manifest lists itself; a longer list goes into pages.
pub const MANIFEST_CHUNKS_MAX: usize = (MANIFEST_LEN_MAX - MANIFEST_FIXED_LEN - 5) / ChunkEntry::LEN;

/// Most pages a manifest refers to; more get a level of pages above them.
pub const MANIFEST_REFS_MAX: usize = (MANIFEST_LEN_MAX - MANIFEST_FIXED_LEN - 6) / PageRef::LEN;

/// Hash of a thing's attributes, as the signature covers them.
#[must_use]
pub fn attributes_hash(attributes: &Attributes) -> [u8; 32] {
    let mut w = Writer::new();
    attributes.encode_into(&mut w);
    blake3::derive_key(ATTRIBUTES_CONTEXT, &w.finish())
}

impl Chunking {
    fn encode_into(self, w: &mut Writer) {
        match self {
            Self::Fixed { len } => w.u8(CHUNKING_FIXED).u32(len),
            Self::ContentDefined { average } => w.u8(CHUNKING_CONTENT_DEFINED).u32(average),
        };
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let scheme = r.u8("chunking")?;
        let len = r.u32("chunking length")?;
        let in_range = (CHUNK_LEN_MIN..=CHUNK_LEN_MAX).contains(&(len as usize));
        if !in_range || !len.is_power_of_two() {
            return Err(DecodeError::BadValue { field: "chunking length", value: len.into() });
        }
        match scheme {
            CHUNKING_FIXED => Ok(Self::Fixed { len }),
            CHUNKING_CONTENT_DEFINED => Ok(Self::ContentDefined { average: len }),
            _ => Err(DecodeError::BadValue { field: "chunking", value: scheme.into() }),
        }
    }
}

impl Content {
    fn encode_into(&self, w: &mut Writer) {
        match self {
            Self::Inline(data) => {
                w.u8(CONTENT_INLINE).bytes(data);
            }
            Self::Chunks(chunks) => {
                w.u8(CONTENT_CHUNKS);
                encode_chunks(w, chunks);
            }
            Self::Pages { level, refs } => {
                w.u8(CONTENT_PAGES).u8(*level);
                encode_refs(w, refs);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        match r.u8("content")? {
            CONTENT_INLINE => Ok(Self::Inline(r.bytes("inline content", INLINE_FILE_LEN_MAX)?)),
            CONTENT_CHUNKS => Ok(Self::Chunks(decode_chunks(r, MANIFEST_CHUNKS_MAX)?)),
            CONTENT_PAGES => {
                let level = r.u8("page level")?;
                if level >= PAGE_LEVELS_MAX {
                    return Err(DecodeError::BadValue { field: "page level", value: level.into() });
                }
                Ok(Self::Pages { level, refs: decode_refs(r, MANIFEST_REFS_MAX)? })
            }
            other => Err(DecodeError::BadValue { field: "content", value: other.into() }),
        }
    }

    /// Bytes of the file that this content describes, or `None` if they do not add up to a `u64`.
    #[must_use]
    pub fn span(&self) -> Option<u64> {
        match self {
            Self::Inline(data) => Some(data.len() as u64),
            Self::Chunks(chunks) => {
                chunks.iter().try_fold(0u64, |sum, c| sum.checked_add(c.plain_len.into()))
            }
            Self::Pages { refs, .. } => {
                let starts_at_zero = refs.first().is_some_and(|first| first.offset == 0);
                starts_at_zero.then(|| refs.last().map(|last| last.offset + last.len)).flatten()
            }
        }
    }
}

impl Manifest {
    /// The manifest's bytes.
    ///
    /// # Panics
    /// If the content holds more than a manifest may: whoever builds it moves entries to pages before.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let fits = match &self.content {
            Content::Inline(data) => data.len() <= INLINE_FILE_LEN_MAX,
            Content::Chunks(chunks) => chunks.len() <= MANIFEST_CHUNKS_MAX,
            Content::Pages { refs, .. } => refs.len() <= MANIFEST_REFS_MAX,
        };
        assert!(fits, "entries are moved to pages before a manifest overflows");
        let mut w = Writer::with_capacity(MANIFEST_LEN_MAX);
        w.u8(MANIFEST_FORMAT).u8(self.kind as u8).raw(&self.file.0);
        w.u64(self.revision).u64(self.previous_version).raw(&self.previous_statement);
        w.u64(self.size).raw(&self.content_hash).raw(&self.attributes_hash);
        self.chunking.encode_into(&mut w);
        self.content.encode_into(&mut w);
        w.raw(&self.signature);
        w.finish()
    }

    /// Reads what [`Manifest::encode`] wrote and checks that the content adds up to the size. The signature
    /// is *not* checked here.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("manifest format")?;
        if format != MANIFEST_FORMAT {
            return Err(unknown_format("manifest", format, MANIFEST_FORMAT));
        }
        let manifest = Self {
            kind: FileKind::from_byte(r.u8("file kind")?)?,
            file: FileId(r.array("file id")?),
            revision: r.u64("revision")?,
            previous_version: r.u64("previous version")?,
            previous_statement: r.array("previous statement")?,
            size: r.u64("size")?,
            content_hash: r.array("content hash")?,
            attributes_hash: r.array("attributes hash")?,
            chunking: Chunking::decode(&mut r)?,
            content: Content::decode(&mut r)?,
            signature: r.array("signature")?,
        };
        r.finish()?;
        if manifest.content.span() != Some(manifest.size) {
            return Err(DecodeError::BadValue { field: "size", value: manifest.size });
        }
        Ok(manifest)
    }

    /// What the signature of this manifest says, in the given vault.
    #[must_use]
    pub fn statement(&self, vault: VaultId) -> Statement {
        let mut w = Writer::new();
        self.chunking.encode_into(&mut w);
        self.content.encode_into(&mut w);
        Statement {
            vault,
            file: self.file,
            kind: self.kind,
            revision: self.revision,
            size: self.size,
            content_hash: self.content_hash,
            attributes_hash: self.attributes_hash,
            tree_hash: blake3::derive_key(TREE_CONTEXT, &w.finish()),
            previous_statement: self.previous_statement,
        }
    }
}

impl Statement {
    /// Encoded length, in bytes.
    pub const LEN: usize = STATEMENT_DOMAIN.len() + 16 + 16 + 1 + 8 + 8 + 4 * 32;

    /// The statement's bytes: exactly what is signed.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(Self::LEN);
        w.raw(STATEMENT_DOMAIN).raw(&self.vault.0).raw(&self.file.0).u8(self.kind as u8);
        w.u64(self.revision).u64(self.size);
        w.raw(&self.content_hash).raw(&self.attributes_hash).raw(&self.tree_hash);
        w.raw(&self.previous_statement);
        w.finish()
    }

    /// Reads what [`Statement::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.array::<{ STATEMENT_DOMAIN.len() }>("statement domain")? != *STATEMENT_DOMAIN {
            return Err(DecodeError::BadValue { field: "statement domain", value: 0 });
        }
        let statement = Self {
            vault: VaultId(r.array("vault id")?),
            file: FileId(r.array("file id")?),
            kind: FileKind::from_byte(r.u8("file kind")?)?,
            revision: r.u64("revision")?,
            size: r.u64("size")?,
            content_hash: r.array("content hash")?,
            attributes_hash: r.array("attributes hash")?,
            tree_hash: r.array("tree hash")?,
            previous_statement: r.array("previous statement")?,
        };
        r.finish()?;
        Ok(statement)
    }

    /// The statement's hash, which the next version's statement carries.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(STATEMENT_CONTEXT, &self.encode())
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
