//! A node of a replicated register: an acceptor with its disk, and a proposer, driven as a real node would.
//!
//! The disk is a log: what is appended becomes durable in order, at syncs. A reply leaves when all that was
//! appended before it is durable. A crash keeps what was synced and a prefix of the rest.

use std::collections::{BTreeMap, VecDeque};

use larder_format::clock::Hlc;
use larder_format::operation::{Operation, Outcome};
use larder_format::record::{Key, RecordSlot};
use larder_mesh::acceptor::{Acceptor, AcceptorConfig, Change, PartitionRecord, Reaction, Slot};
use larder_mesh::attempt::{Attempt, Task};
use larder_mesh::join::{self, Joiner};
use larder_mesh::message::{JoinAsk, JoinPage, Reply, Request};
use larder_mesh::planted::Planted;
use larder_mesh::proposer::{Action, Failure, Proposer, ProposerConfig, Wait};

use super::plan::{CLOCK_BOUND_MS, Class, Plan, TIME_STEP_MS};

/// What nodes say to each other.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Request(Box<Request>),
    Reply(Box<Reply>),
    JoinAsk(Box<JoinAsk>),
    JoinPage(Box<JoinPage>),
}

impl Message {
    /// The message as it arrives after travelling as bytes.
    pub(crate) fn through_bytes(self) -> Self {
        let whole = "a message that was encoded decodes";
        match self {
            Message::Request(m) => Message::Request(Box::new(Request::decode(m.encode()).expect(whole))),
            Message::Reply(m) => Message::Reply(Box::new(Reply::decode(m.encode()).expect(whole))),
            Message::JoinAsk(m) => Message::JoinAsk(Box::new(JoinAsk::decode(m.encode()).expect(whole))),
            Message::JoinPage(m) => Message::JoinPage(Box::new(JoinPage::decode(m.encode()).expect(whole))),
        }
    }
}

/// What a node wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Send {
        to: u8,
        message: Message,
    },
    Timer {
        tag: u64,
        wait: Wait,
    },
    Answer {
        call: usize,
        result: Result<Outcome, Failure>,
    },
    /// There is something to sync.
    Sync,
}

/// One appended change.
#[derive(Debug, Clone)]
enum Entry {
    Slot(Key, Option<RecordSlot>),
    Partition(PartitionRecord),
}

#[derive(Debug, Clone, Default)]
struct Disk {
    slots: BTreeMap<Key, RecordSlot>,
    partition: PartitionRecord,
    /// Appended, not durable yet; the first is number `synced`.
    pending: VecDeque<Entry>,
    synced: u64,
}

impl Disk {
    fn appended(&self) -> u64 {
        self.synced + self.pending.len() as u64
    }

    fn settle(&mut self, upto: u64) {
        while self.synced < upto {
            let Some(entry) = self.pending.pop_front() else { return };
            self.synced += 1;
            match entry {
                Entry::Slot(key, Some(slot)) => drop(self.slots.insert(key, slot)),
                Entry::Slot(key, None) => drop(self.slots.remove(&key)),
                Entry::Partition(record) => self.partition = record,
            }
        }
    }
}

/// A node of a replicated register.
pub(crate) struct Replica {
    index: u8,
    replicas: u8,
    class: Class,
    config: AcceptorConfig,
    acceptor: Acceptor,
    slots: BTreeMap<Key, RecordSlot>,
    disk: Disk,
    /// Replies that wait until the log is durable up to a position.
    held: VecDeque<(u64, u8, Message)>,
    proposer_config: ProposerConfig,
    proposer: Proposer,
    attempts: Vec<(usize, Box<Attempt>)>,
    joiner: Option<Joiner>,
    actions: Vec<Action>,
    sweeps: u32,
}

impl Replica {
    pub(crate) fn new(plan: &Plan, index: u8, name: u64) -> Self {
        let config = AcceptorConfig {
            ttl_max_ever_ms: plan.ttl_max_ms,
            clock_bound_ms: CLOCK_BOUND_MS,
            time_step_ms: TIME_STEP_MS,
            faults: plan.faults,
        };
        let proposer_config = ProposerConfig {
            replicas: plan.replicas,
            nearest: index,
            ttl_max_ms: plan.ttl_max_ms,
            clock_bound_ms: CLOCK_BOUND_MS,
            faults: plan.faults,
        };
        Self {
            index,
            replicas: plan.replicas,
            class: plan.class,
            config,
            acceptor: Acceptor::new(config),
            slots: BTreeMap::new(),
            disk: Disk::default(),
            held: VecDeque::new(),
            proposer_config,
            proposer: Proposer::new(proposer_config, name, 0),
            attempts: Vec::new(),
            joiner: None,
            actions: Vec::new(),
            sweeps: 0,
        }
    }

