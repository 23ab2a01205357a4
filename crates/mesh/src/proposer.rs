//! A proposer: the part of a node that carries operations through registers.
//!
//! [`Proposer`] is what all operations of one node share (its name in ballots, time, the last round and
//! epoch seen); an [`Attempt`](crate::attempt::Attempt) is one operation on its way. Both only turn events
//! into [`Action`]s. Nothing here is persisted: a proposer that restarts is a new one, with a new random
//! name, so its ballots never meet those it used before.

use larder_format::clock::{Hlc, HlcState};
use larder_format::error::Kind;
use larder_format::operation::Outcome;
use larder_format::record::Ballot;

use crate::message::{ReplicaIndex, Request};
use crate::planted::{Faults, Planted};

/// Most times an operation starts over before it gives up. With back-off that is seconds, beyond which the
/// caller wants an answer more than another attempt.
pub const ATTEMPTS_MAX: u32 = 12;

/// What a proposer is told when it is made.
#[derive(Debug, Clone, Copy)]
pub struct ProposerConfig {
    /// Number of replicas, at most [`REPLICAS_MAX`](crate::message::REPLICAS_MAX).
    pub replicas: u8,
    /// The replica that is cheapest to read whole states from: the one on this node, or else the nearest.
    pub nearest: ReplicaIndex,
    /// Longest time to live the namespace allows now, in milliseconds; `None`: any, also no end.
    pub ttl_max_ms: Option<u64>,
    /// How far apart believable clocks are, in milliseconds.
    pub clock_bound_ms: u64,
    /// Planted bug; nothing in normal builds.
    pub faults: Faults,
}

/// What all operations of one proposer share.
#[derive(Debug, Clone)]
pub struct Proposer {
    pub(crate) config: ProposerConfig,
    name: u64,
    pub(crate) clock: HlcState,
    round: u64,
    epoch: u64,
    tag: u64,
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this request to a replica. It may be lost.
    Send {
        /// Which replica.
        to: ReplicaIndex,
        /// What.
        request: Request,
    },
    /// Call [`Attempt::on_timer`](crate::attempt::Attempt::on_timer) with this tag after a while.
    Timer {
        /// Tells which phase the timer belongs to; timers of earlier phases do nothing.
        tag: u64,
        /// How long.
        wait: Wait,
    },
    /// The operation is over.
    Done(Result<Outcome, Failure>),
}

/// How long to wait. The driver knows the network, so it says how long that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As long as replies may take.
    Replies,
    /// A random time that grows with the number of attempts, because another proposer is at work on this key.
    BackOff {
        /// Attempts so far.
        attempts: u32,
    },
}

/// An operation ended without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may or may not have taken effect, or may still.
    #[error("outcome unknown: replicas did not answer in time; retry under the same operation id")]
    Unknown,
    /// Nothing was changed.
    #[error("no majority of replicas answered; nothing was changed")]
    Unavailable,
}

impl Failure {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Failure::Unknown => Kind::Unknown,
            Failure::Unavailable => Kind::Retry,
        }
    }
}

impl Proposer {
    /// A proposer with a random `name` that nobody used before, which believes in `epoch`.
    ///
    /// # Panics
    /// If the configuration names no replicas or too many.
    #[must_use]
    pub fn new(config: ProposerConfig, name: u64, epoch: u64) -> Self {
        assert!(
            config.replicas > 0 && usize::from(config.replicas) <= crate::message::REPLICAS_MAX,
            "a replica set has 1 to REPLICAS_MAX members"
        );
        Self { config, name, clock: HlcState::default(), round: 0, epoch, tag: name }
    }

    /// Replicas that make a majority.
    pub(crate) fn majority(&self) -> usize {
        usize::from(self.config.replicas) / 2 + 1
    }

    /// Replicas that must accept.
    pub(crate) fn accept_quorum(&self) -> usize {
        self.majority() - usize::from(self.config.faults.has(Planted::MinorityCommit))
    }

    /// The epoch it believes in.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes note of an epoch; true if it is news.
    pub(crate) fn learn_epoch(&mut self, epoch: u64) -> bool {
        let news = epoch > self.epoch;
        self.epoch = self.epoch.max(epoch);
        news
    }

    /// Takes note of an acceptor's time; false if it is not believable.
    pub(crate) fn learn_time(&mut self, high: Hlc, wall_ms: u64) -> bool {
        let bound_ms = if self.config.faults.has(Planted::ClockUnbounded) {
            u64::MAX
        } else {
            self.config.clock_bound_ms
        };
        self.clock.observe(high, wall_ms, bound_ms).is_ok()
    }

    /// A tag never used before. They start at the random name, so that a late reply to an earlier life of
    /// this node is not taken for one to this.
    pub(crate) fn next_tag(&mut self) -> u64 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    /// A ballot above all this proposer used or heard of. Rounds follow time, so that a first attempt is
    /// rarely below what others promised.
    pub(crate) fn next_ballot(&mut self, wall_ms: u64) -> Ballot {
        self.round = self.clock.tick(wall_ms).to_u64().max(self.round + 1);
        let name = if self.config.faults.has(Planted::BallotShared) { 0 } else { self.name };
        Ballot { round: self.round, proposer: name }
    }

    /// Takes note of a ballot that somebody promised. One too far in the future is left alone: acceptors
    /// would refuse anything above it.
    pub(crate) fn learn_ballot(&mut self, ballot: Ballot, wall_ms: u64) {
        let latest_ms = wall_ms.max(self.clock.high().ms()).saturating_add(self.config.clock_bound_ms);
        if Hlc::from_u64(ballot.round).ms() <= latest_ms {
            self.round = self.round.max(ballot.round);
        }
    }
}
