//! A node with one acceptor: `larder_mesh::single` over a small store with a log, driven as a real node would.

use std::collections::{BTreeMap, VecDeque};

use larder_format::clock::{Hlc, HlcState};
use larder_format::record::{Key, RecordState, Version};
use larder_mesh::attempt::Task;
use larder_mesh::planted::Planted;
use larder_mesh::proposer::Failure;
use larder_mesh::single::{self, Context, Current, Next};

use super::plan::{Plan, TIME_STEP_MS};
use super::replica::Effect;

/// One appended change.
#[derive(Debug, Clone)]
enum Entry {
    Record(Key, Option<RecordState>),
    Floor(Version),
    Time(Hlc),
}

#[derive(Debug, Clone, Default)]
struct Kept {
    records: BTreeMap<Key, RecordState>,
    floor: Option<Version>,
    time_until: Hlc,
}

impl Kept {
    fn floor(&self) -> Version {
        self.floor.unwrap_or(Version(Hlc::ZERO))
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Record(key, Some(state)) => drop(self.records.insert(key, state)),
            Entry::Record(key, None) => drop(self.records.remove(&key)),
            Entry::Floor(floor) => self.floor = Some(self.floor().max(floor)),
            Entry::Time(time) => self.time_until = time,
        }
    }
}

/// A node with one acceptor.
pub(crate) struct Lone {
    plan: Plan,
    kept: Kept,
    durable: Kept,
    pending: VecDeque<Entry>,
    synced: u64,
    clock: HlcState,
    held: VecDeque<(u64, Effect)>,
}

impl Lone {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            kept: Kept::default(),
            durable: Kept::default(),
            pending: VecDeque::new(),
            synced: 0,
            clock: HlcState::default(),
            held: VecDeque::new(),
        }
    }

    pub(crate) fn appended(&self) -> u64 {
        self.synced + self.pending.len() as u64
    }

    pub(crate) fn crash(&mut self, kept: u64) {
        self.settle(self.synced + self.pending.len() as u64 * kept / 256);
        self.pending.clear();
        self.held.clear();
    }

    pub(crate) fn restart(&mut self) {
        self.kept = self.durable.clone();
        let lost = self.plan.faults.has(Planted::TimeNotDurable);
        self.clock = HlcState::resume(if lost { Hlc::ZERO } else { self.kept.time_until });
    }

    fn settle(&mut self, upto: u64) {
        while self.synced < upto {
            let Some(entry) = self.pending.pop_front() else { return };
            self.synced += 1;
            self.durable.apply(entry);
        }
    }

    pub(crate) fn synced(&mut self, upto: u64, out: &mut Vec<Effect>) {
        self.settle(upto);
        while self.held.front().is_some_and(|(after, _)| *after <= self.synced) {
            out.extend(self.held.pop_front().map(|(_, effect)| effect));
        }
        if !self.pending.is_empty() {
            out.push(Effect::Sync);
        }
    }

    fn append(&mut self, entry: Entry, out: &mut Vec<Effect>) {
        self.kept.apply(entry.clone());
        self.pending.push_back(entry);
        out.push(Effect::Sync);
    }

    fn context(&mut self, wall_ms: u64, out: &mut Vec<Effect>) -> Context {
        let now = self.clock.tick(wall_ms);
        if now > self.kept.time_until {
            self.append(Entry::Time(Hlc::from_ms(now.ms() + 1 + TIME_STEP_MS)), out);
        }
        let faults = self.plan.faults;
        let now = if faults.has(Planted::WallClockOrder) { Hlc::from_ms(wall_ms) } else { now };
        let ctx = Context::at(now).with_floor(self.kept.floor()).with_ttl_max_ms(self.plan.ttl_max_ms);
        Context { faults, ..ctx }
    }

    pub(crate) fn call(&mut self, call: usize, task: &Task, wall_ms: u64, out: &mut Vec<Effect>) {
        let ctx = self.context(wall_ms, out);
        let applied = {
            // As a store does it: the small part first, the state only if that is not enough.
            let state = self.kept.records.get(&task.key);
            let meta = state.map(RecordState::meta);
            let small = meta.as_ref().map_or(Current::Absent, Current::Meta);
            let whole = || state.map_or(Current::Absent, Current::State);
            single::apply(small, &task.operation, task.identity.as_ref(), &ctx)
                .or_else(|_| single::apply(whole(), &task.operation, task.identity.as_ref(), &ctx))
        };
        let result = match applied {
            Ok(applied) => {
                self.replace(&task.key, applied.next, out);
                Ok(applied.outcome)
            }
            // The whole state was given, so this cannot be; if it is, the checker sees a call without effect.
            Err(single::NeedState) => Err(Failure::Unavailable),
        };
        let answer = Effect::Answer { call, result };
        if self.pending.is_empty() || self.plan.faults.has(Planted::AnswerBeforeSync) {
            out.push(answer);
        } else {
            self.held.push_back((self.appended(), answer));
        }
    }

    fn replace(&mut self, key: &Key, next: Next, out: &mut Vec<Effect>) {
        match next {
            Next::Keep => {}
            Next::Store(state) => self.append(Entry::Record(key.clone(), Some(state)), out),
            Next::Remove { floor } => {
                self.append(Entry::Floor(floor), out);
                self.append(Entry::Record(key.clone(), None), out);
            }
        }
    }

    pub(crate) fn sweep(&mut self, wall_ms: u64, out: &mut Vec<Effect>) {
        let ctx = self.context(wall_ms, out);
        let keys: Vec<Key> = self.kept.records.keys().cloned().collect();
        for key in keys {
            let next = self.kept.records.get(&key).map(|s| single::sweep(Current::State(s), &ctx));
            if let Some(Ok(next)) = next {
                self.replace(&key, next, out);
            }
        }
    }
}