    pub(crate) fn is_voting(&self) -> bool {
        self.acceptor.is_voting()
    }

    /// Position in the log that a sync started now would make durable.
    pub(crate) fn appended(&self) -> u64 {
        self.disk.appended()
    }

    /// Loses what a crash loses. `kept` of 256 is how much of what was not synced survives.
    pub(crate) fn crash(&mut self, kept: u64) {
        let upto = self.disk.synced + self.disk.pending.len() as u64 * kept / 256;
        self.disk.settle(upto);
        self.disk.pending.clear();
        self.held.clear();
        self.attempts.clear();
        self.joiner = None;
        self.slots.clear();
    }

    /// Comes up again. A memory replica comes back in an epoch of its own and joins.
    pub(crate) fn restart(&mut self, name: u64, epoch: u64, out: &mut Vec<Effect>) {
        match self.class {
            Class::Disk => {
                self.slots.clone_from(&self.disk.slots);
                self.acceptor = Acceptor::open(self.config, self.disk.partition);
                self.proposer = Proposer::new(self.proposer_config, name, self.acceptor.epoch());
            }
            Class::Memory => {
                self.acceptor = Acceptor::empty(self.config, epoch);
                self.proposer = Proposer::new(self.proposer_config, name, epoch);
                self.joiner = Some(Joiner::new(usize::from(self.replicas), epoch, &self.acceptor));
                self.ask_to_join(out);
            }
        }
    }

    /// Asks those who have not sent their state yet. Called again until enough have.
    pub(crate) fn ask_to_join(&mut self, out: &mut Vec<Effect>) {
        let Some(joiner) = &self.joiner else { return };
        for to in (0..self.replicas).filter(|to| *to != self.index && !joiner.has(*to)) {
            out.push(Effect::Send { to, message: Message::JoinAsk(Box::new(joiner.ask(None))) });
        }
    }

    pub(crate) fn is_joining(&self) -> bool {
        self.joiner.is_some()
    }

    /// A client's request.
    pub(crate) fn call(&mut self, call: usize, task: Task, wall_ms: u64, out: &mut Vec<Effect>) {
        let mut actions = std::mem::take(&mut self.actions);
        let attempt = Attempt::start(&mut self.proposer, task, wall_ms, &mut actions);
        self.carry_out(call, &mut actions, out);
        self.actions = actions;
        if !attempt.is_finished() {
            self.attempts.push((call, Box::new(attempt)));
        }
    }

    fn carry_out(&self, call: usize, actions: &mut Vec<Action>, out: &mut Vec<Effect>) {
        for action in actions.drain(..) {
            out.push(match action {
                Action::Send { to, request } => {
                    Effect::Send { to, message: Message::Request(Box::new(request)) }
                }
                Action::Timer { tag, wait } => Effect::Timer { tag, wait },
                Action::Done(result) => Effect::Answer { call, result },
            });
        }
    }

