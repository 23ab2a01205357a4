//! Values that say what they are: made out of the run, the key and a generation, so that whoever reads one back knows
//! whether it is whole, whose it is, and which write it came from.
//!
//! A value is a header of 16 bytes (run, key, generation, length; little-endian) and a piece of a block of random
//! bytes that every run makes anew. Where the piece begins follows from key and generation, and the pieces of
//! neighbouring generations differ in every part, so that a value put together from two of them is found. Making and
//! checking one costs a copy and a comparison of memory.

use larder_format::rng::{Rng, SeededRng};

/// Shortest value that can be verified, in bytes: its header.
pub const HEADER_LEN: usize = 16;

/// How many places a piece may begin at.
const OFFSETS: usize = 1 << 16;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A whole value of this key and run, of this generation.
    Generation(u32),
    /// Not a value of this key and run.
    Foreign,
    /// It begins as a value of this key and run, and does not go on as one.
    Torn,
}

/// Makes and checks the values of one run.
#[derive(Debug)]
pub struct Values {
    run: u32,
    block: Vec<u8>,
}

impl Values {
    /// For one run (a random number), with values up to this long in bytes.
    #[must_use]
    pub fn new(run: u32, len_max: usize) -> Self {
        let mut block = vec![0; len_max + OFFSETS];
        SeededRng::new(u64::from(run)).fill(&mut block);
        Self { run, block }
    }

    /// Appends a value. Of one that is shorter than its header, only so much is there.
    pub fn write(&self, out: &mut Vec<u8>, key: u32, generation: u32, len: usize) {
        let header = self.header(key, generation, len);
        if len <= HEADER_LEN {
            out.extend_from_slice(&header[..len]);
            return;
        }
        out.extend_from_slice(&header);
        out.extend_from_slice(self.piece(key, generation, len - HEADER_LEN));
    }

    /// What a value is, given the key that it was read under.
    #[must_use]
    pub fn read(&self, key: u32, value: &[u8]) -> Read {
        let Some((header, body)) = value.split_first_chunk::<HEADER_LEN>() else { return Read::Foreign };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(0) != self.run || word(4) != key {
            return Read::Foreign;
        }
        let generation = word(8);
        let whole = word(12) as usize == value.len()
            && body.len() + OFFSETS <= self.block.len()
            && body == self.piece(key, generation, body.len());
        if whole { Read::Generation(generation) } else { Read::Torn }
    }

    fn header(&self, key: u32, generation: u32, len: usize) -> [u8; HEADER_LEN] {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let mut header = [0; HEADER_LEN];
        for (part, word) in header.chunks_exact_mut(4).zip([self.run, key, generation, len]) {
            part.copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    fn piece(&self, key: u32, generation: u32, len: usize) -> &[u8] {
        // The high halves of both factors are not 0: neighbouring generations, and neighbouring keys, never begin at
        // the same place.
        let mixed = key.wrapping_mul(0x9e37_79b1).wrapping_add(generation.wrapping_mul(0x85eb_ca6b));
        let at = (mixed >> 16) as usize;
        &self.block[at..at + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_recognised_and_every_other_is_not() {
        let values = Values::new(7, 4096);
        for len in [HEADER_LEN, 17, 256, 4096] {
            let mut value = Vec::new();
            values.write(&mut value, 5, 3, len);
            assert_eq!(value.len(), len);
            assert_eq!(values.read(5, &value), Read::Generation(3), "{len}");
            assert_eq!(values.read(6, &value), Read::Foreign, "another key");
            assert_eq!(Values::new(8, 4096).read(5, &value), Read::Foreign, "another run");
            for at in 0..len {
                value[at] ^= 1;
                let read = values.read(5, &value);
                let other_generation = (8..12).contains(&at) && len == HEADER_LEN;
                assert!(read != Read::Generation(3), "{len} {at} {read:?}");
                assert!(other_generation || !matches!(read, Read::Generation(_)), "{len} {at}");
                value[at] ^= 1;
            }
            value.push(0);
            assert_eq!(values.read(5, &value), Read::Torn, "longer");
            assert_ne!(values.read(5, &value[..len - 1]), Read::Generation(3), "shorter");
        }
        assert_eq!(values.read(5, b""), Read::Foreign);
        assert_eq!(values.read(5, &[0; 10_000]), Read::Foreign, "longer than any");
    }

    #[test]
    fn two_generations_put_together_are_torn_wherever_they_meet() {
        let values = Values::new(1, 1024);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        values.write(&mut a, 9, 100, 1024);
        values.write(&mut b, 9, 101, 1024);
        for at in HEADER_LEN..1016 {
            let mixed = [&a[..at], &b[at..]].concat();
            assert_eq!(values.read(9, &mixed), Read::Torn, "{at}");
        }
    }

    #[test]
    fn short_values_are_cut_headers() {
        let mut value = Vec::new();
        Values::new(1, 8).write(&mut value, 9, 1, 8);
        assert_eq!(value.len(), 8);
    }
}
