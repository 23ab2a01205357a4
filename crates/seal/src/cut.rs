//! Where a file is cut: at fixed lengths, or where its content says.
//!
//! Content-defined cutting is FastCDC with a gear table of the vault's own: all 256 words are random under a key
//! derived from the root, not only shifted by a seed. Without the key nobody can tell where a known file would
//! be cut, so chunk lengths are harder to match against known files; they still are a fingerprint within one
//! vault, which is why fixed lengths are the default.

use std::io::{self, Read};

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use larder_format::pages::CHUNK_LEN_MAX;

use crate::keys::VaultRoot;

/// A vault's gear table.
#[derive(Clone)]
pub struct Gear {
    words: Box<[u64; 256]>,
    words_shifted: Box<[u64; 256]>,
}

impl std::fmt::Debug for Gear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gear(…)")
    }
}

impl Gear {
    /// The table of this vault. It never changes, or equal content would stop being found again.
    #[must_use]
    pub fn new(root: &VaultRoot) -> Self {
        let key = root.derive("gear");
        let mut stream = blake3::Hasher::new_keyed(key.expose()).finalize_xof();
        let mut words = Box::new([0u64; 256]);
        for word in words.iter_mut() {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            *word = u64::from_le_bytes(bytes);
        }
        let mut words_shifted = words.clone();
        words_shifted.iter_mut().for_each(|word| *word <<= 1);
        Self { words, words_shifted }
    }
}

/// Cuts content-defined chunks.
#[derive(Debug, Clone)]
pub struct Cutter {
    gear: Gear,
    len_min: usize,
    average: usize,
    len_max: usize,
    mask_strict: u64,
    mask_loose: u64,
}

impl Cutter {
    /// For chunks of this average length (a power of two of at least 64 KiB), a quarter of it at least, four
    /// times it or 4 MiB at most.
    #[must_use]
    pub fn new(gear: Gear, average: u32) -> Self {
        let average = average as usize;
        let (mask_strict, mask_loose) = select_masks(average, Normalization::Level1);
        let len_max = (average * 4).min(CHUNK_LEN_MAX);
        Self { gear, len_min: average / 4, average, len_max, mask_strict, mask_loose }
    }

    /// Longest chunk.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.len_max
    }

    /// Length of the next chunk of `source`, which holds [`Cutter::len_max`] bytes or all that is left.
    #[must_use]
    pub fn cut(&self, source: &[u8]) -> usize {
        let (_, len) = cut_gear(
            source,
            self.len_min,
            self.average,
            self.len_max,
            self.mask_strict,
            self.mask_loose,
            self.mask_strict << 1,
            self.mask_loose << 1,
            &*self.gear.words,
            &*self.gear.words_shifted,
        );
        len
    }
}

/// Reads until `out` is full or the source ends, and says how much that was.
///
/// # Errors
/// Whatever the source says, interruptions excepted.
pub(crate) fn read_full(source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < out.len() {
        match source.read(&mut out[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// A source that is cut where its content says.
pub(crate) struct CutReader<R> {
    source: R,
    cutter: Cutter,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    ended: bool,
}

impl<R: Read> CutReader<R> {
    pub(crate) fn new(source: R, cutter: Cutter) -> Self {
        // Twice the longest chunk, so that what is left over is moved to the front once per chunk at most.
        let buffer = vec![0; 2 * cutter.len_max()];
        Self { source, cutter, buffer, begin: 0, end: 0, ended: false }
    }

    /// The next chunk, copied to the front of `out`; 0 at the end.
    pub(crate) fn next_chunk(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.end - self.begin < self.cutter.len_max() && !self.ended {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
            let room = &mut self.buffer[self.end..];
            let wanted = room.len();
            let read = read_full(&mut self.source, room)?;
            self.end += read;
            self.ended = read < wanted;
        }
        let ready = &self.buffer[self.begin..self.end];
        if ready.is_empty() {
            return Ok(0);
        }
        let len = self.cutter.cut(&ready[..ready.len().min(self.cutter.len_max())]);
        out[..len].copy_from_slice(&ready[..len]);
        self.begin += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use larder_format::rng::{Rng, SeededRng};

    use super::*;

    fn root(seed: u64) -> VaultRoot {
        VaultRoot::generate(&mut SeededRng::new(seed))
    }

    fn cuts(seed: u64, data: &[u8]) -> Vec<Vec<u8>> {
        let cutter = Cutter::new(Gear::new(&root(seed)), 1 << 16);
        let mut reader = CutReader::new(data, cutter);
        let mut out = vec![0; 1 << 18];
        let mut chunks = Vec::new();
        loop {
            let len = reader.next_chunk(&mut out).unwrap();
            if len == 0 {
                return chunks;
            }
            chunks.push(out[..len].to_vec());
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        SeededRng::new(42).fill(&mut data);
        data
    }

    #[test]
    fn chunks_join_to_the_whole_within_their_bounds() {
        for len in [0, 1, 1 << 14, (1 << 16) + 1, 3_000_001] {
            let data = noise(len);
            let chunks = cuts(1, &data);
            assert_eq!(chunks.concat(), data);
            assert!(chunks.iter().all(|c| !c.is_empty() && c.len() <= 1 << 18));
            assert!(chunks.iter().rev().skip(1).all(|c| c.len() >= 1 << 14));
        }
        let average = 3_000_001 / cuts(1, &noise(3_000_001)).len();
        assert!((30_000..130_000).contains(&average), "average={average}");
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let data = noise(4_000_000);
        let changed = [&data[..1_000_000], b"inserted", &data[1_000_000..]].concat();
        let before: std::collections::HashSet<_> = cuts(1, &data).into_iter().collect();
        let after = cuts(1, &changed);
        let new = after.iter().filter(|chunk| !before.contains(*chunk)).count();
        assert!(new <= 3, "new={new} of {}", after.len());
    }

    #[test]
    fn another_vault_cuts_elsewhere() {
        let data = noise(2_000_000);
        let one: Vec<_> = cuts(1, &data).iter().map(Vec::len).collect();
        let two: Vec<_> = cuts(2, &data).iter().map(Vec::len).collect();
        assert_ne!(one, two);
    }
}