    fn with_attempt(
        &mut self,
        tag: u64,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Attempt, &mut Proposer, &mut Vec<Action>),
    ) {
        let Some(at) = self.attempts.iter().position(|(_, a)| a.tag() == tag) else { return };
        let (call, mut attempt) = self.attempts.swap_remove(at);
        let mut actions = std::mem::take(&mut self.actions);
        step(&mut attempt, &mut self.proposer, &mut actions);
        self.carry_out(call, &mut actions, out);
        self.actions = actions;
        if !attempt.is_finished() {
            self.attempts.push((call, attempt));
        }
    }

    pub(crate) fn timer(&mut self, tag: u64, wall_ms: u64, out: &mut Vec<Effect>) {
        self.with_attempt(tag, out, |attempt, proposer, actions| {
            attempt.on_timer(proposer, tag, wall_ms, actions);
        });
    }

    pub(crate) fn message(&mut self, from: u8, message: Message, wall_ms: u64, out: &mut Vec<Effect>) {
        match message {
            Message::Request(request) => {
                let slot = Slot::from(self.slots.get(&request.key));
                let reaction = self.acceptor.handle(slot, &request, wall_ms);
                self.react(from, &request.key, reaction, out);
            }
            Message::Reply(reply) => self.with_attempt(reply.tag, out, |attempt, proposer, actions| {
                attempt.on_reply(proposer, from, *reply, wall_ms, actions);
            }),
            Message::JoinAsk(ask) => {
                if let Some((page, record)) = join::answer(&mut self.acceptor, &self.slots, &ask) {
                    if let Some(record) = record {
                        self.append(Entry::Partition(record), out);
                    }
                    self.reply(from, Message::JoinPage(Box::new(page)), out);
                }
            }
            Message::JoinPage(page) => self.on_page(from, *page, wall_ms, out),
        }
    }

    fn on_page(&mut self, from: u8, page: JoinPage, wall_ms: u64, out: &mut Vec<Effect>) {
        let Some(joiner) = &mut self.joiner else { return };
        let latest = Hlc::from_ms(wall_ms + CLOCK_BOUND_MS);
        let enough = joiner.on_page(from, &page, latest);
        if !joiner.has(from) {
            return;
        }
        for (key, slot) in page.slots {
            join::merge(self.slots.entry(key).or_default(), slot);
        }
        if enough {
            let record = joiner.finish(&mut self.acceptor);
            self.joiner = None;
            self.append(Entry::Partition(record), out);
        }
    }

    fn react(&mut self, from: u8, key: &Key, reaction: Reaction, out: &mut Vec<Effect>) {
        let volatile = reaction.volatile(self.config.faults);
        let changed = !matches!(reaction.change, Change::Keep);
        match reaction.change {
            Change::Keep => {}
            Change::Ballots(ballots) => self.slots.entry(key.clone()).or_default().ballots = Some(ballots),
            Change::Store(slot) => drop(self.slots.insert(key.clone(), slot)),
            Change::Remove => drop(self.slots.remove(key)),
        }
        if let Some(record) = reaction.partition {
            self.append(Entry::Partition(record), out);
        }
        if changed && !volatile && self.class == Class::Disk {
            self.append(Entry::Slot(key.clone(), self.slots.get(key).cloned()), out);
        }
        if let Some(reply) = reaction.reply {
            self.reply(from, Message::Reply(Box::new(reply)), out);
        }
    }

    fn append(&mut self, entry: Entry, out: &mut Vec<Effect>) {
        if self.class == Class::Disk {
            self.disk.pending.push_back(entry);
            out.push(Effect::Sync);
        }
    }

    fn reply(&mut self, to: u8, message: Message, out: &mut Vec<Effect>) {
        let after = self.disk.appended();
        if after == self.disk.synced || self.config.faults.has(Planted::AnswerBeforeSync) {
            out.push(Effect::Send { to, message });
        } else {
            self.held.push_back((after, to, message));
        }
    }

    /// All up to this position is durable.
    pub(crate) fn synced(&mut self, upto: u64, out: &mut Vec<Effect>) {
        self.disk.settle(upto);
        while self.held.front().is_some_and(|(after, ..)| *after <= self.disk.synced) {
            if let Some((_, to, message)) = self.held.pop_front() {
                out.push(Effect::Send { to, message });
            }
        }
        if !self.disk.pending.is_empty() {
            out.push(Effect::Sync);
        }
    }

    /// Drops what need not be kept any more, and has one replica at a time write down which values' time is
    /// up, so that their shadows can go in turn.
    pub(crate) fn sweep(&mut self, wall_ms: u64, out: &mut Vec<Effect>) {
        self.sweeps += 1;
        let mine = self.sweeps % u32::from(self.replicas) == u32::from(self.index);
        let keys: Vec<Key> = self.slots.keys().cloned().collect();
        for key in keys {
            if !self.acceptor.is_voting() {
                return;
            }
            let slot = Slot::from(self.slots.get(&key));
            let high = self.acceptor.high();
            let ended = slot.state.is_some_and(|s| s.meta().shadow.is_none() && s.expiry.is_past(high));
            if mine && ended {
                let task = Task { key, operation: Operation::Get, identity: None, confirm: false };
                self.call(usize::MAX, task, wall_ms, out);
                continue;
            }
            let reaction = self.acceptor.sweep(slot);
            self.react(self.index, &key, reaction, out);
        }
    }
}
