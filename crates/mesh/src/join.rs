//! How a replica that lost its memory comes back: it takes over the state of f+1 *other* replicas, each of
//! which has first fenced to its new incarnation, and votes only then.
//!
//! Why f+1 others: whatever the lost incarnation helped to decide was accepted by f others as well, out of
//! 2f; f+1 of them cannot all have missed it. Why fenced first: otherwise one of them could, after sending
//! its state, still add its vote to one that the lost incarnation gave. Both are shown by planted bugs.

use std::collections::BTreeMap;
use std::ops::Bound;

use larder_format::clock::Hlc;
use larder_format::record::{Ballot, Ballots, Key, RecordSlot};

use crate::acceptor::{Acceptor, PartitionRecord};
use crate::message::{JoinAsk, JoinPage, ReplicaIndex};
use crate::planted::Planted;

/// Most slots in one page of state.
pub const JOIN_PAGE_SLOTS_MAX: usize = 1024;

/// A replica's taking over of state.
#[derive(Debug, Clone)]
pub struct Joiner {
    epoch: u64,
    need: usize,
    done: Vec<ReplicaIndex>,
    floor: Ballot,
    high: Hlc,
}

impl Joiner {
    /// Starts joining a set of `replicas`, in the epoch whose layout has the new incarnation.
    #[must_use]
    pub fn new(replicas: usize, epoch: u64, acceptor: &Acceptor) -> Self {
        let need = if acceptor.config().faults.has(Planted::RejoinFromOne) { 1 } else { replicas / 2 + 1 };
        Self { epoch, need, done: Vec::new(), floor: Ballot::ZERO, high: Hlc::ZERO }
    }

    /// What to ask a replica, going on after the last key of the page before.
    #[must_use]
    pub fn ask(&self, after: Option<Key>) -> JoinAsk {
        JoinAsk { epoch: self.epoch, after }
    }

    /// Whether this replica's state was taken over in full.
    #[must_use]
    pub fn has(&self, from: ReplicaIndex) -> bool {
        self.done.contains(&from)
    }

    /// Takes note of a page, whose slots the driver has merged ([`merge`]) and made durable (if it has a
    /// disk). Returns true when enough replicas have been heard: then [`Joiner::finish`].
    pub fn on_page(&mut self, from: ReplicaIndex, page: &JoinPage, latest: Hlc) -> bool {
        // A page whose time is beyond what is believable (`latest`) comes from a replica with a wrong clock.
        if page.epoch < self.epoch || page.high > latest {
            return false;
        }
        self.floor = self.floor.max(page.floor);
        self.high = self.high.max(page.high);
        if page.last && !self.has(from) {
            self.done.push(from);
        }
        self.done.len() >= self.need
    }

    /// Lets the acceptor vote. Returns the record to persist.
    ///
    /// # Panics
    /// If too few replicas were heard: voting then could undo what was decided.
    pub fn finish(&self, acceptor: &mut Acceptor) -> PartitionRecord {
        assert!(self.done.len() >= self.need, "a replica votes only after taking over enough state");
        acceptor.joined(self.epoch, self.floor, self.high)
    }
}

/// Answers a [`JoinAsk`]: fences, then sends a page. The page may leave when the record (if any) and all that
/// the page shows are durable. `None` while this replica itself does not vote.
pub fn answer(
    acceptor: &mut Acceptor,
    slots: &BTreeMap<Key, RecordSlot>,
    ask: &JoinAsk,
) -> Option<(JoinPage, Option<PartitionRecord>)> {
    if !acceptor.is_voting() {
        return None;
    }
    let record = acceptor.fence(ask.epoch);
    let from = ask.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = slots.range((from, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(JOIN_PAGE_SLOTS_MAX).map(|(k, s)| (k.clone(), s.clone())).collect();
    let last = rest.next().is_none();
    // The fence is what the asker checks, so an unfenced answer must claim it to be believed.
    let epoch = acceptor.epoch().max(ask.epoch);
    Some((JoinPage { epoch, floor: acceptor.floor(), high: acceptor.high(), slots: page, last }, record))
}

/// Merges what another replica has for a key into what was taken over so far: the higher accepted state, and
/// the higher promise.
pub fn merge(mine: &mut RecordSlot, theirs: RecordSlot) {
    let (a, b) = (mine.ballots.unwrap_or_default(), theirs.ballots.unwrap_or_default());
    if b.accepted > a.accepted {
        mine.state = theirs.state;
    }
    mine.ballots =
        Some(Ballots { promised: a.promised.max(b.promised), accepted: a.accepted.max(b.accepted) });
}
