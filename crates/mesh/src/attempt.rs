//! One operation on its way through a register: read in one round where a majority agrees, else prepare,
//! decide, accept.
//!
//! ```text
//!  get ──► Reading ──majority reports one ballot──► answer
//!             │ they differ, or its time is up for some only
//!             ▼
//!         Preparing ──promises of a majority──► decide ──nothing changes and a majority has it──► answer
//!             ▲            (Fetching the bytes if needed) │
//!             │                                           ▼ its effect, or completing what was found
//!         BackingOff ◄──refused, timed out────────── Accepting ──majority──► answer
//! ```
//!
//! Rules kept here, each shown by a planted bug: what was seen on fewer than a majority is completed before
//! anything is answered from it (failed conditions and remembered results too); an operation without id is
//! never applied again after an accept of its effect was sent; one with an id that failed to settle an accept
//! answers a failure only after writing back what it saw, so that its own accept cannot surface later.

use larder_format::clock::Hlc;
use larder_format::operation::{Identity, Operation, Outcome, Refusal};
use larder_format::record::{Ballot, Content, Key, RecordMeta, RecordState, ShadowReason, Version};

use crate::message::{Answer, Ask, Refused, ReplicaIndex, Reply, Request, Summary, Value};
use crate::planted::Planted;
use crate::proposer::{ATTEMPTS_MAX, Action, Failure, Proposer, Wait};
use crate::rules::{self, Context, Current, Decision};

/// An operation to carry through a register.
#[derive(Debug, Clone)]
pub struct Task {
    /// On which key.
    pub key: Key,
    /// What.
    pub operation: Operation,
    /// To recognise a retry.
    pub identity: Option<Identity>,
    /// Answer only after writing back what was seen under a new ballot: nothing that was proposed before and
    /// not seen can take effect after. A lease may be ended only on such a read.
    pub confirm: bool,
}

/// Where an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    Preparing,
    /// Getting the bytes, to go on from the summaries of the phase before.
    Fetching {
        read: bool,
    },
    Accepting,
    BackingOff,
    /// Answered; still hearing whether all replicas have the shadow.
    Lingering,
    Finished,
}

/// One operation on its way.
#[derive(Debug, Clone)]
pub struct Attempt {
    task: Task,
    phase: Phase,
    tag: u64,
    attempts: u32,
    ballot: Ballot,
    /// The time this phase's question carried, or a little before.
    asked: Hlc,
    /// Whether an accept of this operation's own effect was sent and not settled: it may surface.
    at_risk: bool,
    /// What replicas reported in this phase.
    seen: Vec<Seen>,
    refused: Vec<(ReplicaIndex, Refused)>,
    /// A state and the ballot it was accepted under.
    have: Option<(Ballot, RecordState)>,
    proposal: Option<Proposal>,
    accepted_by: Vec<ReplicaIndex>,
    /// Replicas that lack the state which the accept refers to.
    missing: Vec<ReplicaIndex>,
}

#[derive(Debug, Clone)]
struct Seen {
    from: ReplicaIndex,
    high: Hlc,
    summary: Summary,
}

/// What is being accepted.
#[derive(Debug, Clone)]
struct Proposal {
    outcome: Outcome,
    /// The state, if its bytes are here.
    state: Option<RecordState>,
    /// A shorter form for those who accepted under [`Proposal::base`].
    short: Option<Value>,
    base: Ballot,
    holds_before_ms: u64,
    /// Whether it is the operation's own effect, not somebody's write being completed.
    own: bool,
    shadow: bool,
}

impl Attempt {
    /// Starts an operation.
    pub fn start(proposer: &mut Proposer, task: Task, wall_ms: u64, out: &mut Vec<Action>) -> Self {
        let mut attempt = Self {
            task,
            phase: Phase::Finished,
            tag: 0,
            attempts: 0,
            ballot: Ballot::ZERO,
            asked: Hlc::ZERO,
            at_risk: false,
            seen: Vec::new(),
            refused: Vec::new(),
            have: None,
            proposal: None,
            accepted_by: Vec::new(),
            missing: Vec::new(),
        };
        attempt.begin(proposer, wall_ms, out);
        attempt
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Tells which replies and timers are for this attempt.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.task.key
    }

