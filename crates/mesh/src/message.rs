//! What proposers and acceptors say to each other. [`wire`](crate::wire) has the bytes.
//!
//! Every request carries the sender's hybrid time and the epoch of the layout it believes in; every reply
//! carries the acceptor's. States are named by the ballot they were accepted under, because a ballot is used
//! for one state only: so bytes travel only to where that state is missing.

use larder_format::clock::Hlc;
use larder_format::record::{
    Ballot, Expiry, Key, OperationRecord, RecordMeta, RecordSlot, RecordState, Version,
};

/// Position of a replica in its replica set.
pub type ReplicaIndex = u8;

/// Most replicas a partition may have. More would slow every majority and help nobody.
pub const REPLICAS_MAX: usize = 9;

/// From a proposer to an acceptor, about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the reply. Unique per proposer and phase, so late replies are told apart.
    pub tag: u64,
    /// Epoch of the layout the proposer believes in.
    pub epoch: u64,
    /// The proposer's hybrid time.
    pub now: Hlc,
    /// About which key.
    pub key: Key,
    /// What is asked.
    pub ask: Ask,
}

/// What a proposer asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// What was accepted? Stores nothing for the key.
    Read {
        /// Send the state's bytes as well.
        want_state: bool,
    },
    /// Promise this ballot, and tell what was accepted.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// Send the state's bytes as well.
        want_state: bool,
    },
    /// Accept this state under this ballot.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// Refuse if your time, in milliseconds, is at or beyond this.
        holds_before_ms: u64,
        /// The state.
        value: Value,
    },
    /// Send the state accepted under this ballot, or what you have instead.
    Fetch {
        /// The ballot.
        accepted: Ballot,
    },
    /// All replicas have accepted this shadow under this ballot: no older copy is left. No reply.
    Forget {
        /// The ballot.
        ballot: Ballot,
    },
}

/// A state to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// All of it.
    Full(RecordState),
    /// The one you accepted under this ballot.
    Same {
        /// That ballot.
        accepted: Ballot,
    },
    /// The one you accepted under this ballot, with these parts changed (touch and take).
    Changed {
        /// That ballot.
        accepted: Ballot,
        /// The new version.
        version: Version,
        /// The new expiry.
        expiry: Expiry,
        /// The new reads left.
        takes_left: Option<u32>,
        /// The operations now remembered.
        operations: Vec<OperationRecord>,
    },
}

/// From an acceptor to a proposer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request's.
    pub tag: u64,
    /// Epoch the acceptor has fenced to.
    pub epoch: u64,
    /// Highest hybrid time the acceptor has seen, the request's included.
    pub high: Hlc,
    /// What it says.
    pub answer: Answer,
}

/// What an acceptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a read, or to a prepare that it promises.
    Seen(Summary),
    /// To an accept: done.
    Accepted,
    /// To an accept: I do not have the state you refer to. Nothing was changed but time.
    Missing,
    /// To a fetch.
    State {
        /// Where it was accepted.
        accepted: Ballot,
        /// The state; `None` if there is none.
        state: Option<RecordState>,
    },
    /// No. Nothing was changed, except that time was noted where the refusal is not about time.
    Refused(Refused),
}

/// What an acceptor has accepted for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Under which ballot; [`Ballot::ZERO`] if nothing was.
    pub accepted: Ballot,
    /// The partition's floor: per-key state up to here may have been dropped.
    pub floor: Ballot,
    /// The state but its bytes.
    pub meta: Option<RecordMeta>,
    /// The state, if it was asked for.
    pub state: Option<RecordState>,
}

/// Why an acceptor said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It promised this higher ballot, or its floor is there.
    Promised(Ballot),
    /// What the accept rests on has ended by the acceptor's time.
    Late,
    /// The expiry is beyond what the namespace ever allowed.
    ExpiryTooFar,
    /// The request's time is too far ahead of the acceptor's; not noted.
    ClockAhead,
    /// The request's time is too far behind the acceptor's clock; not noted.
    ClockBehind,
    /// The request is of an epoch that the acceptor has fenced off.
    StaleEpoch,
    /// The acceptor lost its memory and has not taken over state yet.
    NotVoting,
}

/// From a replica that lost its memory, to the others. Asks for a page of what they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAsk {
    /// Epoch in which the layout knows the asker's new incarnation. Whoever answers fences to it first.
    pub epoch: u64,
    /// Keys after this one; `None` from the start.
    pub after: Option<Key>,
}

/// A page of a replica's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinPage {
    /// Epoch the sender has fenced to; at least the ask's.
    pub epoch: u64,
    /// Its floor.
    pub floor: Ballot,
    /// Highest hybrid time it has seen.
    pub high: Hlc,
    /// Keys in order.
    pub slots: Vec<(Key, RecordSlot)>,
    /// Whether this was the last page.
    pub last: bool,
}
