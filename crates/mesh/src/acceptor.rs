//! An acceptor: one replica's part of every register of a partition.
//!
//! [`Acceptor`] is the partition-wide state (epoch, floor, time); what is kept per key is passed in and the
//! change to it handed back, so any store can hold it. **Persist before reply**: a [`Reaction`]'s reply may
//! leave only when its `change`, its `partition` record *and everything the reaction saw* are durable. A
//! driver that writes all of it to one log meets this by releasing replies in log order.
//!
//! Refusals change nothing per key. Time is noted from every message whose time is believable.

use larder_format::clock::Hlc;
use larder_format::record::{Ballot, Ballots, Content, RecordSlot, RecordState, Version};

use crate::message::{Answer, Ask, Refused, Reply, Request, Summary, Value};
use crate::planted::{Faults, Planted};

/// How many clock bounds beyond the longest time to live a shadow stays. The ballot that wrote it may be
/// stamped one bound early; a competing write may have been decided on up to two bounds later (messages that
/// took longer are refused as too old) by a clock one bound ahead.
pub const SWEEP_SLACK_BOUNDS: u64 = 4;

/// What an acceptor is told when it is made.
#[derive(Debug, Clone, Copy)]
pub struct AcceptorConfig {
    /// Longest time to live ever allowed in the namespace, in milliseconds; `None` if values without end were
    /// ever allowed. Decides when shadows may go.
    pub ttl_max_ever_ms: Option<u64>,
    /// How far apart believable clocks are, in milliseconds.
    pub clock_bound_ms: u64,
    /// How far ahead of its time the persisted mark is set, in milliseconds: one small write per step of time
    /// instead of one per message. After a crash time starts at the mark, so values may expire early by this.
    pub time_step_ms: u64,
    /// Planted bug; nothing in normal builds.
    pub faults: Faults,
}

/// One replica's state for a partition, beside the slots of its keys.
#[derive(Debug, Clone)]
pub struct Acceptor {
    config: AcceptorConfig,
    epoch: u64,
    floor: Ballot,
    high: Hlc,
    /// Persisted: after a crash time starts here. Never below `high` when a reply leaves.
    time_until: Hlc,
    voting: bool,
}

/// What of an acceptor must be durable, beside its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionRecord {
    /// Requests of lower epochs are refused.
    pub epoch: u64,
    /// Ballots below are refused.
    pub floor: Ballot,
    /// Time starts here after a crash.
    pub time_until: Hlc,
}

/// What is kept for one key, as the acceptor sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slot<'a> {
    /// `None` if nothing is kept.
    pub ballots: Option<Ballots>,
    /// The accepted state.
    pub state: Option<&'a RecordState>,
}

impl<'a> From<Option<&'a RecordSlot>> for Slot<'a> {
    fn from(slot: Option<&'a RecordSlot>) -> Self {
        slot.map_or(Self::default(), |s| Slot { ballots: s.ballots, state: s.state.as_ref() })
    }
}

/// What to do with what is kept for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Leave it.
    Keep,
    /// Replace the ballots; the state stays.
    Ballots(Ballots),
    /// Replace all.
    Store(RecordSlot),
    /// Drop all. The floor has been raised; its record is in the same reaction.
    Remove,
}

/// What an acceptor does with a request. See the module for the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// To the key's slot. For [`Planted::PromiseNotDurable`] the driver asks [`Reaction::volatile`].
    pub change: Change,
    /// To the partition's record.
    pub partition: Option<PartitionRecord>,
    /// To the sender.
    pub reply: Option<Reply>,
}

impl Acceptor {
    /// An acceptor of a new partition, which nobody has voted in yet.
    #[must_use]
    pub fn new(config: AcceptorConfig) -> Self {
        Self::open(config, PartitionRecord::default())
    }

    /// An acceptor that continues from what it persisted.
    #[must_use]
    pub fn open(config: AcceptorConfig, record: PartitionRecord) -> Self {
        let PartitionRecord { epoch, floor, time_until } = record;
        let high = if config.faults.has(Planted::TimeNotDurable) { Hlc::ZERO } else { time_until };
        Self { config, epoch, floor, high, time_until, voting: true }
    }

