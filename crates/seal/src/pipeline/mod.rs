//! Sealing and opening files on all cores, in constant memory.
//!
//! ```text
//!  source ──(one lock: take the next chunk)──▶ worker ─┐
//!         ──────────────────────────────────▶ worker ─┼─▶ put in order ──▶ the caller's iterator
//!                                            (cores)  ─┘
//! ```
//! A worker takes a chunk into its own buffer while it holds the source's lock, so the bytes are in that core's
//! cache when it hashes, compresses and encrypts them, and no thread only copies. A *permit* is taken before a
//! chunk and given back when the caller receives it: at most a window of chunks is between the two, which bounds
//! memory and holds the source back when the caller is slow. Results go into recycled buffers that the network may
//! keep as long as it likes. A panic or error anywhere ends the stream with an error at its place; dropping the
//! stream stops the workers at their next chunk.
//!
//! [`seal`] and [`open`] are the two pipelines, [`single`] seals and opens chunk by chunk on the caller's thread,
//! [`engine`] is the ordered parallel map below them.

pub mod buffers;
mod engine;
pub mod open;
pub mod seal;
pub mod single;

use std::num::NonZeroUsize;

use larder_format::error::Kind;
use thiserror::Error;

use crate::error::SealError;

/// Most worker threads of one pipeline: reading under one lock feeds no more.
pub const WORKERS_MAX: usize = 32;

/// Most chunks in flight of one pipeline.
pub const WINDOW_MAX: usize = 4 * WORKERS_MAX;

/// Why a pipeline ended early.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The source could not be read.
    #[error("cannot read the source")]
    Read(#[source] std::io::Error),
    /// Whoever supplies sealed chunks could not.
    #[error("cannot get the next sealed chunk")]
    Supply(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A chunk could not be sealed or opened.
    #[error("chunk={index}")]
    Chunk {
        /// Which, from 0.
        index: u64,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The content is not what the manifest says.
    #[error("the content is not what the manifest says what={what}")]
    Content {
        /// What disagrees.
        what: &'static str,
    },
    /// A thread panicked. The message went to where panics go.
    #[error("a pipeline thread panicked")]
    Panicked,
    /// Threads could not be started.
    #[error("cannot start pipeline threads")]
    Threads(#[source] std::io::Error),
}

impl PipelineError {
    /// What the caller should do. A [`PipelineError::Supply`] is better asked for its source's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read(e) if e.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            Self::Read(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Kind::Denied,
            Self::Read(_) => Kind::Invalid,
            Self::Supply(_) | Self::Threads(_) => Kind::Retry,
            Self::Chunk { source, .. } => source.kind(),
            Self::Content { .. } => Kind::Damaged,
            Self::Panicked => Kind::Bug,
        }
    }
}

/// How many threads and how much in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// Worker threads, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Chunks between source and caller, at least one per worker, at most [`WINDOW_MAX`]. Each holds one chunk
    /// of memory, and each worker two more.
    pub window: usize,
}

impl Default for Width {
    /// One worker per core, two chunks in flight for each.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(WORKERS_MAX);
        Self { workers, window: 2 * workers }
    }
}

impl Width {
    fn bounded(self) -> Self {
        let workers = self.workers.clamp(1, WORKERS_MAX);
        Self { workers, window: self.window.clamp(workers, WINDOW_MAX) }
    }
}
