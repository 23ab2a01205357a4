//! The sealing pipeline: bytes from a reader come out as sealed chunks in file order.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use larder_format::manifest::Chunking;
use larder_format::pages::{CHUNK_LEN_DEFAULT, CHUNK_LEN_MAX, CHUNK_LEN_MIN, ChunkEntry};

use super::buffers::BufferPool;
use super::engine::{Ordered, Source, Worker, start};
use super::{PipelineError, Width};
use crate::chunk::{BlobSealer, SealScratch, blob_len};
use crate::compress::{Compression, Compressor};
use crate::content_hash::{Subtree, SubtreeMerger};
use crate::cut::{CutReader, Cutter, Gear, read_full};
use crate::error::SealError;

/// How to cut.
#[derive(Debug, Clone)]
pub enum Cutting {
    /// At this length, a power of two from 64 KiB to 4 MiB.
    Fixed {
        /// In bytes.
        len: u32,
    },
    /// Where the content says, at this average length, a power of two from 64 KiB to 4 MiB.
    ContentDefined {
        /// In bytes.
        average: u32,
        /// The vault's gear table.
        gear: Gear,
    },
}

impl Default for Cutting {
    fn default() -> Self {
        Self::Fixed { len: CHUNK_LEN_DEFAULT as u32 }
    }
}

impl Cutting {
    /// As the manifest says it.
    #[must_use]
    pub fn chunking(&self) -> Chunking {
        match self {
            Self::Fixed { len } => Chunking::Fixed { len: *len },
            Self::ContentDefined { average, .. } => Chunking::ContentDefined { average: *average },
        }
    }

    fn check(&self) -> Result<(), SealError> {
        let (Self::Fixed { len } | Self::ContentDefined { average: len, .. }) = self;
        let (min, max) = (CHUNK_LEN_MIN as u32, CHUNK_LEN_MAX as u32);
        if (min..=max).contains(len) && len.is_power_of_two() {
            Ok(())
        } else {
            Err(SealError::BadParameters { field: "chunk length", value: *len, min, max })
        }
    }
}

/// How to seal a file.
#[derive(Debug, Clone, Default)]
pub struct SealOptions {
    /// How to cut.
    pub cutting: Cutting,
    /// Whether to compress.
    pub compression: Compression,
    /// Threads and memory.
    pub width: Width,
}

/// One sealed chunk.
#[derive(Debug, Clone)]
pub struct SealedChunk {
    /// Its number in the file, from 0.
    pub index: u64,
    /// What the manifest says of it; [`ChunkEntry::blob`] is its id.
    pub entry: ChunkEntry,
    /// The blob. Its memory is used again when the last share is dropped.
    pub bytes: Bytes,
}

/// What was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Length of the content, in bytes.
    pub size: u64,
    /// How many chunks.
    pub chunks: u64,
    /// BLAKE3 of the content.
    pub content_hash: [u8; 32],
}

/// How the content's hash comes about.
enum Hashing {
    /// From the chunks' subtrees.
    Merge(SubtreeMerger),
    /// The source hashes in sequence and leaves the result here at its end.
    Sequence(Arc<std::sync::OnceLock<[u8; 32]>>),
}

/// Sealed chunks in file order. Ends after the last one or the first failure.
pub struct SealStream {
    results: Ordered<Sealed>,
    hashing: Hashing,
    size: u64,
    chunks: u64,
    state: State,
}

/// Whether the summary may be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    Failed,
}

impl std::fmt::Debug for SealStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealStream").field("size", &self.size).finish_non_exhaustive()
    }
}

struct Sealed {
    entry: ChunkEntry,
    bytes: Bytes,
    subtree: Option<Subtree>,
}

