//! Sealing and opening blobs: the chunks of files and the pages of manifests.
//!
//! A blob's secret is a keyed BLAKE3 hash of *the exact padded bytes* that are encrypted, so equal chunks of one
//! vault become one blob and nothing is learnt across vaults. AES-256-GCM runs with a fixed nonce: a key that
//! follows from the plaintext never meets a second one, and the associated data is fixed by the same key
//! (chunks and pages hash under different keys). A commitment in the clear header, derived from the same secret,
//! makes it impossible to build a blob that opens under two secrets.

use larder_format::ids::{BlobId, VaultId};
use larder_format::pages::{CHUNK_LEN_MAX, ChunkEntry, ChunkKey, FLAG_ZSTD, PAGE_LEN_MAX};
use larder_format::sealed::{
    BLOB_HEADER_LEN, BLOB_OVERHEAD_LEN, BLOB_PADDED_LEN_MIN, COMMITMENT_LEN, SUITE_1, SealedKind, check_blob,
};
use zeroize::Zeroize;

use crate::compress::{Compressor, Decompressor};
use crate::error::SealError;
use crate::keys::VaultRoot;
use crate::pad::padded_len;
use crate::primitives::{AeadKey, NONCE_ONCE, Secret, equal, hkdf_sha256};

/// First part of a blob's associated data and derivation.
const DOMAIN: &[u8] = b"larder/1/blob";

/// Length of the sealed blob for this many stored bytes.
#[must_use]
pub fn blob_len(stored_len: usize) -> usize {
    padded_len(stored_len, BLOB_PADDED_LEN_MIN) + BLOB_OVERHEAD_LEN
}

/// Seals blobs of one vault under one key generation. Cheap to share between threads.
#[derive(Debug, Clone)]
pub struct BlobSealer {
    vault: VaultId,
    chunk_hash_key: Secret,
    page_hash_key: Secret,
}

/// Opens blobs of one vault. It needs no key of its own: each blob's secret is in the manifest.
#[derive(Debug, Clone, Copy)]
pub struct BlobOpener {
    vault: VaultId,
}

/// Working memory of one thread that seals chunks.
#[derive(Debug)]
pub struct SealScratch {
    compressor: Compressor,
    frame: Vec<u8>,
}

impl SealScratch {
    /// With its compressor.
    #[must_use]
    pub fn new(compressor: Compressor) -> Self {
        Self { compressor, frame: Vec::new() }
    }
}

/// Working memory of one thread that opens chunks.
#[derive(Debug)]
pub struct OpenScratch {
    decompressor: Decompressor,
    padded: Vec<u8>,
}

impl OpenScratch {
    /// With its decompressor.
    ///
    /// # Errors
    /// [`SealError::Crypto`] without memory.
    pub fn new() -> Result<Self, SealError> {
        Ok(Self { decompressor: Decompressor::new()?, padded: Vec::new() })
    }
}

/// The cipher key and commitment that follow from a blob's secret.
fn derive(key: &ChunkKey) -> (AeadKey, [u8; COMMITMENT_LEN]) {
    let mut both = [0; 64];
    hkdf_sha256(DOMAIN, &key.0, &[b"key and commitment"], &mut both);
    let mut cipher_key = [0; 32];
    cipher_key.copy_from_slice(&both[..32]);
    let mut commitment = [0; COMMITMENT_LEN];
    commitment.copy_from_slice(&both[32..]);
    let aead = AeadKey::new(&cipher_key);
    both.zeroize();
    cipher_key.zeroize();
    (aead, commitment)
}

const AAD_LEN: usize = DOMAIN.len() + 1 + 1 + 16 + COMMITMENT_LEN;

fn associated_data(vault: VaultId, kind: SealedKind, commitment: &[u8; COMMITMENT_LEN]) -> [u8; AAD_LEN] {
    let mut aad = [0; AAD_LEN];
    let (domain, rest) = aad.split_at_mut(DOMAIN.len());
    domain.copy_from_slice(DOMAIN);
    rest[0] = SUITE_1;
    rest[1] = kind.byte();
    rest[2..18].copy_from_slice(&vault.0);
    rest[18..].copy_from_slice(commitment);
    aad
}

