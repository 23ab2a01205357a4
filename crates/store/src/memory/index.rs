//! The hash table of one shard: buckets that hold the handle of their first entry; entries of a bucket are chained
//! through their headers. It grows and shrinks by one bucket at a time (linear hashing), so that no insertion ever pays
//! for all of them, and so that a scan can go through it in an order that growing does not change: by the bits of the
//! hash read backwards, a bucket holds one unbroken stretch of that order, however many buckets there are.

use super::arena::NONE;
use super::budget::{Budget, Purpose};
use crate::api::StoreError;

/// Bytes of a bucket.
const BUCKET_LEN: u64 = size_of::<u32>() as u64;

/// Fewest buckets allocated at once.
const GROW_MIN: usize = 8;

/// Buckets of a shard.
#[derive(Default)]
pub(super) struct Index {
    buckets: Vec<u32>,
}

/// Entries to be spread anew: the chain of `from` over `from` and `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) from: usize,
    pub(super) to: usize,
    /// An entry goes to `to` if its hash, cut to these bits, is `to`.
    pub(super) mask: u32,
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many buckets there are.
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    /// The bucket of a hash. There must be one.
    #[inline]
    pub(super) fn bucket_of(&self, hash: u32) -> usize {
        let count = self.buckets.len();
        let mask = count.next_power_of_two() - 1;
        let at = hash as usize & mask;
        if at < count { at } else { at & (mask >> 1) }
    }

    /// The first entry of a bucket.
    #[inline]
    pub(super) fn first(&self, bucket: usize) -> u32 {
        self.buckets[bucket]
    }

    pub(super) fn set_first(&mut self, bucket: usize, handle: u32) {
        self.buckets[bucket] = handle;
    }

    /// The first entry of a hash's bucket.
    #[inline]
    pub(super) fn first_of(&self, hash: u32) -> u32 {
        if self.buckets.is_empty() { NONE } else { self.buckets[self.bucket_of(hash)] }
    }

    /// The end (exclusive) of the stretch that the bucket of this place in scan order holds. A place is a hash with its
    /// bits backwards.
    pub(super) fn stretch_end(&self, place: u32) -> u64 {
        let count = self.buckets.len();
        let bucket = self.bucket_of(place.reverse_bits());
        let half = count.next_power_of_two() / 2;
        // A bucket whose other half has been split off goes by one bit more.
        let bits = half.trailing_zeros() + u32::from(bucket >= half || bucket + half < count);
        let bits = if count <= 1 { 0 } else { bits };
        let begin = u64::from((bucket as u32).reverse_bits());
        begin + (1 << (32 - bits))
    }

    /// Makes sure that one bucket can be added.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub(super) fn reserve(&mut self, budget: &Budget) -> Result<(), StoreError> {
        let (len, had) = (self.buckets.len(), self.buckets.capacity());
        if len < had {
            return Ok(());
        }
        let wanted = len + (len / 16).max(GROW_MIN);
        budget.take(wanted as u64 * BUCKET_LEN, Purpose::Write)?;
        self.buckets.reserve_exact(wanted - len);
        debug_assert_eq!(self.buckets.capacity(), wanted, "what is counted is what is allocated");
        budget.give(had as u64 * BUCKET_LEN);
        Ok(())
    }

    /// Adds the first bucket, or one for which entries of another are to be spread anew, if `records` are too many for
    /// those there are: more than three for four buckets.
    pub(super) fn grow(&mut self, records: usize) -> Option<Split> {
        let to = self.buckets.len();
        if to == self.buckets.capacity() || (to > 0 && records * 4 <= to * 3) {
            return None;
        }
        self.buckets.push(NONE);
        let size = (to + 1).next_power_of_two();
        (to > 0).then(|| Split { from: to & (size / 2 - 1), to, mask: (size - 1) as u32 })
    }

    /// Takes the last bucket away if there are too many for so many records; answers its first entry and the bucket
    /// where its entries belong now.
    pub(super) fn shrink(&mut self, records: usize, budget: &Budget) -> Option<(u32, usize)> {
        let count = self.buckets.len();
        if records == 0 {
            budget.give(self.buckets.capacity() as u64 * BUCKET_LEN);
            self.buckets = Vec::new();
            return None;
        }
        if count < 2 || records * 8 > count * 3 {
            return None;
        }
        let first = self.buckets.pop()?;
        let parent = (count - 1) & (count.next_power_of_two() / 2 - 1);
        let had = self.buckets.capacity();
        if had > 2 * count + GROW_MIN {
            self.buckets.shrink_to(count + count / 4);
            budget.give((had - self.buckets.capacity()) as u64 * BUCKET_LEN);
        }
        Some((first, parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_all_buckets_cover_everything_once() {
        let budget = Budget::new(0);
        let mut index = Index::default();
        for count in 1..70 {
            index.reserve(&budget).unwrap();
            index.grow(usize::MAX / 4);
            assert_eq!(index.len(), count);
            let (mut place, mut stretches) = (0_u64, 0);
            while place < 1 << 32 {
                let end = index.stretch_end(place as u32);
                assert!(end > place);
                let bucket = index.bucket_of((place as u32).reverse_bits());
                for inside in [place, (place + end) / 2, end - 1] {
                    assert_eq!(index.bucket_of((inside as u32).reverse_bits()), bucket, "{count} buckets");
                }
                (place, stretches) = (end, stretches + 1);
            }
            assert_eq!((place, stretches), (1 << 32, count));
        }
        assert_eq!(budget.used(), index.buckets.capacity() as u64 * BUCKET_LEN);
    }
}