    fn begin(&mut self, proposer: &mut Proposer, wall_ms: u64, out: &mut Vec<Action>) {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            let failure = if self.at_risk { Failure::Unknown } else { Failure::Unavailable };
            self.finish(Err(failure), out);
            return;
        }
        if self.attempts <= 2 && matches!(self.task.operation, Operation::Get) && !self.task.confirm {
            self.enter(Phase::Reading, proposer, out);
            let nearest = proposer.config.nearest;
            self.broadcast(proposer, wall_ms, out, |to| Ask::Read { want_state: to == nearest });
        } else {
            self.prepare(proposer, wall_ms, out);
        }
    }

    fn prepare(&mut self, proposer: &mut Proposer, wall_ms: u64, out: &mut Vec<Action>) {
        self.enter(Phase::Preparing, proposer, out);
        self.ballot = proposer.next_ballot(wall_ms);
        let (nearest, ballot) = (proposer.config.nearest, self.ballot);
        self.broadcast(proposer, wall_ms, out, |to| Ask::Prepare { ballot, want_state: to == nearest });
    }

    fn enter(&mut self, phase: Phase, proposer: &mut Proposer, out: &mut Vec<Action>) {
        self.phase = phase;
        self.tag = proposer.next_tag();
        self.refused.clear();
        if matches!(phase, Phase::Reading | Phase::Preparing) {
            self.seen.clear();
            self.have = None;
            self.proposal = None;
        }
        let wait = match phase {
            Phase::BackingOff => Wait::BackOff { attempts: self.attempts },
            _ => Wait::Replies,
        };
        out.push(Action::Timer { tag: self.tag, wait });
    }

    fn send(&self, proposer: &mut Proposer, wall_ms: u64, to: ReplicaIndex, ask: Ask, out: &mut Vec<Action>) {
        let request = Request {
            tag: self.tag,
            epoch: proposer.epoch(),
            now: proposer.clock.tick(wall_ms),
            key: self.task.key.clone(),
            ask,
        };
        out.push(Action::Send { to, request });
    }

    fn broadcast(
        &mut self,
        proposer: &mut Proposer,
        wall_ms: u64,
        out: &mut Vec<Action>,
        ask: impl Fn(ReplicaIndex) -> Ask,
    ) {
        self.asked = proposer.clock.tick(wall_ms);
        for to in 0..proposer.config.replicas {
            self.send(proposer, wall_ms, to, ask(to), out);
        }
    }

    fn finish(&mut self, result: Result<Outcome, Failure>, out: &mut Vec<Action>) {
        self.phase = Phase::Finished;
        out.push(Action::Done(result));
    }

    fn back_off(&mut self, proposer: &mut Proposer, out: &mut Vec<Action>) {
        self.enter(Phase::BackingOff, proposer, out);
    }

    /// A timer went off.
    pub fn on_timer(&mut self, proposer: &mut Proposer, tag: u64, wall_ms: u64, out: &mut Vec<Action>) {
        if tag != self.tag {
            return;
        }
        match self.phase {
            Phase::Finished => {}
            Phase::Lingering => self.phase = Phase::Finished,
            Phase::BackingOff => self.begin(proposer, wall_ms, out),
            // Some replied, but not one answer from a majority: settle it.
            Phase::Reading if self.seen.len() >= proposer.majority() => self.prepare(proposer, wall_ms, out),
            Phase::Reading | Phase::Preparing | Phase::Fetching { .. } => self.back_off(proposer, out),
            Phase::Accepting => self.accept_failed(proposer, out),
        }
    }

    /// A replica replied. Replies to earlier phases do nothing.
    pub fn on_reply(
        &mut self,
        proposer: &mut Proposer,
        from: ReplicaIndex,
        reply: Reply,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let news = proposer.learn_epoch(reply.epoch);
        if reply.tag != self.tag || self.phase == Phase::Finished {
            return;
        }
        // A replica whose time is not believable has no vote: what it says about expiry would spread.
        if !matches!(reply.answer, Answer::Refused(_)) && !proposer.learn_time(reply.high, wall_ms) {
            return;
        }
        match (self.phase, reply.answer) {
            (_, Answer::Refused(refused)) => {
                if let Refused::Promised(ballot) = refused {
                    proposer.learn_ballot(ballot, wall_ms);
                }
                self.on_refused(proposer, from, refused, news, wall_ms, out);
            }
            (Phase::Reading | Phase::Preparing, Answer::Seen(summary)) => {
                self.on_seen(proposer, from, reply.high, summary, wall_ms, out);
            }
            (Phase::Fetching { read }, Answer::State { accepted, state }) => {
                self.on_fetched(proposer, read, accepted, state, wall_ms, out);
            }
            (Phase::Accepting | Phase::Lingering, Answer::Accepted) => {
                self.on_accepted(proposer, from, wall_ms, out);
            }
            (Phase::Accepting, Answer::Missing) => self.on_missing(proposer, from, wall_ms, out),
            (Phase::Accepting, Answer::State { accepted, state: Some(state) }) => {
                self.on_late_state(proposer, accepted, &state, wall_ms, out);
            }
            _ => {}
        }
    }

    fn on_refused(
        &mut self,
        proposer: &mut Proposer,
        from: ReplicaIndex,
        refused: Refused,
        news: bool,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        if matches!(self.phase, Phase::Lingering | Phase::BackingOff) {
            return;
        }
        if !self.refused.iter().any(|(r, _)| *r == from) {
            self.refused.push((from, refused));
        }
        let clocks = [Refused::ClockAhead, Refused::ClockBehind];
        let clock = self.refused.iter().filter(|(_, r)| clocks.contains(r)).count();
        if clock >= proposer.majority() {
            let answer =
                if self.at_risk { Err(Failure::Unknown) } else { Ok(Outcome::Refused(Refusal::ClockAhead)) };
            self.finish(answer, out);
            return;
        }
        // As soon as no majority can come together, waiting is in vain.
        let hopeless = usize::from(proposer.config.replicas) - self.refused.len() < proposer.majority();
        match self.phase {
            Phase::Accepting if hopeless => self.accept_failed(proposer, out),
            Phase::Reading | Phase::Preparing if news => self.begin(proposer, wall_ms, out),
            Phase::Fetching { .. } => self.back_off(proposer, out),
            Phase::Reading | Phase::Preparing if hopeless => self.back_off(proposer, out),
            _ => {}
        }
    }

    fn on_seen(
        &mut self,
        proposer: &mut Proposer,
        from: ReplicaIndex,
        high: Hlc,
        mut summary: Summary,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        if self.seen.iter().any(|s| s.from == from) {
            return;
        }
        if let Some(state) = summary.state.take() {
            self.have = Some((summary.accepted, state));
        }
        self.seen.push(Seen { from, high, summary });
        if self.phase == Phase::Preparing {
            if self.seen.len() >= proposer.majority() {
                self.decide(proposer, wall_ms, out);
            }
            return;
        }
        let lone = proposer.config.faults.has(Planted::ReadFromOne);
        let agreeing = self.holders(self.seen[self.seen.len() - 1].summary.accepted);
        if agreeing >= proposer.majority() || lone {
            self.answer_read(proposer, wall_ms, out);
        } else if self.seen.len() == usize::from(proposer.config.replicas) {
            self.prepare(proposer, wall_ms, out);
        }
    }

    fn holders(&self, accepted: Ballot) -> usize {
        self.seen.iter().filter(|s| s.summary.accepted == accepted).count()
    }

    /// Where what counts was accepted: for a read, the ballot most agree on; for a prepare, the highest.
    fn basis(&self, read: bool) -> Ballot {
        let ballots = self.seen.iter().map(|s| s.summary.accepted);
        if read { ballots.max_by_key(|b| self.holders(*b)) } else { ballots.max() }.unwrap_or_default()
    }

    fn meta_of(&self, accepted: Ballot) -> Option<RecordMeta> {
        self.seen.iter().find(|s| s.summary.accepted == accepted).and_then(|s| s.summary.meta)
    }

    /// Runs the rules on what was found; `None` if the bytes must be fetched first, which was begun.
    fn apply_rules(
        &mut self,
        proposer: &mut Proposer,
        basis: Ballot,
        read: bool,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) -> Option<(Decision, Context)> {
        let floor = self.seen.iter().map(|s| s.summary.floor.round).max().unwrap_or(0);
        // The time the quorum has seen, not this machine's: acceptors believed what is judged by.
        let seen = self.seen.iter().map(|s| s.high).max().unwrap_or_default();
        let wall_order = proposer.config.faults.has(Planted::WallClockOrder);
        let now = if wall_order { Hlc::from_ms(wall_ms) } else { seen.max(self.asked) };
        let ctx = Context {
            now,
            floor: Version::from_u64(floor),
            ttl_max_ms: proposer.config.ttl_max_ms,
            faults: proposer.config.faults,
        };
        let meta = self.meta_of(basis);
        let current = match (&self.have, &meta) {
            (Some((at, state)), Some(_)) if *at == basis => Current::State(state),
            (_, Some(meta)) => Current::Meta(meta),
            (_, None) => Current::Absent,
        };
        match rules::decide(current, &self.task.operation, self.task.identity.as_ref(), &ctx) {
            Ok(decision) => Some((decision, ctx)),
            Err(rules::NeedState) => {
                self.fetch(proposer, basis, read, wall_ms, out);
                None
            }
        }
    }

    fn fetch(
        &mut self,
        proposer: &mut Proposer,
        accepted: Ballot,
        read: bool,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        self.enter(Phase::Fetching { read }, proposer, out);
        // All of them: whoever answers first saves a round if another was lost.
        let holders: Vec<_> =
            self.seen.iter().filter(|s| s.summary.accepted == accepted).map(|s| s.from).collect();
        for to in holders {
            self.send(proposer, wall_ms, to, Ask::Fetch { accepted }, out);
        }
    }

    fn on_fetched(
        &mut self,
        proposer: &mut Proposer,
        read: bool,
        accepted: Ballot,
        state: Option<RecordState>,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        match state {
            Some(state) if accepted == self.basis(read) => {
                self.have = Some((accepted, state));
                if read {
                    self.answer_read(proposer, wall_ms, out);
                } else {
                    self.decide(proposer, wall_ms, out);
                }
            }
            // Somebody moved on; so do we.
            _ => self.back_off(proposer, out),
        }
    }

    /// Whether what was found is a value whose time is up, and nobody has written that down yet. It must be
    /// (as a shadow, under a new ballot) before anyone is told: a touch that some replica accepted in time
    /// could otherwise be completed later and revive what was called expired.
    fn is_unwritten_end(proposer: &Proposer, meta: Option<&RecordMeta>, now: Hlc) -> bool {
        let ended = meta.is_some_and(|m| m.shadow.is_none() && m.expiry.is_past(now));
        ended && !proposer.config.faults.has(Planted::ExpiryNotWritten)
    }

    fn answer_read(&mut self, proposer: &mut Proposer, wall_ms: u64, out: &mut Vec<Action>) {
        let basis = self.basis(true);
        let Some((decision, ctx)) = self.apply_rules(proposer, basis, true, wall_ms, out) else { return };
        if Self::is_unwritten_end(proposer, self.meta_of(basis).as_ref(), ctx.now) {
            self.prepare(proposer, wall_ms, out);
        } else {
            self.finish(Ok(decision.outcome), out);
        }
    }

    fn decide(&mut self, proposer: &mut Proposer, wall_ms: u64, out: &mut Vec<Action>) {
        let basis = self.basis(false);
        let Some((decision, ctx)) = self.apply_rules(proposer, basis, false, wall_ms, out) else { return };
        let faults = proposer.config.faults;
        if faults.has(Planted::TakeBeforeAccept) && matches!(decision.outcome, Outcome::Taken { .. }) {
            out.push(Action::Done(Ok(decision.outcome.clone())));
        }
        let meta = self.meta_of(basis);
        if let Some(state) = decision.next {
            let short = self.short_form(basis, &state);
            let shadow = matches!(state.content, Content::Shadow(_));
            self.proposal = Some(Proposal {
                outcome: decision.outcome,
                state: Some(state),
                short,
                base: basis,
                holds_before_ms: decision.holds_before_ms,
                own: true,
                shadow,
            });
            self.at_risk = true;
            self.accept(proposer, wall_ms, out);
            return;
        }
        if self.at_risk && decision.outcome == Outcome::Refused(Refusal::DeadlinePassed) {
            // Whether the accept before took effect can no longer be looked up.
            self.finish(Err(Failure::Unknown), out);
            return;
        }
        let settled = self.holders(basis) >= proposer.majority()
            && !Self::is_unwritten_end(proposer, meta.as_ref(), ctx.now);
        let recalled = matches!(
            decision.outcome,
            Outcome::Written { .. } | Outcome::Deleted { .. } | Outcome::Taken { .. }
        );
        // A failure may be told only once an accept of our own, sent before, can no longer surface.
        let barrier =
            (self.task.confirm || (self.at_risk && !recalled)) && !faults.has(Planted::BarrierSkipped);
        let unconfirmed =
            faults.has(Planted::NoWriteBack) || (recalled && faults.has(Planted::IdUnconfirmed));
        if (settled && !barrier) || unconfirmed {
            self.finish(Ok(decision.outcome), out);
            return;
        }
        self.complete(proposer, basis, meta, decision.outcome, &ctx, wall_ms, out);
    }

    /// Proposes what was found under the new ballot, so that a majority holds it before it is answered from.
    #[expect(clippy::too_many_arguments, reason = "what was found, and where to go on")]
    fn complete(
        &mut self,
        proposer: &mut Proposer,
        basis: Ballot,
        meta: Option<RecordMeta>,
        outcome: Outcome,
        ctx: &Context,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let have = self.have.as_ref().filter(|(at, _)| *at == basis).map(|(_, s)| s);
        let expired = meta.is_some_and(|m| m.shadow.is_none() && m.expiry.is_past(ctx.now));
        let (state, short, holds_before_ms) = match (meta, have) {
            // Nothing to write back: a shadow of nothing keeps what was not seen from surfacing.
            (None, _) => {
                let version = Version(ctx.now.max(ctx.floor.0.next()));
                let expiry = larder_format::record::Expiry::NEVER;
                (Some(shadow_of(version, expiry, ShadowReason::Deleted)), None, u64::MAX)
            }
            // Its time is up: completing it as a value would revive it where that is not known yet.
            (Some(m), have) if expired => match have {
                Some(state) => (Some(state.shadow(ShadowReason::Expired)), None, u64::MAX),
                None if m.has_operations => {
                    self.fetch(proposer, basis, false, wall_ms, out);
                    return;
                }
                None => (Some(shadow_of(m.version, m.expiry, ShadowReason::Expired)), None, u64::MAX),
            },
            (Some(m), have) => {
                let end_ms = if m.shadow.is_none() { m.expiry.ms().unwrap_or(u64::MAX) } else { u64::MAX };
                let mut state = have.cloned();
                let mut short = Some(Value::Same { accepted: basis });
                if proposer.config.faults.has(Planted::ExpiryForgotten)
                    && let Some(state) = &mut state
                {
                    state.expiry = larder_format::record::Expiry::NEVER;
                    short = None;
                }
                (state, short, end_ms)
            }
        };
        let shadow = expired || meta.is_none_or(|m| m.shadow.is_some());
        self.proposal =
            Some(Proposal { outcome, state, short, base: basis, holds_before_ms, own: false, shadow });
        self.accept(proposer, wall_ms, out);
    }

    /// How to say the new state to those who have the one before: only touch and take keep its bytes.
    fn short_form(&self, basis: Ballot, next: &RecordState) -> Option<Value> {
        let (_, before) = self.have.as_ref().filter(|(at, _)| *at == basis)?;
        let (Content::Live(a), Content::Live(b)) = (&before.content, &next.content) else { return None };
        // The same bytes in memory, not merely equal ones: rules share what they keep.
        let same = |x: &bytes::Bytes, y: &bytes::Bytes| x.len() == y.len() && x.as_ptr() == y.as_ptr();
        let kept = same(&a.head, &b.head) && same(&a.body, &b.body) && a.tokens == b.tokens;
        let keeps = matches!(self.task.operation, Operation::Touch { .. } | Operation::Take);
        (kept && keeps).then(|| Value::Changed {
            accepted: basis,
            version: next.version,
            expiry: next.expiry,
            takes_left: b.takes_left,
            operations: next.operations.clone(),
        })
    }

    fn accept(&mut self, proposer: &mut Proposer, wall_ms: u64, out: &mut Vec<Action>) {
        self.accepted_by.clear();
        self.missing.clear();
        self.enter(Phase::Accepting, proposer, out);
        let Some(proposal) = self.proposal.take() else { return };
        for to in 0..proposer.config.replicas {
            let reported = self.seen.iter().find(|s| s.from == to).map(|s| s.summary.accepted);
            // Whoever did not report probably has it too, and says so if not.
            let may_have = reported.is_none_or(|at| at == proposal.base);
            let value = match (&proposal.short, &proposal.state) {
                (Some(short), _) if may_have => short.clone(),
                (_, Some(state)) => Value::Full(state.clone()),
                (Some(short), None) => short.clone(),
                (None, None) => continue,
            };
            let ask = Ask::Accept { ballot: self.ballot, holds_before_ms: proposal.holds_before_ms, value };
            self.send(proposer, wall_ms, to, ask, out);
        }
        self.proposal = Some(proposal);
    }

    fn on_accepted(
        &mut self,
        proposer: &mut Proposer,
        from: ReplicaIndex,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        if self.accepted_by.contains(&from) {
            return;
        }
        self.accepted_by.push(from);
        let Some(proposal) = &self.proposal else { return };
        let all = self.accepted_by.len() == usize::from(proposer.config.replicas);
        let shadow = proposal.shadow;
        if self.phase == Phase::Accepting && self.accepted_by.len() >= proposer.accept_quorum() {
            out.push(Action::Done(Ok(proposal.outcome.clone())));
            self.phase = if shadow && !all { Phase::Lingering } else { Phase::Finished };
        }
        let early = proposer.config.faults.has(Planted::ShadowDroppedEarly);
        if shadow && (all || (early && self.phase == Phase::Lingering)) {
            self.phase = Phase::Finished;
            let ballot = self.ballot;
            self.broadcast(proposer, wall_ms, out, |_| Ask::Forget { ballot });
        }
    }

    /// A replica lacks the state the accept refers to: send it, fetching it first if it is not here.
    fn on_missing(
        &mut self,
        proposer: &mut Proposer,
        from: ReplicaIndex,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(proposal) = &self.proposal else { return };
        if let Some(state) = proposal.state.clone() {
            self.send_full(proposer, from, state, wall_ms, out);
        } else if !self.missing.contains(&from) {
            self.missing.push(from);
            let holder = self.seen.iter().find(|s| s.summary.accepted == proposal.base).map(|s| s.from);
            if let Some(to) = holder {
                self.send(proposer, wall_ms, to, Ask::Fetch { accepted: proposal.base }, out);
            }
        }
    }

    fn send_full(
        &self,
        proposer: &mut Proposer,
        to: ReplicaIndex,
        state: RecordState,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(proposal) = &self.proposal else { return };
        let (ballot, holds_before_ms) = (self.ballot, proposal.holds_before_ms);
        let ask = Ask::Accept { ballot, holds_before_ms, value: Value::Full(state) };
        self.send(proposer, wall_ms, to, ask, out);
    }

    /// The bytes of what is being completed arrived.
    fn on_late_state(
        &mut self,
        proposer: &mut Proposer,
        accepted: Ballot,
        state: &RecordState,
        wall_ms: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(proposal) = &mut self.proposal else { return };
        // The holder may have accepted it under our ballot meanwhile: the state is the same.
        if proposal.state.is_none() && (accepted == proposal.base || accepted == self.ballot) {
            proposal.state = Some(state.clone());
            for to in std::mem::take(&mut self.missing) {
                self.send_full(proposer, to, state.clone(), wall_ms, out);
            }
        }
    }

    fn accept_failed(&mut self, proposer: &mut Proposer, out: &mut Vec<Action>) {
        let own = self.proposal.as_ref().is_some_and(|p| p.own);
        let blind = proposer.config.faults.has(Planted::BlindRetry);
        if own && self.task.identity.is_none() && !blind {
            // It may have been accepted by some and be completed by others: applying it again would be twice.
            self.finish(Err(Failure::Unknown), out);
        } else {
            self.back_off(proposer, out);
        }
    }
}

fn shadow_of(version: Version, expiry: larder_format::record::Expiry, reason: ShadowReason) -> RecordState {
    RecordState { version, expiry, content: Content::Shadow(reason), operations: Vec::new() }
}
