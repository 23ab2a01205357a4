//! Rollback memory: the newest that this device has seen of each record, so that a node cannot pass off older data
//! as current. A pure data structure with its bytes; the client keeps them in a file.
//!
//! The file is a log: a header, then marks, later ones raising earlier ones; [`Watermarks::snapshot`] compacts it.
//! It detects what this device has seen and nothing else: a new device has no memory (invitations and checkpoints
//! give it one), and what is shown to other devices only is noticed when they compare.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::error::Kind;
use thiserror::Error;

/// Version of the file that this program writes.
pub const WATERMARK_FORMAT: u8 = 1;

/// Most records remembered: 32 bytes each, so 128 MiB at most. Beyond it [`Watermarks::observe`] refuses to go on
/// silently.
pub const WATERMARKS_MAX: usize = 4 * 1024 * 1024;

/// Length of the file's header, in bytes.
pub const WATERMARK_HEADER_LEN: usize = 8;

/// What a mark says: key, version, revision.
const MARK_FIELDS_LEN: usize = 16 + 8 + 8;
const MARK_CHECK_LEN: usize = 8;

/// Length of one mark in the file, in bytes.
pub const WATERMARK_LEN: usize = MARK_FIELDS_LEN + MARK_CHECK_LEN;

/// The log is compacted when it is this many times as long as a snapshot.
const COMPACT_FACTOR: usize = 4;
/// … and has at least this many bytes, so that a small log is left alone.
const COMPACT_LEN_MIN: usize = 64 * 1024;

const MAGIC: &[u8; 7] = b"larderw";
const KEY_CONTEXT: &str = "larder 2026 watermark key";
const MARK_CONTEXT: &str = "larder 2026 watermark check";

/// What was seen of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The record version, as the node says it.
    pub version: u64,
    /// The manifest's revision, which only the vault's owner can write; 0 where there is no manifest.
    pub revision: u64,
}

/// What is shown is older than what this device has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatermarkError {
    /// The record went back.
    #[error(
        "the node shows an older state than this device has seen seen_version={} seen_revision={} \
         version={} revision={}", seen.version, seen.revision, shown.version, shown.revision
    )]
    Rollback {
        /// Seen before.
        seen: Mark,
        /// Shown now.
        shown: Mark,
    },
    /// No more records can be remembered.
    #[error("rollback memory is full max={WATERMARKS_MAX}")]
    Full,
}

impl WatermarkError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Rollback { .. } => Kind::Damaged,
            Self::Full => Kind::Full,
        }
    }
}

type ShortKey = [u8; 16];

/// The newest seen of each record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermarks {
    marks: HashMap<ShortKey, Mark, BuildHasherDefault<FirstBytes>>,
    /// Of all versions and revisions.
    total: u128,
}

/// What [`Watermarks::load`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The marks.
    pub watermarks: Watermarks,
    /// How many bytes of the file are good. Fewer than it has: its end was torn by a crash; cut it there.
    pub good_len: usize,
}

fn short_key(namespace: u64, key: &[u8]) -> ShortKey {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(&namespace.to_le_bytes()).update(key);
    let mut out = ShortKey::default();
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

/// Spreads short keys over a table: they are hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        for (place, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * place);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length, which is the same for all.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes a mark's fields to its check. Set up once: the context costs as much as the fields.
struct Checker(blake3::Hasher);

impl Checker {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(MARK_CONTEXT))
    }

    fn check(&self, fields: &[u8; MARK_FIELDS_LEN]) -> [u8; MARK_CHECK_LEN] {
        let mut hasher = self.0.clone();
        hasher.update(fields);
        let mut out = [0; MARK_CHECK_LEN];
        out.copy_from_slice(&hasher.finalize().as_bytes()[..MARK_CHECK_LEN]);
        out
    }
}

fn encode_mark(w: &mut Writer, checker: &Checker, key: &ShortKey, mark: Mark) {
    let mut fields = [0; MARK_FIELDS_LEN];
    fields[..16].copy_from_slice(key);
    fields[16..24].copy_from_slice(&mark.version.to_le_bytes());
    fields[24..].copy_from_slice(&mark.revision.to_le_bytes());
    w.raw(&fields).raw(&checker.check(&fields));
}

