//! What seals files of one chunk, kept for the next: compressing contexts and buffers of a mebibyte are dear to make for a
//! file of fifty kilobytes, and a tree has thousands of them.

use larder_format::pages::CHUNK_LEN_DEFAULT;
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::Compression;
use larder_seal::error::SealError;
use larder_seal::pipeline::single::ChunkSealer;
use parking_lot::Mutex;

/// Most that are kept while nobody needs them. Each holds about 3 MiB; more than a few are never at work at once.
const IDLE_MAX: usize = 4;

/// Sealers of one vault.
#[derive(Debug, Default)]
pub(crate) struct Sealers {
    idle: Mutex<Vec<(Compression, ChunkSealer)>>,
}

impl Sealers {
    /// Seals one chunk's worth with a sealer that is there, or a new one.
    ///
    /// # Errors
    /// As [`ChunkSealer::new`].
    pub(super) fn with<T>(
        &self,
        sealer: &BlobSealer,
        compression: Compression,
        len: usize,
        seal: impl FnOnce(&mut ChunkSealer) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        if len > CHUNK_LEN_DEFAULT {
            return seal(&mut ChunkSealer::new(sealer.clone(), compression, len)?);
        }
        let mut own = match self.take(compression) {
            Some(own) => own,
            None => ChunkSealer::new(sealer.clone(), compression, CHUNK_LEN_DEFAULT)?,
        };
        let sealed = seal(&mut own);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push((compression, own));
        }
        sealed
    }

    fn take(&self, compression: Compression) -> Option<ChunkSealer> {
        let mut idle = self.idle.lock();
        let at = idle.iter().rposition(|(of, _)| *of == compression)?;
        Some(idle.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use larder_format::rng::SystemRng;
    use larder_seal::keys::VaultRoot;
    use larder_seal::pipeline::single::ChunkOpener;

    use super::*;

    #[test]
    fn a_sealer_that_was_used_seals_the_next_as_a_new_one_does() {
        let root = VaultRoot::generate(&mut SystemRng);
        let sealer = BlobSealer::new(&root, 0);
        let sealers = Sealers::default();
        let mut opener = ChunkOpener::new(sealer.opener()).unwrap();
        for len in [CHUNK_LEN_DEFAULT, 1, 70_000, CHUNK_LEN_DEFAULT + 1] {
            let plain = vec![len as u8; len];
            let kept = sealers.with(&sealer, Compression::default(), len, |own| own.seal(&plain)).unwrap();
            let new = ChunkSealer::new(sealer.clone(), Compression::default(), len).unwrap().seal(&plain);
            assert_eq!(kept, new.unwrap(), "equal chunks must stay equal");
            let mut out = vec![0; len];
            opener.open(&kept.0, &kept.1, &mut out).unwrap();
            assert_eq!(out, plain);
        }
        assert_eq!(sealers.idle.lock().len(), 1);
    }
}
