//! How records are spread over shards: by slot, so that one sealed folder lies in one of them, and so that a
//! shard is also the slot group for which a floor is kept.

use larder_format::slot::{SLOTS, Slot};

/// Number of shards, and of slot groups. Enough that 16 threads seldom meet.
pub(crate) const SHARDS: usize = 64;

/// The shard of a slot.
pub(crate) fn shard_of(slot: Slot) -> usize {
    usize::from(slot.number()) * SHARDS / usize::from(SLOTS)
}
