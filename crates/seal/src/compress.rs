//! Compression: zstd, kept only where it helps, with contexts that are reused.
//!
//! Compressing before encrypting shows through lengths how well data compresses; padding blurs that and cannot
//! hide it. It can be switched off.

use crate::error::SealError;

/// Compression is kept if it saves at least one part in this many.
pub const SAVING_DIVISOR: usize = 32;

/// Whether and how hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Never: lengths then say nothing about content.
    Off,
    /// Try zstd at this level (1 to 19) on every chunk and keep what helps.
    Zstd {
        /// The level.
        level: i32,
    },
}

impl Default for Compression {
    /// Level 1: at 2 cores it keeps pace with a disk, and higher levels gain few per cent for half the speed.
    fn default() -> Self {
        Self::Zstd { level: 1 }
    }
}

/// A reusable compressor; one a thread.
pub struct Compressor {
    context: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("on", &self.context.is_some()).finish()
    }
}

impl Compressor {
    /// A compressor with its context.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if zstd refuses the level or has no memory.
    pub fn new(compression: Compression) -> Result<Self, SealError> {
        let context = match compression {
            Compression::Off => None,
            Compression::Zstd { level } => {
                let level = level.clamp(1, 19);
                Some(
                    zstd::bulk::Compressor::new(level)
                        .map_err(|_| SealError::Crypto { what: "zstd set-up" })?,
                )
            }
        };
        Ok(Self { context })
    }

    /// Compresses into the front of `out` if that saves enough, and says how many bytes that took.
    pub fn compress(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        let context = self.context.as_mut()?;
        // A frame that does not fit this room saves too little, and zstd stops as soon as it notices.
        let room = plain.len().checked_sub(plain.len() / SAVING_DIVISOR + 1)?.min(out.len());
        context.compress_to_buffer(plain, &mut out[..room]).ok()
    }
}

/// A reusable decompressor; one a thread.
pub struct Decompressor {
    context: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// A decompressor with its context.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if zstd has no memory.
    pub fn new() -> Result<Self, SealError> {
        let context =
            zstd::bulk::Decompressor::new().map_err(|_| SealError::Crypto { what: "zstd set-up" })?;
        Ok(Self { context })
    }

    /// Decompresses a frame that fills `out` exactly.
    ///
    /// # Errors
    /// [`SealError::Contradiction`] if it does not.
    pub fn decompress(&mut self, frame: &[u8], out: &mut [u8]) -> Result<(), SealError> {
        match self.context.decompress_to_buffer(frame, out) {
            Ok(len) if len == out.len() => Ok(()),
            _ => {
                out.fill(0);
                Err(SealError::Contradiction { what: "compressed length" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_format::rng::{Rng, SeededRng};

    use super::*;

    #[test]
    fn what_compresses_is_compressed_and_what_does_not_is_left() {
        let mut compressor = Compressor::new(Compression::default()).unwrap();
        let mut out = vec![0; 1 << 20];
        let text = b"the larder keeps what keeps and lets go what does not. ".repeat(2_000);
        let len = compressor.compress(&text, &mut out).unwrap();
        assert!(len < text.len() / 10);
        let mut back = vec![0; text.len()];
        Decompressor::new().unwrap().decompress(&out[..len], &mut back).unwrap();
        assert_eq!(back, text);

        let mut noise = vec![0; 100_000];
        SeededRng::new(1).fill(&mut noise);
        assert_eq!(compressor.compress(&noise, &mut out), None);
        assert_eq!(compressor.compress(b"", &mut out), None);
        assert_eq!(compressor.compress(b"a", &mut out), None);
        let mut off = Compressor::new(Compression::Off).unwrap();
        assert_eq!(off.compress(&text, &mut out), None);
    }

    #[test]
    fn a_frame_of_another_length_is_refused_and_shows_nothing() {
        let mut out = vec![0; 1 << 16];
        let text = b"abcabcabc".repeat(500);
        let len = Compressor::new(Compression::default()).unwrap().compress(&text, &mut out).unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        for wrong in [text.len() - 1, text.len() + 1] {
            let mut back = vec![0xff; wrong];
            assert!(decompressor.decompress(&out[..len], &mut back).is_err());
            assert!(back.iter().all(|b| *b == 0));
        }
    }
}