impl BlobSealer {
    /// Under the keys of this generation.
    #[must_use]
    pub fn new(root: &VaultRoot, generation: u32) -> Self {
        Self {
            vault: root.id(),
            chunk_hash_key: root.derive_generation("chunk-hash", generation),
            page_hash_key: root.derive_generation("page-hash", generation),
        }
    }

    /// An opener for the same vault.
    #[must_use]
    pub fn opener(&self) -> BlobOpener {
        BlobOpener { vault: self.vault }
    }

    /// Seals one chunk: the first `plain_len` bytes of `buffer`, whose rest is working room and must reach to
    /// the padded length. The sealed blob is written to the front of `out` and its length returned with the
    /// manifest's entry.
    ///
    /// # Errors
    /// [`SealError::TooLong`] if the chunk is empty or above [`CHUNK_LEN_MAX`].
    ///
    /// # Panics
    /// If `buffer` or `out` is shorter than [`blob_len`] asks for.
    pub fn seal_chunk(
        &self,
        buffer: &mut [u8],
        plain_len: usize,
        scratch: &mut SealScratch,
        out: &mut [u8],
    ) -> Result<(ChunkEntry, usize), SealError> {
        if plain_len == 0 || plain_len > CHUNK_LEN_MAX {
            return Err(SealError::TooLong { what: "chunk", len: plain_len, max: CHUNK_LEN_MAX });
        }
        let plain_padded_len = padded_len(plain_len, BLOB_PADDED_LEN_MIN);
        if scratch.frame.len() < plain_padded_len {
            scratch.frame.resize(plain_padded_len, 0);
        }
        let frame_len = scratch
            .compressor
            .compress(&buffer[..plain_len], &mut scratch.frame)
            // What padding gives away again was no saving.
            .filter(|len| padded_len(*len, BLOB_PADDED_LEN_MIN) < plain_padded_len);
        let (stored, stored_len, flags) = match frame_len {
            Some(len) => (&mut scratch.frame[..], len, FLAG_ZSTD),
            None => (buffer, plain_len, 0),
        };
        let padded = &mut stored[..padded_len(stored_len, BLOB_PADDED_LEN_MIN)];
        padded[stored_len..].fill(0);
        let (key, blob, len) = self.seal_padded(SealedKind::Chunk, padded, out)?;
        let entry = ChunkEntry {
            blob,
            key,
            plain_len: u32::try_from(plain_len).expect("a chunk is at most 4 MiB"),
            stored_len: u32::try_from(stored_len).expect("a chunk is at most 4 MiB"),
            flags,
        };
        Ok((entry, len))
    }

    /// Seals one encoded page and returns its key, id and blob.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`PAGE_LEN_MAX`].
    pub fn seal_page(&self, page: &[u8]) -> Result<(ChunkKey, BlobId, Vec<u8>), SealError> {
        if page.len() > PAGE_LEN_MAX {
            return Err(SealError::TooLong { what: "page", len: page.len(), max: PAGE_LEN_MAX });
        }
        let mut padded = vec![0; padded_len(page.len(), BLOB_PADDED_LEN_MIN)];
        padded[..page.len()].copy_from_slice(page);
        let mut out = vec![0; padded.len() + BLOB_OVERHEAD_LEN];
        let (key, id, _) = self.seal_padded(SealedKind::Page, &padded, &mut out)?;
        padded.zeroize();
        Ok((key, id, out))
    }

    fn seal_padded(
        &self,
        kind: SealedKind,
        padded: &[u8],
        out: &mut [u8],
    ) -> Result<(ChunkKey, BlobId, usize), SealError> {
        let hash_key = if kind == SealedKind::Page { &self.page_hash_key } else { &self.chunk_hash_key };
        let key = ChunkKey(*blake3::keyed_hash(hash_key.expose(), padded).as_bytes());
        let (aead, commitment) = derive(&key);
        let len = padded.len() + BLOB_OVERHEAD_LEN;
        let (header, sealed) = out[..len].split_at_mut(BLOB_HEADER_LEN);
        header[0] = SUITE_1;
        header[1] = kind.byte();
        header[2..].copy_from_slice(&commitment);
        aead.seal(NONCE_ONCE, &associated_data(self.vault, kind, &commitment), padded, sealed)?;
        Ok((key, BlobId::of(&out[..len]), len))
    }
}