    /// An acceptor that lost what it had. It does not vote until [`Acceptor::joined`].
    #[must_use]
    pub fn empty(config: AcceptorConfig, epoch: u64) -> Self {
        let voting = config.faults.has(Planted::RejoinAmnesia);
        Self { epoch, voting, ..Self::new(config) }
    }

    /// Whether it takes part.
    #[must_use]
    pub fn is_voting(&self) -> bool {
        self.voting
    }

    /// The epoch it has fenced to.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Below this, everything is refused.
    #[must_use]
    pub fn floor(&self) -> Ballot {
        self.floor
    }

    /// The highest time it has seen.
    #[must_use]
    pub fn high(&self) -> Hlc {
        self.high
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &AcceptorConfig {
        &self.config
    }

    /// Fences to an epoch: requests of lower ones are refused from now on. Returns the record to persist.
    pub fn fence(&mut self, epoch: u64) -> Option<PartitionRecord> {
        if epoch <= self.epoch || self.config.faults.has(Planted::RejoinWithoutFence) {
            return None;
        }
        self.epoch = epoch;
        Some(self.record())
    }

    /// Ends joining: floor and time of those whose state was taken over. Returns the record to persist.
    pub fn joined(&mut self, epoch: u64, floor: Ballot, high: Hlc) -> PartitionRecord {
        self.epoch = self.epoch.max(epoch);
        self.floor = self.floor.max(floor);
        self.note(high);
        self.voting = true;
        self.record()
    }

    fn record(&self) -> PartitionRecord {
        PartitionRecord { epoch: self.epoch, floor: self.floor, time_until: self.time_until }
    }

    /// Moves time forward. Returns whether the persisted mark moved.
    fn note(&mut self, time: Hlc) -> bool {
        self.high = self.high.max(time);
        if self.high <= self.time_until {
            return false;
        }
        self.time_until = Hlc::from_ms(self.high.ms() + 1 + self.config.time_step_ms);
        true
    }

    /// Whether the request's time and ballot are believable, given this machine's clock.
    fn check_time(&self, now: Hlc, ballot: Option<Ballot>, wall_ms: u64) -> Result<(), Refused> {
        if self.config.faults.has(Planted::ClockUnbounded) {
            return Ok(());
        }
        let bound_ms = self.config.clock_bound_ms;
        let latest_ms = wall_ms.max(self.high.ms()).saturating_add(bound_ms);
        let round_ms = ballot.map_or(0, |b| Hlc::from_u64(b.round).ms());
        if now.ms() > latest_ms || round_ms > latest_ms {
            return Err(Refused::ClockAhead);
        }
        // One of the two clocks is wrong. If it is ours, refusing keeps us from spreading it.
        if now.ms().saturating_add(bound_ms) < wall_ms {
            return Err(Refused::ClockBehind);
        }
        Ok(())
    }

    /// Handles a request about one key.
    pub fn handle(&mut self, slot: Slot<'_>, request: &Request, wall_ms: u64) -> Reaction {
        let ballot = match &request.ask {
            Ask::Prepare { ballot, .. } | Ask::Accept { ballot, .. } => Some(*ballot),
            Ask::Read { .. } | Ask::Fetch { .. } | Ask::Forget { .. } => None,
        };
        if !self.voting {
            return self.refuse(request, Refused::NotVoting, None);
        }
        let unfenced = self.config.faults.has(Planted::RejoinWithoutFence);
        if request.epoch < self.epoch && !unfenced {
            return self.refuse(request, Refused::StaleEpoch, None);
        }
        if let Err(refused) = self.check_time(request.now, ballot, wall_ms) {
            return self.refuse(request, refused, None);
        }
        let mut partition = self.fence(request.epoch);
        // Both times are within the bound of each other, so each vouches for the other.
        let merges = !self.config.faults.has(Planted::TimeNotMerged);
        if merges && self.note(request.now.max(Hlc::from_ms(wall_ms))) {
            partition = Some(self.record());
        }
        match &request.ask {
            Ask::Read { want_state } => {
                let answer = Answer::Seen(self.summary(slot, *want_state));
                self.reply(request, Change::Keep, partition, answer)
            }
            Ask::Prepare { ballot, want_state } => {
                let promised = self.promised(slot);
                if *ballot < promised {
                    return self.refuse(request, Refused::Promised(promised), partition);
                }
                let accepted = slot.ballots.unwrap_or_default().accepted;
                let change = Change::Ballots(Ballots { promised: *ballot, accepted });
                let answer = Answer::Seen(self.summary(slot, *want_state));
                self.reply(request, change, partition, answer)
            }
            Ask::Accept { ballot, holds_before_ms, value } => {
                match self.accept(slot, *ballot, *holds_before_ms, value) {
                    Ok(change) => self.reply(request, change, partition, Answer::Accepted),
                    Err(Some(refused)) => self.refuse(request, refused, partition),
                    Err(None) => self.reply(request, Change::Keep, partition, Answer::Missing),
                }
            }
            Ask::Fetch { .. } => {
                let accepted = slot.ballots.unwrap_or_default().accepted;
                let answer = Answer::State { accepted, state: slot.state.cloned() };
                self.reply(request, Change::Keep, partition, answer)
            }
            Ask::Forget { ballot } => self.forget(slot, *ballot, partition),
        }
    }

    /// Below this the acceptor answers nothing about the key. Absent keys behave as promised at the floor.
    fn promised(&self, slot: Slot<'_>) -> Ballot {
        if self.config.faults.has(Planted::IgnoredPromise) {
            return Ballot::ZERO;
        }
        slot.ballots.unwrap_or_default().promised.max(self.floor)
    }

    fn summary(&self, slot: Slot<'_>, want_state: bool) -> Summary {
        Summary {
            accepted: slot.ballots.unwrap_or_default().accepted,
            floor: self.floor,
            meta: slot.state.map(RecordState::meta),
            state: slot.state.filter(|_| want_state).cloned(),
        }
    }

    /// The change an accept makes; `Err(None)` if the state it refers to is not here.
    fn accept(
        &self,
        slot: Slot<'_>,
        ballot: Ballot,
        holds_before_ms: u64,
        value: &Value,
    ) -> Result<Change, Option<Refused>> {
        let promised = self.promised(slot);
        if ballot < promised {
            return Err(Some(Refused::Promised(promised)));
        }
        let ballots = Ballots { promised: ballot, accepted: ballot };
        let before = slot.ballots.unwrap_or_default().accepted;
        if before == ballot {
            // A copy of an accept that was done already: the answer is the same, whatever the time is now.
            return Ok(Change::Keep);
        }
        if self.high.ms() >= holds_before_ms && !self.config.faults.has(Planted::LateAccept) {
            return Err(Some(Refused::Late));
        }
        let state = match value {
            Value::Full(state) => state.clone(),
            Value::Same { accepted } if *accepted == before => return Ok(Change::Ballots(ballots)),
            Value::Changed { accepted, version, expiry, takes_left, operations } if *accepted == before => {
                let mut state = slot.state.ok_or(None)?.clone();
                let Content::Live(live) = &mut state.content else { return Err(None) };
                live.takes_left = *takes_left;
                RecordState { version: *version, expiry: *expiry, operations: operations.clone(), ..state }
            }
            Value::Same { .. } | Value::Changed { .. } => return Err(None),
        };
        if let (Some(max_ms), Content::Live(_)) = (self.config.ttl_max_ever_ms, &state.content) {
            let latest_ms = self.high.ms().saturating_add(max_ms);
            if state.expiry.ms().unwrap_or(u64::MAX) > latest_ms {
                return Err(Some(Refused::ExpiryTooFar));
            }
        }
        let state = self.restarted_expiry(state);
        Ok(Change::Store(RecordSlot { ballots: Some(ballots), state: Some(state) }))
    }

    /// [`Planted::ExpiryRestarted`]; the state as it is in normal builds.
    fn restarted_expiry(&self, mut state: RecordState) -> RecordState {
        if self.config.faults.has(Planted::ExpiryRestarted)
            && let Some(end_ms) = state.expiry.ms()
        {
            let ttl_ms = end_ms.saturating_sub(state.version.0.ms());
            state.expiry = larder_format::record::Expiry::at_ms(self.high.ms() + ttl_ms);
        }
        state
    }

    fn forget(&mut self, slot: Slot<'_>, ballot: Ballot, partition: Option<PartitionRecord>) -> Reaction {
        let mut reaction = Reaction { change: Change::Keep, partition, reply: None };
        let (Some(ballots), Some(state)) = (slot.ballots, slot.state) else { return reaction };
        let is_shadow = matches!(state.content, Content::Shadow(_));
        if ballots.accepted == ballot && is_shadow && self.operations_over(state) {
            reaction.partition = self.drop_slot(ballots, Some(state.version)).or(partition);
            reaction.change = Change::Remove;
        }
        reaction
    }

    fn operations_over(&self, state: &RecordState) -> bool {
        state.operations.iter().all(|o| o.deadline_ms <= self.high.ms())
    }

    /// Raises the floor over what is about to be dropped. Returns the record to persist with the removal.
    fn drop_slot(&mut self, ballots: Ballots, version: Option<Version>) -> Option<PartitionRecord> {
        if self.config.faults.has(Planted::FloorNotRaised) {
            return None;
        }
        let version = Ballot { round: version.map_or(0, Version::to_u64), proposer: 0 };
        self.floor = self.floor.max(ballots.promised).max(ballots.accepted).max(version);
        Some(self.record())
    }

    /// Drops what is kept for a key if no older copy of it can come back any more: a shadow when every older
    /// value would have expired by itself, or a promise that nobody can be using. Call now and then for keys
    /// whose time is up. Values whose time is up stay until somebody's read has made shadows of them.
    pub fn sweep(&mut self, slot: Slot<'_>) -> Reaction {
        let mut reaction = Reaction { change: Change::Keep, partition: None, reply: None };
        let Some(ballots) = slot.ballots else { return reaction };
        let old =
            |ballot: Ballot, ms: u64| Hlc::from_u64(ballot.round).ms().saturating_add(ms) <= self.high.ms();
        let slack_ms = SWEEP_SLACK_BOUNDS * self.config.clock_bound_ms;
        let done = match slot.state {
            // Only a promise: whoever got it has long given up, and the floor goes on keeping it.
            None => old(ballots.promised, slack_ms),
            Some(state) if matches!(state.content, Content::Shadow(_)) && self.operations_over(state) => {
                // The ballot's round is when the shadow was written; older copies have lower ballots.
                let max_ms = self.config.ttl_max_ever_ms;
                max_ms.is_some_and(|max_ms| old(ballots.accepted, max_ms.saturating_add(slack_ms)))
                    || self.config.faults.has(Planted::ShadowDroppedEarly)
            }
            Some(_) => false,
        };
        if done {
            reaction.partition = self.drop_slot(ballots, slot.state.map(|s| s.version));
            reaction.change = Change::Remove;
        }
        reaction
    }

    fn reply(
        &self,
        request: &Request,
        change: Change,
        partition: Option<PartitionRecord>,
        answer: Answer,
    ) -> Reaction {
        let reply = Reply { tag: request.tag, epoch: self.epoch, high: self.high, answer };
        Reaction { change, partition, reply: Some(reply) }
    }

    fn refuse(&self, request: &Request, refused: Refused, partition: Option<PartitionRecord>) -> Reaction {
        self.reply(request, Change::Keep, partition, Answer::Refused(refused))
    }
}

impl Reaction {
    /// [`Planted::PromiseNotDurable`]: whether the change is kept in memory only.
    #[must_use]
    pub fn volatile(&self, faults: Faults) -> bool {
        faults.has(Planted::PromiseNotDurable)
            && matches!(self.change, Change::Ballots(b) if b.promised != b.accepted)
    }
}
