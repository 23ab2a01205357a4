//! The BLAKE3 hash of a whole file, from chunks hashed in parallel.
//!
//! BLAKE3 is a binary tree. A fixed chunk length is a power of two, so each chunk is a complete subtree at its
//! own place: any thread computes its chaining value, and merging those in order gives exactly the hash that
//! `b3sum` prints for the file. Content-defined chunks are no subtrees; they are hashed in sequence.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// One chunk's part in the hash of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    value: [u8; 32],
    /// The hash of the file if this chunk is all of it.
    alone: [u8; 32],
}

impl Subtree {
    /// Hashes the chunk that begins at `offset` of its file. All chunks before it have the same length, a power
    /// of two of at least 1 KiB; this one is not longer and not empty.
    ///
    /// # Panics
    /// If the offset is not a multiple of 1 KiB or the chunk is empty or longer than its place allows.
    #[must_use]
    pub fn of(offset: u64, chunk: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(offset);
        hasher.update(chunk);
        let value = hasher.finalize_non_root();
        // Only the first chunk can be alone, and only there is a root defined.
        let alone = if offset == 0 { *hasher.finalize().as_bytes() } else { [0; 32] };
        Self { value, alone }
    }
}

/// Merges subtrees in file order.
#[derive(Debug, Clone)]
pub struct SubtreeMerger {
    /// Chaining values of complete subtrees, largest first.
    stack: Vec<[u8; 32]>,
    count: u64,
    alone: [u8; 32],
}

impl Default for SubtreeMerger {
    fn default() -> Self {
        Self::new()
    }
}

impl SubtreeMerger {
    /// Nothing yet: the hash of the empty file.
    #[must_use]
    pub fn new() -> Self {
        // One chaining value per set bit of the count of chunks: 64 at most.
        Self { stack: Vec::with_capacity(64), count: 0, alone: *blake3::hash(&[]).as_bytes() }
    }

    /// Adds the next chunk.
    pub fn push(&mut self, subtree: &Subtree) {
        // Merging waits until the next chunk is there, because the last merge of all is done differently.
        while self.stack.len() > self.count.count_ones() as usize {
            self.merge_last_two();
        }
        if self.count == 0 {
            self.alone = subtree.alone;
        }
        self.stack.push(subtree.value);
        self.count += 1;
    }

    fn merge_last_two(&mut self) {
        let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) else {
            unreachable!("there are two subtrees to merge");
        };
        self.stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }

    /// The hash of the whole file.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        while self.stack.len() > 2 {
            self.merge_last_two();
        }
        match self.stack.as_slice() {
            [left, right] => *merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
            _ => self.alone,
        }
    }
}

/// BLAKE3 and length of all that a reader gives, without a vault.
///
/// # Errors
/// What the reader fails with.
pub fn of_reader(reader: &mut impl std::io::Read) -> std::io::Result<([u8; 32], u64)> {
    let mut hasher = Hasher::new();
    hasher.update_reader(reader)?;
    Ok((*hasher.finalize().as_bytes(), hasher.count()))
}

#[cfg(test)]
mod tests {
    use larder_format::rng::{Rng, SeededRng};

    use super::*;

    #[test]
    fn the_merged_hash_is_the_hash_of_the_whole() {
        let mut data = vec![0; 70 * 1024 + 17];
        SeededRng::new(3).fill(&mut data);
        for chunk_len in [1024usize, 2048, 8192, 65_536] {
            for len in [0, 1, 1023, 1024, 1025, 2048, 4096, 5000, 8192, 24_576, 65_536, data.len()] {
                let mut merger = SubtreeMerger::new();
                for (i, chunk) in data[..len].chunks(chunk_len).enumerate() {
                    merger.push(&Subtree::of((i * chunk_len) as u64, chunk));
                }
                let want = *blake3::hash(&data[..len]).as_bytes();
                assert_eq!(merger.finish(), want, "chunk_len={chunk_len} len={len}");
            }
        }
    }

    #[test]
    fn order_matters() {
        let parts: Vec<_> = (0..3u8).map(|i| Subtree::of(u64::from(i) * 1024, &[i; 1024])).collect();
        let hash = |order: [usize; 3]| {
            let mut merger = SubtreeMerger::new();
            order.iter().for_each(|i| merger.push(&parts[*i]));
            merger.finish()
        };
        assert_ne!(hash([0, 1, 2]), hash([0, 2, 1]));
    }
}