impl Watermarks {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether nothing was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// All versions and revisions added up. Marks never sink, so this does not either, whether the file is compacted or
    /// other memories are merged; who knows an earlier total knows whether marks were lost since.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.total
    }

    /// What was seen of a record.
    #[must_use]
    pub fn seen(&self, namespace: u64, key: &[u8]) -> Option<Mark> {
        self.marks.get(&short_key(namespace, key)).copied()
    }

    /// Takes note of what a node shows, once it has verified. Returns bytes to append to the file if this is
    /// news. Deletions this device makes are noted with the version they made and the revision they ended.
    ///
    /// # Errors
    /// [`WatermarkError::Rollback`] if it is older in version or revision than what was seen; then nothing
    /// changes. [`WatermarkError::Full`].
    pub fn observe(
        &mut self,
        namespace: u64,
        key: &[u8],
        shown: Mark,
    ) -> Result<Option<Bytes>, WatermarkError> {
        let key = short_key(namespace, key);
        let seen = self.marks.get(&key).copied().unwrap_or_default();
        if shown.version < seen.version || shown.revision < seen.revision {
            return Err(WatermarkError::Rollback { seen, shown });
        }
        if shown == seen {
            return Ok(None);
        }
        if self.marks.len() >= WATERMARKS_MAX && !self.marks.contains_key(&key) {
            return Err(WatermarkError::Full);
        }
        self.lift(key, shown);
        let mut w = Writer::with_capacity(WATERMARK_LEN);
        encode_mark(&mut w, &Checker::new(), &key, shown);
        Ok(Some(w.finish()))
    }

    /// The whole as a new file, sorted by key, so that equal memories are equal files.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        let mut w = Writer::with_capacity(WATERMARK_HEADER_LEN + self.marks.len() * WATERMARK_LEN);
        w.raw(MAGIC).u8(WATERMARK_FORMAT);
        let mut keys: Vec<_> = self.marks.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| **key);
        let checker = Checker::new();
        for (key, mark) in keys {
            encode_mark(&mut w, &checker, key, *mark);
        }
        w.finish()
    }

    /// Whether a file of this length is worth replacing by a snapshot.
    #[must_use]
    pub fn should_compact(&self, file_len: usize) -> bool {
        let snapshot_len = WATERMARK_HEADER_LEN + self.marks.len() * WATERMARK_LEN;
        file_len >= COMPACT_LEN_MIN && file_len / COMPACT_FACTOR >= snapshot_len
    }

    /// Reads a file: a snapshot and what was appended to it. Marks never sink while reading. An end torn by a
    /// crash is left out and reported by [`Loaded::good_len`].
    ///
    /// # Errors
    /// [`DecodeError`] if the header is not one of ours, or a mark in the middle is damaged: a memory that
    /// forgot something silently would be worth nothing.
    pub fn load(file: &Bytes) -> Result<Loaded, DecodeError> {
        let mut r = Reader::new(file.clone());
        if r.array::<7>("watermark magic")? != *MAGIC {
            return Err(DecodeError::BadValue { field: "watermark magic", value: 0 });
        }
        match r.u8("watermark format")? {
            WATERMARK_FORMAT => {}
            0 => return Err(DecodeError::BadValue { field: "watermark format", value: 0 }),
            newer => {
                let supported = WATERMARK_FORMAT.into();
                return Err(DecodeError::TooNew { what: "watermarks", version: newer.into(), supported });
            }
        }
        let marks = &file[WATERMARK_HEADER_LEN..];
        let mut watermarks = Self::new();
        watermarks.marks.reserve((marks.len() / WATERMARK_LEN).min(WATERMARKS_MAX));
        let good_len = WATERMARK_HEADER_LEN + watermarks.add(marks)?;
        Ok(Loaded { watermarks, good_len })
    }

    /// Raises marks to those of another memory of the same device.
    pub fn merge(&mut self, other: Self) {
        for (key, theirs) in other.marks {
            self.lift(key, theirs);
        }
    }

    /// Raises one mark, if it is lower in version or revision.
    fn lift(&mut self, key: ShortKey, to: Mark) {
        let mark = self.marks.entry(key).or_default();
        let before = *mark;
        mark.version = before.version.max(to.version);
        mark.revision = before.revision.max(to.revision);
        self.total += u128::from(mark.version - before.version) + u128::from(mark.revision - before.revision);
    }

    /// Adds marks as they stand in a file, for instance those that another process appended. Answers how many
    /// bytes of them are good: fewer than there are if the end was torn by a crash.
    ///
    /// # Errors
    /// [`DecodeError`] if a mark in the middle is damaged, or there are too many; then some are added.
    pub fn add(&mut self, marks: &[u8]) -> Result<usize, DecodeError> {
        let checker = Checker::new();
        let mut good_len = 0;
        let (whole, rest) = marks.as_chunks::<WATERMARK_LEN>();
        for (place, mark) in whole.iter().enumerate() {
            let Some((fields, check)) = mark.split_first_chunk::<MARK_FIELDS_LEN>() else { break };
            if checker.check(fields) != *check {
                if place + 1 == whole.len() && rest.is_empty() {
                    break;
                }
                return Err(DecodeError::BadValue { field: "mark check", value: good_len as u64 });
            }
            self.raise(fields)?;
            good_len += WATERMARK_LEN;
        }
        Ok(good_len)
    }

    fn raise(&mut self, fields: &[u8; MARK_FIELDS_LEN]) -> Result<(), DecodeError> {
        let part = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&fields[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let mut key = ShortKey::default();
        key.copy_from_slice(&fields[..16]);
        let full = self.marks.len() >= WATERMARKS_MAX;
        if full && !self.marks.contains_key(&key) {
            return Err(DecodeError::TooLong {
                field: "marks",
                len: self.marks.len() + 1,
                max: WATERMARKS_MAX,
            });
        }
        self.lift(key, Mark { version: part(16), revision: part(24) });
        Ok(())
    }
}

#[cfg(test)]
#[path = "watermark_tests.rs"]
mod tests;
