//! The opening pipeline: sealed chunks from a supplier come out as plain bytes in file order.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::manifest::{Chunking, Manifest};
use larder_format::pages::{CHUNK_LEN_MAX, ChunkEntry};

use super::buffers::BufferPool;
use super::engine::{Ordered, Source, Worker, start};
use super::{PipelineError, Width};
use crate::chunk::{BlobOpener, OpenScratch};
use crate::content_hash::{Subtree, SubtreeMerger};
use crate::error::SealError;

/// A chunk to open.
#[derive(Debug, Clone)]
pub struct OpenJob {
    /// Where it begins in the file.
    pub offset: u64,
    /// What opens it.
    pub entry: ChunkEntry,
    /// Its blob.
    pub sealed: Bytes,
}

/// An opened chunk.
#[derive(Debug, Clone)]
pub struct OpenedChunk {
    /// Where it begins in the file.
    pub offset: u64,
    /// The plain bytes. Their memory is used again when the last share is dropped.
    pub bytes: Bytes,
}

/// What a supplier fails with.
pub type SupplyError = Box<dyn std::error::Error + Send + Sync>;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The whole file, in order: its hash and length are checked at the end.
    Whole {
        /// How it was cut.
        chunking: Chunking,
        /// Its length in bytes.
        size: u64,
        /// Its BLAKE3.
        content_hash: [u8; 32],
    },
    /// Some chunks: each is checked by itself.
    Part,
}

impl Reading {
    /// The whole of the file that this manifest describes.
    #[must_use]
    pub fn whole(manifest: &Manifest) -> Self {
        Self::Whole { chunking: manifest.chunking, size: manifest.size, content_hash: manifest.content_hash }
    }
}

enum Hashing {
    Merge(SubtreeMerger),
    Sequence(Box<blake3::Hasher>),
    None,
}

/// What is known of the beginning of a file that is read whole: its hash so far. Bytes that come from elsewhere (a
/// fetch that was interrupted) are hashed with the rest, so that the end tells whether they were right.
pub struct Begun {
    hashing: Hashing,
    fixed_len: Option<u64>,
    size: u64,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Begun {
    /// Nothing yet.
    #[must_use]
    pub fn new(reading: Reading) -> Self {
        let (hashing, fixed_len) = match reading {
            Reading::Whole { chunking: Chunking::Fixed { len }, .. } => {
                (Hashing::Merge(SubtreeMerger::new()), Some(u64::from(len)))
            }
            Reading::Whole { .. } => (Hashing::Sequence(Box::new(blake3::Hasher::new())), None),
            Reading::Part => (Hashing::None, None),
        };
        Self { hashing, fixed_len, size: 0 }
    }

    /// Takes the next chunk from elsewhere, whole as the manifest cuts it. Nothing is checked before the end.
    ///
    /// # Panics
    /// If a chunk of a file of fixed chunks is empty or longer than its place allows.
    pub fn push(&mut self, chunk: &[u8]) {
        match &mut self.hashing {
            Hashing::Merge(merger) => merger.push(&Subtree::of(self.size, chunk)),
            Hashing::Sequence(hasher) => {
                hasher.update(chunk);
            }
            Hashing::None => {}
        }
        self.size += chunk.len() as u64;
    }

    /// Whether it is the beginning of a whole file.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !matches!(self.hashing, Hashing::None)
    }

    /// How far it goes, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Opened chunks in the order they were supplied. If the whole file is read, the last item is an error when the
/// content is not what the manifest says; until the iterator has ended with `None`, treat what came as unverified
/// in order and completeness (each chunk by itself is verified).
pub struct OpenStream {
    results: Ordered<Opened>,
    reading: Reading,
    begun: Begun,
    ended: bool,
}

impl std::fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenStream").field("size", &self.begun.size).finish_non_exhaustive()
    }
}

struct Opened {
    chunk: OpenedChunk,
    subtree: Option<Subtree>,
}

/// Starts opening what `supply` gives, on threads of its own. The supplier is asked from those threads, one at a
/// time; it may wait (a channel's receiving end is one).
///
/// # Errors
/// [`PipelineError::Threads`]; [`PipelineError::Chunk`] without memory.
pub fn open_stream<I>(
    opener: BlobOpener,
    supply: I,
    reading: Reading,
    width: Width,
) -> Result<OpenStream, PipelineError>
where
    I: Iterator<Item = Result<OpenJob, SupplyError>> + Send + 'static,
{
    open_rest(opener, supply, reading, Begun::new(reading), width)
}

