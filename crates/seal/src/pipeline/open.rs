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

/// Opened chunks in the order they were supplied. If the whole file is read, the last item is an error when the
/// content is not what the manifest says; until the iterator has ended with `None`, treat what came as unverified
/// in order and completeness (each chunk by itself is verified).
pub struct OpenStream {
    results: Ordered<Opened>,
    reading: Reading,
    hashing: Hashing,
    size: u64,
    ended: bool,
}

impl std::fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenStream").field("size", &self.size).finish_non_exhaustive()
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
    let width = width.bounded();
    let (hashing, fixed_len, len_max) = match reading {
        Reading::Whole { chunking: Chunking::Fixed { len }, .. } => {
            (Hashing::Merge(SubtreeMerger::new()), Some(u64::from(len)), len as usize)
        }
        Reading::Whole { .. } => (Hashing::Sequence(Box::new(blake3::Hasher::new())), None, CHUNK_LEN_MAX),
        Reading::Part => (Hashing::None, None, CHUNK_LEN_MAX),
    };
    let pool = BufferPool::new(len_max, 2 * width.window);
    let mut workers = Vec::with_capacity(width.workers);
    for _ in 0..width.workers {
        let scratch = OpenScratch::new().map_err(|source| PipelineError::Chunk { index: 0, source })?;
        workers.push(OpenWorker { opener, scratch, pool: Arc::clone(&pool), fixed_len, len_max });
    }
    let results = start(Supplied(supply), workers, width)?;
    Ok(OpenStream { results, reading, hashing, size: 0, ended: false })
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
        if matches!(self.reading, Reading::Whole { .. }) && opened.chunk.offset != self.size {
            self.ended = true;
            return Some(Err(PipelineError::Content { what: "chunk offset" }));
        }
        match (&mut self.hashing, &opened.subtree) {
            (Hashing::Merge(merger), Some(subtree)) => merger.push(subtree),
            (Hashing::Sequence(hasher), _) => {
                hasher.update(&opened.chunk.bytes);
            }
            _ => {}
        }
        self.size += opened.chunk.bytes.len() as u64;
        Some(Ok(opened.chunk))
    }
}

impl OpenStream {
    fn check_whole(&mut self) -> Result<(), PipelineError> {
        let Reading::Whole { size, content_hash, .. } = self.reading else { return Ok(()) };
        if self.size != size {
            return Err(PipelineError::Content { what: "size" });
        }
        let found = match std::mem::replace(&mut self.hashing, Hashing::None) {
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
