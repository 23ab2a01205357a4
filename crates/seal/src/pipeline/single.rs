//! Chunk by chunk on the caller's thread: for files of one chunk or few, where starting threads costs more than it
//! gains. Whoever has many small files runs one of these per core.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::pages::{CHUNK_LEN_MAX, ChunkEntry};

use super::buffers::BufferPool;
use crate::chunk::{BlobOpener, BlobSealer, OpenScratch, SealScratch, blob_len};
use crate::compress::{Compression, Compressor};
use crate::error::SealError;

/// Sealed chunks whose memory a [`ChunkSealer`] keeps for reuse.
const KEEP_MAX: usize = 8;

/// Seals one chunk at a time.
#[derive(Debug)]
pub struct ChunkSealer {
    sealer: BlobSealer,
    scratch: SealScratch,
    input: Vec<u8>,
    pool: Arc<BufferPool>,
    chunk_len_max: usize,
}

impl ChunkSealer {
    /// For chunks of at most `chunk_len_max` bytes (4 MiB at most).
    ///
    /// # Errors
    /// [`SealError::TooLong`] if that is above 4 MiB; [`SealError::Crypto`] without memory.
    pub fn new(
        sealer: BlobSealer,
        compression: Compression,
        chunk_len_max: usize,
    ) -> Result<Self, SealError> {
        if chunk_len_max > CHUNK_LEN_MAX {
            return Err(SealError::TooLong { what: "chunk", len: chunk_len_max, max: CHUNK_LEN_MAX });
        }
        let scratch = SealScratch::new(Compressor::new(compression)?);
        let len = blob_len(chunk_len_max);
        Ok(Self { sealer, scratch, input: vec![0; len], pool: BufferPool::new(len, KEEP_MAX), chunk_len_max })
    }

    /// Seals one chunk.
    ///
    /// # Errors
    /// [`SealError::TooLong`] if it is empty or longer than was declared.
    pub fn seal(&mut self, plain: &[u8]) -> Result<(ChunkEntry, Bytes), SealError> {
        if plain.is_empty() || plain.len() > self.chunk_len_max {
            return Err(SealError::TooLong { what: "chunk", len: plain.len(), max: self.chunk_len_max });
        }
        self.input[..plain.len()].copy_from_slice(plain);
        let mut out = self.pool.take();
        let (entry, len) =
            self.sealer.seal_chunk(&mut self.input, plain.len(), &mut self.scratch, out.room())?;
        Ok((entry, out.freeze(len)))
    }
}

/// Opens one chunk at a time.
#[derive(Debug)]
pub struct ChunkOpener {
    opener: BlobOpener,
    scratch: OpenScratch,
}

impl ChunkOpener {
    /// For one vault.
    ///
    /// # Errors
    /// [`SealError::Crypto`] without memory.
    pub fn new(opener: BlobOpener) -> Result<Self, SealError> {
        Ok(Self { opener, scratch: OpenScratch::new()? })
    }

    /// Opens one chunk into the front of `out`.
    ///
    /// # Errors
    /// As [`BlobOpener::open_chunk`].
    ///
    /// # Panics
    /// If `out` is shorter than the entry's plain length.
    pub fn open(&mut self, entry: &ChunkEntry, sealed: &[u8], out: &mut [u8]) -> Result<(), SealError> {
        self.opener.open_chunk(entry, sealed, &mut self.scratch, out)
    }
}
