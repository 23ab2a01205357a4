//! What is lost and cannot be attributed to a key, and the operator's word that it may stay lost.

use bytes::Bytes;
use larder_format::record::Ballot;
use larder_format::segment::FrameKind;
use larder_format::segment::body::Accept;
use std::sync::atomic::Ordering;

use super::{Accepted, Core, LogStore};
use crate::api::StoreError;
use crate::shard::SHARDS;

impl LogStore {
    /// Whether frames are lost that cannot be attributed: then answers they could have changed are errors.
    #[must_use]
    pub fn has_unaccepted_damage(&self) -> bool {
        self.core.damage.lost_through.load(Ordering::Acquire) > 0
    }

    /// Accepts that lost frames stay lost: what they said is as if it had never been. Every floor rises to
    /// the highest version or ballot the store has seen, so that no version is used twice. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn accept_damage(&self) -> Result<(), StoreError> {
        let core = &*self.core;
        let through = core.damage.lost_through.load(Ordering::Acquire);
        if through == 0 {
            return core.log.check_open();
        }
        let floor = core.highest_ballot();
        let body = Accept { through, floor };
        let appended = core.log.append(FrameKind::Accept, body.encode(), Bytes::new())?;
        core.commit(appended.sequence)?;
        *core.damage.accepted.lock() = Accepted { through, floor, segment: appended.place.segment };
        // Before compaction may free anything: until then the lists are what they were.
        core.log.queue.lock().missing.clear();
        core.damage.lost_through.store(0, Ordering::Release);
        // What the lost frames said, nobody is told: records may be as they were before.
        core.log.feed.break_off();
        tracing::warn!(through, "the loss of damaged frames was accepted");
        Ok(())
    }
}

impl Core {
    /// At least every ballot and version in the store, and every version that its time allows.
    fn highest_ballot(&self) -> Ballot {
        let mut highest = self.damage.accepted.lock().floor;
        let time = self.time.lock().high.to_u64();
        highest = highest.max(Ballot { round: time, proposer: u64::MAX });
        for index in 0..SHARDS {
            let shard = self.records.shard(index).lock();
            for group in shard.groups.values() {
                highest = highest.max(group.floor);
                for entry in group.records.values() {
                    let round = entry.meta().map_or(0, |meta| meta.version.to_u64());
                    highest = highest.max(Ballot { round, proposer: u64::MAX });
                    if let Some(ballots) = entry.ballots() {
                        highest = highest.max(ballots.promised).max(ballots.accepted);
                    }
                }
            }
        }
        highest
    }
}
