//! Padding: how long sealed bytes look.
//!
//! Padmé (Nikitin et al., PETS 2019) rounds a length up so that only its first few significant bits remain: at
//! most 12 % overhead, less the longer the data, and O(log log n) bits of the length leak. Powers of two stay as
//! they are, so a full chunk costs nothing.

/// The padded length for `len` bytes, and at least `min`.
#[must_use]
pub fn padded_len(len: usize, min: usize) -> usize {
    if len <= min {
        return min;
    }
    let exponent = len.ilog2();
    if exponent == 0 {
        return len;
    }
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1usize << (exponent.saturating_sub(kept_bits))) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lengths() {
        // 9: exponent 3, two bits kept, so multiples of 2. 1,000: exponent 9, four kept, multiples of 32.
        for (len, padded) in [(0, 0), (1, 1), (2, 2), (9, 10), (1_000, 1_024), (1_025, 1_088)] {
            assert_eq!(padded_len(len, 0), padded, "len={len}");
        }
        assert_eq!(padded_len(1 << 20, 512), 1 << 20, "a full chunk is not padded");
        assert_eq!(padded_len((1 << 20) + 1, 512), (1 << 20) + (1 << 15));
        assert_eq!(padded_len(3, 512), 512);
        assert_eq!(padded_len(512, 512), 512);
    }

    #[test]
    fn never_shorter_never_more_than_an_eighth_longer_and_never_falling() {
        let mut last = 0;
        for len in 1..200_000 {
            let padded = padded_len(len, 0);
            assert!(padded >= len && padded - len <= len / 8, "len={len} padded={padded}");
            assert!(padded >= last);
            assert_eq!(padded_len(padded, 0), padded, "padding is idempotent");
            last = padded;
        }
    }
}