/// Starts sealing what `source` reads, on threads of its own.
///
/// # Errors
/// [`PipelineError::Chunk`] with [`SealError::BadParameters`] if the chunk length is not allowed;
/// [`PipelineError::Threads`].
pub fn seal_stream(
    sealer: &BlobSealer,
    source: impl Read + Send + 'static,
    options: &SealOptions,
) -> Result<SealStream, PipelineError> {
    let set_up = |source| PipelineError::Chunk { index: 0, source };
    options.cutting.check().map_err(set_up)?;
    let width = options.width.bounded();
    let len_max = match &options.cutting {
        Cutting::Fixed { len } => *len as usize,
        Cutting::ContentDefined { average, .. } => (*average as usize * 4).min(CHUNK_LEN_MAX),
    };
    // What is in flight, and as much again for what the network still holds.
    let pool = BufferPool::new(blob_len(len_max), 2 * width.window);
    let hash_chunks = matches!(options.cutting, Cutting::Fixed { .. });
    let mut workers = Vec::with_capacity(width.workers);
    for _ in 0..width.workers {
        workers.push(SealWorker {
            sealer: sealer.clone(),
            scratch: SealScratch::new(Compressor::new(options.compression).map_err(set_up)?),
            // Reaches to the padded length of the longest chunk.
            input: vec![0; blob_len(len_max)],
            pool: Arc::clone(&pool),
            hash_chunks: hash_chunks.then_some(len_max as u64),
        });
    }
    let (results, hashing) = match &options.cutting {
        Cutting::Fixed { len } => {
            let source = FixedSource { source, len: *len as usize, ended: false };
            (start(source, workers, width)?, Hashing::Merge(SubtreeMerger::new()))
        }
        Cutting::ContentDefined { average, gear } => {
            let cutter = Cutter::new(gear.clone(), *average);
            let hash = Arc::new(std::sync::OnceLock::new());
            let source = CutSource {
                reader: CutReader::new(source, cutter),
                hasher: blake3::Hasher::new(),
                hash: Arc::clone(&hash),
            };
            (start(source, workers, width)?, Hashing::Sequence(hash))
        }
    };
    Ok(SealStream { results, hashing, size: 0, chunks: 0, state: State::Running })
}

impl Iterator for SealStream {
    type Item = Result<SealedChunk, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state != State::Running {
            return None;
        }
        let sealed = match self.results.next() {
            Some(Ok(sealed)) => sealed,
            Some(Err(e)) => {
                self.state = State::Failed;
                return Some(Err(e));
            }
            None => {
                self.state = State::Complete;
                return None;
            }
        };
        if let (Hashing::Merge(merger), Some(subtree)) = (&mut self.hashing, &sealed.subtree) {
            merger.push(subtree);
        }
        let index = self.chunks;
        self.size += u64::from(sealed.entry.plain_len);
        self.chunks += 1;
        Some(Ok(SealedChunk { index, entry: sealed.entry, bytes: sealed.bytes }))
    }
}

impl SealStream {
    /// What was sealed, once the iterator has returned `None` without a failure before it.
    #[must_use]
    pub fn summary(self) -> Option<Summary> {
        if self.state != State::Complete {
            return None;
        }
        let content_hash = match self.hashing {
            Hashing::Merge(merger) => merger.finish(),
            Hashing::Sequence(hash) => *hash.get()?,
        };
        Some(Summary { size: self.size, chunks: self.chunks, content_hash })
    }
}

struct SealWorker {
    sealer: BlobSealer,
    scratch: SealScratch,
    input: Vec<u8>,
    pool: Arc<BufferPool>,
    /// The fixed chunk length, if the worker hashes its chunk as a subtree.
    hash_chunks: Option<u64>,
}

impl Worker for SealWorker {
    type Item = usize;
    type Output = Sealed;

    fn work(&mut self, index: u64, len: usize) -> Result<Sealed, PipelineError> {
        let subtree = self.hash_chunks.map(|fixed_len| Subtree::of(index * fixed_len, &self.input[..len]));
        let mut out = self.pool.take();
        let (entry, blob_len) = self
            .sealer
            .seal_chunk(&mut self.input, len, &mut self.scratch, out.room())
            .map_err(|source| PipelineError::Chunk { index, source })?;
        Ok(Sealed { entry, bytes: out.freeze(blob_len), subtree })
    }
}

struct FixedSource<R> {
    source: R,
    len: usize,
    ended: bool,
}

impl<R: Read + Send + 'static> Source<SealWorker> for FixedSource<R> {
    type Item = usize;

    fn take(&mut self, worker: &mut SealWorker) -> Result<Option<usize>, PipelineError> {
        if self.ended {
            return Ok(None);
        }
        let read = read_full(&mut self.source, &mut worker.input[..self.len]).map_err(PipelineError::Read)?;
        // A short chunk is the last; asking a terminal again would wait for more.
        self.ended = read < self.len;
        Ok((read > 0).then_some(read))
    }
}

struct CutSource<R> {
    reader: CutReader<R>,
    hasher: blake3::Hasher,
    hash: Arc<std::sync::OnceLock<[u8; 32]>>,
}

impl<R: Read + Send + 'static> Source<SealWorker> for CutSource<R> {
    type Item = usize;

    fn take(&mut self, worker: &mut SealWorker) -> Result<Option<usize>, PipelineError> {
        let len = self.reader.next_chunk(&mut worker.input).map_err(PipelineError::Read)?;
        if len == 0 {
            self.hash.get_or_init(|| *self.hasher.finalize().as_bytes());
            return Ok(None);
        }
        self.hasher.update(&worker.input[..len]);
        Ok(Some(len))
    }
}
