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
use larder_format::record::{Ballot, Key, RecordState};

mod settle;

use crate::message::{Answer, Ask, Refused, ReplicaIndex, Reply, Request, Summary, Value};
use crate::planted::Planted;
use crate::proposer::{ATTEMPTS_MAX, Action, Failure, Proposer, Wait};

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

/// What a step of an attempt works with.
struct Run<'a> {
    proposer: &'a mut Proposer,
    wall_ms: u64,
    out: &'a mut Vec<Action>,
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
    /// Who said no in this phase, and whether because our clocks differ by more than the bound.
    refused: Vec<(ReplicaIndex, bool)>,
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
        attempt.begin(&mut Run { proposer, wall_ms, out });
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

    fn begin(&mut self, run: &mut Run<'_>) {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            let failure = if self.at_risk { Failure::Unknown } else { Failure::Unavailable };
            self.finish(run, Err(failure));
            return;
        }
        if self.attempts <= 2 && matches!(self.task.operation, Operation::Get) && !self.task.confirm {
            self.enter(run, Phase::Reading);
            let nearest = run.proposer.config.nearest;
            self.broadcast(run, |to| Ask::Read { want_state: to == nearest });
        } else {
            self.prepare(run);
        }
    }

    fn prepare(&mut self, run: &mut Run<'_>) {
        self.enter(run, Phase::Preparing);
        self.ballot = run.proposer.next_ballot(run.wall_ms);
        let (nearest, ballot) = (run.proposer.config.nearest, self.ballot);
        self.broadcast(run, |to| Ask::Prepare { ballot, want_state: to == nearest });
    }

    fn enter(&mut self, run: &mut Run<'_>, phase: Phase) {
        self.phase = phase;
        self.tag = run.proposer.next_tag();
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
        run.out.push(Action::Timer { tag: self.tag, wait });
    }

    fn send(&self, run: &mut Run<'_>, to: ReplicaIndex, ask: Ask) {
        let request = Request {
            tag: self.tag,
            epoch: run.proposer.epoch(),
            now: run.proposer.clock.tick(run.wall_ms),
            key: self.task.key.clone(),
            ask,
        };
        run.out.push(Action::Send { to, request });
    }

    fn broadcast(&mut self, run: &mut Run<'_>, ask: impl Fn(ReplicaIndex) -> Ask) {
        self.asked = run.proposer.clock.tick(run.wall_ms);
        for to in 0..run.proposer.config.replicas {
            self.send(run, to, ask(to));
        }
    }

    fn finish(&mut self, run: &mut Run<'_>, result: Result<Outcome, Failure>) {
        self.phase = Phase::Finished;
        run.out.push(Action::Done(result));
    }

    fn back_off(&mut self, run: &mut Run<'_>) {
        self.enter(run, Phase::BackingOff);
    }

    /// A timer went off.
    pub fn on_timer(&mut self, proposer: &mut Proposer, tag: u64, wall_ms: u64, out: &mut Vec<Action>) {
        if tag != self.tag {
            return;
        }
        let run = &mut Run { proposer, wall_ms, out };
        match self.phase {
            Phase::Finished => {}
            Phase::Lingering => self.phase = Phase::Finished,
            Phase::BackingOff => self.begin(run),
            // Some replied, but not one answer from a majority: settle it.
            Phase::Reading if self.seen.len() >= run.proposer.majority() => self.prepare(run),
            Phase::Reading | Phase::Preparing | Phase::Fetching { .. } => self.back_off(run),
            Phase::Accepting => self.accept_failed(run),
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
        let run = &mut Run { proposer, wall_ms, out };
        let news = run.proposer.learn_epoch(reply.epoch);
        if reply.tag != self.tag || self.phase == Phase::Finished {
            return;
        }
        // A replica whose time is not believable has no vote: what it says about expiry would spread.
        if !matches!(reply.answer, Answer::Refused(_)) && !run.proposer.learn_time(reply.high, run.wall_ms) {
            return;
        }
        match (self.phase, reply.answer) {
            (_, Answer::Refused(refused)) => {
                if let Refused::Promised(ballot) = refused {
                    run.proposer.learn_ballot(ballot, run.wall_ms);
                }
                // A request that was on its way for long looks as if its sender's clock were behind. If the time
                // the replica tells is believable here, that is what happened, and fresh times will do.
                let clocks_differ = match refused {
                    Refused::ClockAhead => true,
                    Refused::ClockBehind => !run.proposer.learn_time(reply.high, run.wall_ms),
                    _ => false,
                };
                self.on_refused(run, from, clocks_differ, news);
            }
            (Phase::Reading | Phase::Preparing, Answer::Seen(summary)) => {
                self.on_seen(run, from, reply.high, summary);
            }
            (Phase::Fetching { read }, Answer::State { accepted, state }) => {
                self.on_fetched(run, read, accepted, state);
            }
            (Phase::Accepting | Phase::Lingering, Answer::Accepted) => {
                self.on_accepted(run, from);
            }
            (Phase::Accepting, Answer::Missing) => self.on_missing(run, from),
            (Phase::Accepting, Answer::State { accepted, state: Some(state) }) => {
                self.on_late_state(run, accepted, &state);
            }
            _ => {}
        }
    }

    fn on_refused(&mut self, run: &mut Run<'_>, from: ReplicaIndex, clocks_differ: bool, news: bool) {
        if matches!(self.phase, Phase::Lingering | Phase::BackingOff) {
            return;
        }
        if !self.refused.iter().any(|(r, _)| *r == from) {
            self.refused.push((from, clocks_differ));
        }
        let differing = self.refused.iter().filter(|(_, clocks_differ)| *clocks_differ).count();
        if differing >= run.proposer.majority() {
            let answer =
                if self.at_risk { Err(Failure::Unknown) } else { Ok(Outcome::Refused(Refusal::ClockAhead)) };
            self.finish(run, answer);
            return;
        }
        // As soon as no majority can come together, waiting is in vain.
        let hopeless =
            usize::from(run.proposer.config.replicas) - self.refused.len() < run.proposer.majority();
        match self.phase {
            Phase::Accepting if hopeless => self.accept_failed(run),
            Phase::Reading | Phase::Preparing if news => self.begin(run),
            Phase::Fetching { .. } => self.back_off(run),
            Phase::Reading | Phase::Preparing if hopeless => self.back_off(run),
            _ => {}
        }
    }

    fn on_seen(&mut self, run: &mut Run<'_>, from: ReplicaIndex, high: Hlc, mut summary: Summary) {
        if self.seen.iter().any(|s| s.from == from) {
            return;
        }
        if let Some(state) = summary.state.take() {
            self.have = Some((summary.accepted, state));
        }
        self.seen.push(Seen { from, high, summary });
        if self.phase == Phase::Preparing {
            if self.seen.len() >= run.proposer.majority() {
                self.decide(run);
            }
            return;
        }
        let lone = run.proposer.config.faults.has(Planted::ReadFromOne);
        let agreeing = self.holders(self.seen[self.seen.len() - 1].summary.accepted);
        if agreeing >= run.proposer.majority() || lone {
            self.answer_read(run);
        } else if self.seen.len() == usize::from(run.proposer.config.replicas) {
            self.prepare(run);
        }
    }

    fn holders(&self, accepted: Ballot) -> usize {
        self.seen.iter().filter(|s| s.summary.accepted == accepted).count()
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
