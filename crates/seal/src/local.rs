//! Sealed files that never leave this machine: what a client keeps to start faster and can always make again.
//!
//! A header, then blocks. Each file has a random salt, from which its key follows together with the vault's root and a
//! label; blocks are numbered by their nonce, and the last one says that it is, so that a file cut at a block's end is
//! not taken for whole. The associated data is the header. `docs/design/format-seal.md` has the bytes.

use larder_format::ids::VaultId;
use larder_format::rng::Rng;
use larder_format::sealed::TAG_LEN;

use crate::error::SealError;
use crate::keys::VaultRoot;
use crate::primitives::{AeadKey, NonceBytes, hkdf_secret};

/// Version of the layout that this program writes.
pub const LOCAL_FORMAT: u8 = 1;

/// Length of the header, in bytes: magic, format, vault, salt.
pub const LOCAL_HEADER_LEN: usize = 8 + 16 + 16;

/// Most plain bytes of a block.
pub const LOCAL_BLOCK_LEN_MAX: usize = 1 << 20;

/// What a block is longer by once it is sealed.
pub const LOCAL_BLOCK_OVERHEAD: usize = TAG_LEN;

const MAGIC: &[u8; 7] = b"larderl";

/// The header of a file.
pub type LocalHeader = [u8; LOCAL_HEADER_LEN];

/// Seals or opens the blocks of one file, in order.
pub struct LocalFile {
    key: AeadKey,
    header: LocalHeader,
    blocks: u64,
}

impl std::fmt::Debug for LocalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalFile").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl LocalFile {
    /// A new file of this vault for the purpose that `label` names. It begins with [`LocalFile::header`].
    #[must_use]
    pub fn create(root: &VaultRoot, label: &str, rng: &mut impl Rng) -> Self {
        let mut header = [0; LOCAL_HEADER_LEN];
        header[..7].copy_from_slice(MAGIC);
        header[7] = LOCAL_FORMAT;
        header[8..24].copy_from_slice(&root.id().0);
        let salt: [u8; 16] = rng.array();
        header[24..].copy_from_slice(&salt);
        Self::with_header(root, label, header)
    }

    /// A file with this header.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if it is not one of ours or of another vault; [`SealError::TooNew`].
    pub fn open(root: &VaultRoot, label: &str, header: LocalHeader) -> Result<Self, SealError> {
        let damaged = SealError::Damaged { what: "header of a local file" };
        if header[..7] != *MAGIC || header[8..24] != root.id().0 || header[7] == 0 {
            return Err(damaged);
        }
        if header[7] != LOCAL_FORMAT {
            return Err(SealError::Decode(larder_format::codec::DecodeError::TooNew {
                what: "local file",
                version: header[7].into(),
                supported: LOCAL_FORMAT.into(),
            }));
        }
        Ok(Self::with_header(root, label, header))
    }

    fn with_header(root: &VaultRoot, label: &str, header: LocalHeader) -> Self {
        let secret = root.derive(label);
        let key = AeadKey::new(hkdf_secret(&header[24..], secret.expose(), &[b"larder/1/local"]).expose());
        Self { key, header, blocks: 0 }
    }

    /// Whose file it is, as its header says.
    #[must_use]
    pub fn vault(header: &LocalHeader) -> VaultId {
        let mut id = [0; 16];
        id.copy_from_slice(&header[8..24]);
        VaultId(id)
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &LocalHeader {
        &self.header
    }

    fn next_nonce(&mut self, last: bool) -> NonceBytes {
        let mut nonce = [0; 12];
        nonce[0] = u8::from(last);
        nonce[4..].copy_from_slice(&self.blocks.to_be_bytes());
        self.blocks += 1;
        nonce
    }

    /// Seals the next block.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`LOCAL_BLOCK_LEN_MAX`].
    pub fn seal(&mut self, plain: &[u8], last: bool) -> Result<Vec<u8>, SealError> {
        if plain.len() > LOCAL_BLOCK_LEN_MAX {
            return Err(SealError::TooLong { what: "block", len: plain.len(), max: LOCAL_BLOCK_LEN_MAX });
        }
        let mut out = vec![0; plain.len() + TAG_LEN];
        let nonce = self.next_nonce(last);
        self.key.seal(nonce, &self.header, plain, &mut out)?;
        Ok(out)
    }

    /// Opens the next block.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if it is not what was sealed, or not the last although it should be (or the other way
    /// round).
    pub fn unseal(&mut self, sealed: &[u8], last: bool) -> Result<Vec<u8>, SealError> {
        let what = "block of a local file";
        let plain_len = sealed.len().checked_sub(TAG_LEN).filter(|len| *len <= LOCAL_BLOCK_LEN_MAX);
        let mut out = vec![0; plain_len.ok_or(SealError::Damaged { what })?];
        let nonce = self.next_nonce(last);
        self.key.open(nonce, &self.header, sealed, &mut out, what)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::rng::SeededRng;

    fn root() -> VaultRoot {
        VaultRoot::generate(&mut SeededRng::new(1))
    }

    #[test]
    fn blocks_open_in_their_order_and_in_no_other() {
        let mut file = LocalFile::create(&root(), "x", &mut SeededRng::new(2));
        let header = *file.header();
        let first = file.seal(b"first", false).unwrap();
        let second = file.seal(b"second", true).unwrap();
        let open = || LocalFile::open(&root(), "x", header).unwrap();
        let mut whole = open();
        assert_eq!(whole.unseal(&first, false).unwrap(), b"first");
        assert_eq!(whole.unseal(&second, true).unwrap(), b"second");
        assert!(open().unseal(&second, true).is_err(), "another place");
        assert!(open().unseal(&first, true).is_err(), "cut at a block's end");
        assert!(LocalFile::open(&root(), "y", header).unwrap().unseal(&first, false).is_err());
        let other = VaultRoot::generate(&mut SeededRng::new(3));
        assert!(LocalFile::open(&other, "x", header).is_err());
        let mut newer = header;
        newer[7] = 2;
        assert!(matches!(LocalFile::open(&root(), "x", newer), Err(SealError::Decode(_))));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut file = LocalFile::create(&root(), "x", &mut SeededRng::new(2));
        let header = *file.header();
        let sealed = file.seal(b"words", true).unwrap();
        for bit in 0..header.len() * 8 {
            let mut bad = header;
            bad[bit / 8] ^= 1 << (bit % 8);
            let opened = LocalFile::open(&root(), "x", bad).and_then(|mut f| f.unseal(&sealed, true));
            assert!(opened.is_err(), "bit {bit} of the header");
        }
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(LocalFile::open(&root(), "x", header).unwrap().unseal(&bad, true).is_err());
        }
    }
}
