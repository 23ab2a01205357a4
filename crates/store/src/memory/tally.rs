//! How many entries of a shard are of which namespace: whoever looks for those of one namespace passes by the shards that
//! have none of it, so that a small namespace costs little in a large table.

use super::entry::Space;

/// Counts by namespace, in order. A shard has entries of a few, and never more than it has entries.
#[derive(Default)]
pub(super) struct Tally {
    counts: Vec<(u16, u32)>,
}

impl Tally {
    fn find(&self, space: Space) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&space.0, |(space, _)| *space)
    }

    /// An entry came.
    pub(super) fn add(&mut self, space: Space) {
        match self.find(space) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (space.0, 1)),
        }
    }

    /// An entry went.
    pub(super) fn remove(&mut self, space: Space) {
        let Ok(at) = self.find(space) else { return };
        self.counts[at].1 -= 1;
        if self.counts[at].1 == 0 {
            self.counts.remove(at);
        }
        if self.counts.is_empty() {
            self.counts = Vec::new();
        }
    }

    /// Whether there is an entry of this namespace.
    #[inline]
    pub(super) fn has(&self, space: Space) -> bool {
        self.find(space).is_ok()
    }

    /// All counts, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (Space, u32)> {
        self.counts.iter().map(|(space, count)| (Space(*space), *count))
    }
}