/// As [`open_stream`], after a beginning that is there already; `supply` gives the chunks that follow it.
///
/// # Errors
/// As [`open_stream`].
pub fn open_rest<I>(
    opener: BlobOpener,
    supply: I,
    reading: Reading,
    begun: Begun,
    width: Width,
) -> Result<OpenStream, PipelineError>
where
    I: Iterator<Item = Result<OpenJob, SupplyError>> + Send + 'static,
{
    let width = width.bounded();
    let fixed_len = begun.fixed_len;
    let len_max = fixed_len.map_or(CHUNK_LEN_MAX, |len| usize::try_from(len).unwrap_or(CHUNK_LEN_MAX));
    let pool = BufferPool::new(len_max, 2 * width.window);
    let mut workers = Vec::with_capacity(width.workers);
    for _ in 0..width.workers {
        let scratch = OpenScratch::new().map_err(|source| PipelineError::Chunk { index: 0, source })?;
        workers.push(OpenWorker { opener, scratch, pool: Arc::clone(&pool), fixed_len, len_max });
    }
    let results = start(Supplied(supply), workers, width)?;
    Ok(OpenStream { results, reading, begun, ended: false })
}

impl Iterator for OpenStream {
    type Item = Result<OpenedChunk, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(result) = self.results.next() else {
            self.ended = true;
            return self.check_whole().err().map(Err);
        };
        let opened = match result {
            Ok(opened) => opened,
            Err(e) => {
                self.ended = true;
                return Some(Err(e));
            }
        };
        if matches!(self.reading, Reading::Whole { .. }) && opened.chunk.offset != self.begun.size {
            self.ended = true;
            return Some(Err(PipelineError::Content { what: "chunk offset" }));
        }
        match (&mut self.begun.hashing, &opened.subtree) {
            (Hashing::Merge(merger), Some(subtree)) => merger.push(subtree),
            (Hashing::Sequence(hasher), _) => {
                hasher.update(&opened.chunk.bytes);
            }
            _ => {}
        }
        self.begun.size += opened.chunk.bytes.len() as u64;
        Some(Ok(opened.chunk))
    }
}

impl OpenStream {
    /// What came of it so far, to go on from later: everything that was handed out, if it was written away.
    #[must_use]
    pub fn into_begun(self) -> Begun {
        self.begun
    }

    fn check_whole(&mut self) -> Result<(), PipelineError> {
        let Reading::Whole { size, content_hash, .. } = self.reading else { return Ok(()) };
        if self.begun.size != size {
            return Err(PipelineError::Content { what: "size" });
        }
        let found = match std::mem::replace(&mut self.begun.hashing, Hashing::None) {
            Hashing::Merge(merger) => merger.finish(),
            Hashing::Sequence(hasher) => *hasher.finalize().as_bytes(),
            Hashing::None => return Err(PipelineError::Content { what: "content hash" }),
        };
        if found == content_hash { Ok(()) } else { Err(PipelineError::Content { what: "content hash" }) }
    }
}

struct OpenWorker {
    opener: BlobOpener,
    scratch: OpenScratch,
    pool: Arc<BufferPool>,
    fixed_len: Option<u64>,
    len_max: usize,
}

impl Worker for OpenWorker {
    type Item = OpenJob;
    type Output = Opened;

    fn work(&mut self, index: u64, job: OpenJob) -> Result<Opened, PipelineError> {
        let failed = |source| PipelineError::Chunk { index, source };
        let len = job.entry.plain_len as usize;
        let in_place = self.fixed_len.is_none_or(|fixed| job.offset.is_multiple_of(fixed));
        if len == 0 || len > self.len_max || !in_place {
            return Err(failed(SealError::Contradiction { what: "chunk length" }));
        }
        let mut out = self.pool.take();
        let plain = &mut out.room()[..len];
        self.opener.open_chunk(&job.entry, &job.sealed, &mut self.scratch, plain).map_err(failed)?;
        let subtree = self.fixed_len.map(|_| Subtree::of(job.offset, plain));
        Ok(Opened { chunk: OpenedChunk { offset: job.offset, bytes: out.freeze(len) }, subtree })
    }
}

struct Supplied<I>(I);

impl<I> Source<OpenWorker> for Supplied<I>
where
    I: Iterator<Item = Result<OpenJob, SupplyError>> + Send + 'static,
{
    type Item = OpenJob;

    fn take(&mut self, _: &mut OpenWorker) -> Result<Option<OpenJob>, PipelineError> {
        self.0.next().transpose().map_err(PipelineError::Supply)
    }
}
