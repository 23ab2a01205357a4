//! What an attempt does with what replicas reported: decides, completes what others began, gets it accepted.

use larder_format::clock::Hlc;
use larder_format::operation::{Operation, Outcome, Refusal};
use larder_format::record::{Ballot, Content, Expiry, RecordMeta, RecordState, ShadowReason, Version};

use super::{Attempt, Phase, Proposal, Run};
use crate::message::{Ask, ReplicaIndex, Value};
use crate::planted::Planted;
use crate::proposer::{Action, Failure};
use crate::rules::{self, Context, Current, Decision};

impl Attempt {
    /// Where what counts was accepted: for a read, the ballot most agree on; for a prepare, the highest.
    pub(super) fn basis(&self, read: bool) -> Ballot {
        let ballots = self.seen.iter().map(|s| s.summary.accepted);
        if read { ballots.max_by_key(|b| self.holders(*b)) } else { ballots.max() }.unwrap_or_default()
    }

    pub(super) fn meta_of(&self, accepted: Ballot) -> Option<RecordMeta> {
        self.seen.iter().find(|s| s.summary.accepted == accepted).and_then(|s| s.summary.meta)
    }

    /// Runs the rules on what was found; `None` if the bytes must be fetched first, which was begun.
    pub(super) fn apply_rules(
        &mut self,
        run: &mut Run<'_>,
        basis: Ballot,
        read: bool,
    ) -> Option<(Decision, Context)> {
        let floor = self.seen.iter().map(|s| s.summary.floor.round).max().unwrap_or(0);
        // The time the quorum has seen, not this machine's: acceptors believed what is judged by.
        let seen = self.seen.iter().map(|s| s.high).max().unwrap_or_default();
        let wall_order = run.proposer.config.faults.has(Planted::WallClockOrder);
        let now = if wall_order { Hlc::from_ms(run.wall_ms) } else { seen.max(self.asked) };
        let ctx = Context {
            now,
            floor: Version::from_u64(floor),
            ttl_max_ms: run.proposer.config.ttl_max_ms,
            faults: run.proposer.config.faults,
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
                self.fetch(run, basis, read);
                None
            }
        }
    }

    pub(super) fn fetch(&mut self, run: &mut Run<'_>, accepted: Ballot, read: bool) {
        self.enter(run, Phase::Fetching { read });
        // All of them: whoever answers first saves a round if another was lost.
        let holders: Vec<_> =
            self.seen.iter().filter(|s| s.summary.accepted == accepted).map(|s| s.from).collect();
        for to in holders {
            self.send(run, to, Ask::Fetch { accepted });
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        run: &mut Run<'_>,
        read: bool,
        accepted: Ballot,
        state: Option<RecordState>,
    ) {
        match state {
            Some(state) if accepted == self.basis(read) => {
                self.have = Some((accepted, state));
                if read {
                    self.answer_read(run);
                } else {
                    self.decide(run);
                }
            }
            // Somebody moved on; so do we.
            _ => self.back_off(run),
        }
    }

    /// Whether what was found is a value whose time is up, and nobody has written that down yet. It must be
    /// (as a shadow, under a new ballot) before anyone is told: a touch that some replica accepted in time
    /// could otherwise be completed later and revive what was called expired.
    pub(super) fn is_unwritten_end(run: &Run<'_>, meta: Option<&RecordMeta>, now: Hlc) -> bool {
        let ended = meta.is_some_and(|m| m.shadow.is_none() && m.expiry.is_past(now));
        ended && !run.proposer.config.faults.has(Planted::ExpiryNotWritten)
    }

    pub(super) fn answer_read(&mut self, run: &mut Run<'_>) {
        let basis = self.basis(true);
        let Some((decision, ctx)) = self.apply_rules(run, basis, true) else { return };
        if Self::is_unwritten_end(run, self.meta_of(basis).as_ref(), ctx.now) {
            self.prepare(run);
        } else {
            self.finish(run, Ok(decision.outcome));
        }
    }

    /// Whether this refuses something as too late by a time that not all who were asked can confirm: one whose
    /// clock was wrong in the past, shown to a proposer whose own jumped since, would refuse what is in time.
    /// Refusals are not written down, so no majority checks them; asking again does.
    fn is_hasty(&self, decision: &Decision, ctx: &Context, basis: Ballot, bound_ms: u64) -> bool {
        let late = [Refusal::DeadlinePassed, Refusal::BornExpired, Refusal::NotAfter];
        if !matches!(decision.outcome, Outcome::Refused(refusal) if late.contains(&refusal)) {
            return false;
        }
        let slowest_ms = self.seen.iter().map(|s| s.high.ms()).min().unwrap_or_default();
        let confirmed = ctx.now.min(Hlc::from_ms(slowest_ms.saturating_add(bound_ms)));
        if confirmed == ctx.now {
            return false;
        }
        let meta = self.meta_of(basis);
        let current = meta.as_ref().map_or(Current::Absent, Current::Meta);
        let ctx = Context { now: confirmed, ..*ctx };
        // Needing the state means getting past the refusal.
        rules::decide(current, &self.task.operation, self.task.identity.as_ref(), &ctx)
            .map_or(true, |then| then.outcome != decision.outcome)
    }

    pub(super) fn decide(&mut self, run: &mut Run<'_>) {
        let basis = self.basis(false);
        let Some((decision, ctx)) = self.apply_rules(run, basis, false) else { return };
        let faults = run.proposer.config.faults;
        if faults.has(Planted::TakeBeforeAccept) && matches!(decision.outcome, Outcome::Taken { .. }) {
            run.out.push(Action::Done(Ok(decision.outcome.clone())));
        }
        if self.is_hasty(&decision, &ctx, basis, run.proposer.config.clock_bound_ms) {
            self.back_off(run);
            return;
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
            self.accept(run);
            return;
        }
        if self.at_risk && decision.outcome == Outcome::Refused(Refusal::DeadlinePassed) {
            // Whether the accept before took effect can no longer be looked up.
            self.finish(run, Err(Failure::Unknown));
            return;
        }
        let settled = self.holders(basis) >= run.proposer.majority()
            && !Self::is_unwritten_end(run, meta.as_ref(), ctx.now);
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
            self.finish(run, Ok(decision.outcome));
            return;
        }
        self.complete(run, basis, meta, decision.outcome, &ctx);
    }

    /// Proposes what was found under the new ballot, so that a majority holds it before it is answered from.
    pub(super) fn complete(
        &mut self,
        run: &mut Run<'_>,
        basis: Ballot,
        meta: Option<RecordMeta>,
        outcome: Outcome,
        ctx: &Context,
    ) {
        let have = self.have.as_ref().filter(|(at, _)| *at == basis).map(|(_, s)| s);
        let expired = meta.is_some_and(|m| m.shadow.is_none() && m.expiry.is_past(ctx.now));
        let (state, short, holds_before_ms) = match (meta, have) {
            // Nothing to write back: a shadow of nothing keeps what was not seen from surfacing.
            (None, _) => {
                let version = Version(ctx.now.max(ctx.floor.0.next()));
                let expiry = Expiry::NEVER;
                (Some(shadow_of(version, expiry, ShadowReason::Deleted)), None, u64::MAX)
            }
            // Its time is up: completing it as a value would revive it where that is not known yet.
            (Some(m), have) if expired => match have {
                Some(state) => (Some(state.shadow(ShadowReason::Expired)), None, u64::MAX),
                None if m.has_operations => {
                    self.fetch(run, basis, false);
                    return;
                }
                None => (Some(shadow_of(m.version, m.expiry, ShadowReason::Expired)), None, u64::MAX),
            },
            (Some(m), have) => {
                let end_ms = if m.shadow.is_none() { m.expiry.ms().unwrap_or(u64::MAX) } else { u64::MAX };
                let mut state = have.cloned();
                let mut short = Some(Value::Same { accepted: basis });
                if run.proposer.config.faults.has(Planted::ExpiryForgotten)
                    && let Some(state) = &mut state
                {
                    state.expiry = Expiry::NEVER;
                    short = None;
                }
                (state, short, end_ms)
            }
        };
        let shadow = expired || meta.is_none_or(|m| m.shadow.is_some());
        self.proposal =
            Some(Proposal { outcome, state, short, base: basis, holds_before_ms, own: false, shadow });
        self.accept(run);
    }

    /// How to say the new state to those who have the one before: only touch and take keep its bytes.
    pub(super) fn short_form(&self, basis: Ballot, next: &RecordState) -> Option<Value> {
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

    pub(super) fn accept(&mut self, run: &mut Run<'_>) {
        self.accepted_by.clear();
        self.missing.clear();
        self.enter(run, Phase::Accepting);
        let Some(proposal) = self.proposal.take() else { return };
        for to in 0..run.proposer.config.replicas {
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
            self.send(run, to, ask);
        }
        self.proposal = Some(proposal);
    }

    pub(super) fn on_accepted(&mut self, run: &mut Run<'_>, from: ReplicaIndex) {
        if self.accepted_by.contains(&from) {
            return;
        }
        self.accepted_by.push(from);
        let Some(proposal) = &self.proposal else { return };
        let all = self.accepted_by.len() == usize::from(run.proposer.config.replicas);
        let shadow = proposal.shadow;
        if self.phase == Phase::Accepting && self.accepted_by.len() >= run.proposer.accept_quorum() {
            run.out.push(Action::Done(Ok(proposal.outcome.clone())));
            self.phase = if shadow && !all { Phase::Lingering } else { Phase::Finished };
        }
        let early = run.proposer.config.faults.has(Planted::ShadowDroppedEarly);
        if shadow && (all || (early && self.phase == Phase::Lingering)) {
            self.phase = Phase::Finished;
            let ballot = self.ballot;
            self.broadcast(run, |_| Ask::Forget { ballot });
        }
    }

    /// A replica lacks the state the accept refers to: send it, fetching it first if it is not here.
    pub(super) fn on_missing(&mut self, run: &mut Run<'_>, from: ReplicaIndex) {
        let Some(proposal) = &self.proposal else { return };
        if let Some(state) = proposal.state.clone() {
            self.send_full(run, from, state);
        } else if !self.missing.contains(&from) {
            self.missing.push(from);
            let holder = self.seen.iter().find(|s| s.summary.accepted == proposal.base).map(|s| s.from);
            if let Some(to) = holder {
                self.send(run, to, Ask::Fetch { accepted: proposal.base });
            }
        }
    }

    pub(super) fn send_full(&self, run: &mut Run<'_>, to: ReplicaIndex, state: RecordState) {
        let Some(proposal) = &self.proposal else { return };
        let (ballot, holds_before_ms) = (self.ballot, proposal.holds_before_ms);
        let ask = Ask::Accept { ballot, holds_before_ms, value: Value::Full(state) };
        self.send(run, to, ask);
    }

    /// The bytes of what is being completed arrived.
    pub(super) fn on_late_state(&mut self, run: &mut Run<'_>, accepted: Ballot, state: &RecordState) {
        let Some(proposal) = &mut self.proposal else { return };
        // The holder may have accepted it under our ballot meanwhile: the state is the same.
        if proposal.state.is_none() && (accepted == proposal.base || accepted == self.ballot) {
            proposal.state = Some(state.clone());
            for to in std::mem::take(&mut self.missing) {
                self.send_full(run, to, state.clone());
            }
        }
    }

    pub(super) fn accept_failed(&mut self, run: &mut Run<'_>) {
        let own = self.proposal.as_ref().is_some_and(|p| p.own);
        let blind = run.proposer.config.faults.has(Planted::BlindRetry);
        if own && self.task.identity.is_none() && !blind {
            // It may have been accepted by some and be completed by others: applying it again would be twice.
            self.finish(run, Err(Failure::Unknown));
        } else {
            self.back_off(run);
        }
    }
}

fn shadow_of(version: Version, expiry: Expiry, reason: ShadowReason) -> RecordState {
    RecordState { version, expiry, content: Content::Shadow(reason), operations: Vec::new() }
}