impl BlobOpener {
    /// For blobs of this vault (or a share of it, which carries the vault's id).
    #[must_use]
    pub fn new(vault: VaultId) -> Self {
        Self { vault }
    }

    /// Opens one chunk into the front of `out`, which must take `entry.plain_len` bytes.
    ///
    /// # Errors
    /// [`SealError::Damaged`] or [`SealError::Shape`] if the blob is not the one the entry names;
    /// [`SealError::Contradiction`] if it is and does not decompress to the length the entry says. On error the
    /// plaintext is wiped.
    ///
    /// # Panics
    /// If `out` is shorter than the entry's plain length.
    pub fn open_chunk(
        &self,
        entry: &ChunkEntry,
        blob: &[u8],
        scratch: &mut OpenScratch,
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let plain_len = entry.plain_len as usize;
        let stored_len = entry.stored_len as usize;
        if plain_len > CHUNK_LEN_MAX || stored_len > plain_len {
            return Err(SealError::TooLong {
                what: "chunk",
                len: plain_len.max(stored_len),
                max: CHUNK_LEN_MAX,
            });
        }
        let out = &mut out[..plain_len];
        let padded = padded_len(stored_len, BLOB_PADDED_LEN_MIN);
        if entry.flags & FLAG_ZSTD == 0 && padded == plain_len {
            return self.open_padded(SealedKind::Chunk, &entry.key, blob, out);
        }
        if scratch.padded.len() < padded {
            scratch.padded.resize(padded, 0);
        }
        let buffer = &mut scratch.padded[..padded];
        self.open_padded(SealedKind::Chunk, &entry.key, blob, buffer)?;
        check_padding(buffer, stored_len)?;
        if entry.flags & FLAG_ZSTD != 0 {
            return scratch.decompressor.decompress(&buffer[..stored_len], out);
        }
        if stored_len != plain_len {
            return Err(SealError::Contradiction { what: "chunk length" });
        }
        out.copy_from_slice(&buffer[..stored_len]);
        Ok(())
    }

    /// Opens one page and returns its encoded bytes.
    ///
    /// # Errors
    /// As [`BlobOpener::open_chunk`].
    pub fn open_page(&self, key: &ChunkKey, page_len: usize, blob: &[u8]) -> Result<Vec<u8>, SealError> {
        if page_len > PAGE_LEN_MAX {
            return Err(SealError::TooLong { what: "page", len: page_len, max: PAGE_LEN_MAX });
        }
        let mut page = vec![0; padded_len(page_len, BLOB_PADDED_LEN_MIN)];
        self.open_padded(SealedKind::Page, key, blob, &mut page)?;
        check_padding(&page, page_len)?;
        page.truncate(page_len);
        Ok(page)
    }

    /// Opens a blob whose padded plaintext fills `out` exactly.
    fn open_padded(
        &self,
        kind: SealedKind,
        key: &ChunkKey,
        blob: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let found = check_blob(blob)?;
        if found != kind || blob.len() != out.len() + BLOB_OVERHEAD_LEN {
            return Err(SealError::Damaged { what: "blob" });
        }
        let (aead, commitment) = derive(key);
        let (header, sealed) = blob.split_at(BLOB_HEADER_LEN);
        if !equal(&commitment, &header[2..]) {
            return Err(SealError::Damaged { what: "blob" });
        }
        aead.open(NONCE_ONCE, &associated_data(self.vault, kind, &commitment), sealed, out, "blob")
    }
}

/// Padding is zeros, so that a chunk has one sealed form only.
fn check_padding(padded: &[u8], stored_len: usize) -> Result<(), SealError> {
    if padded[stored_len..].iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(SealError::Contradiction { what: "padding" })
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
