//! Workloads: steps made from a seed, run on a store and a model side by side.

use std::sync::{Arc, Mutex};

use larder_format::clock::Hlc;
use larder_format::record::Ballot;
use larder_format::rng::{Rng, SeededRng};
use larder_store::api::{BlobStore, Next, RecordStore, StoreError, Ticket, Want};
use larder_store::disk::sim::SimDisk;
use larder_store::log::{Effort, LogConfig, LogStore};

use crate::model::{self, BLOBS, KEYS, Lease, Model, Record, TOKENS, at, blob, grant, key, token};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Put {
        key: u8,
        len: u16,
        ballots: bool,
    },
    Promise {
        key: u8,
    },
    Remove {
        key: u8,
    },
    Read {
        key: u8,
    },
    RaiseTime {
        by_ms: u64,
    },
    PutBlob {
        blob: u8,
        token: u8,
    },
    Lease {
        token: u8,
        blobs: Vec<u8>,
    },
    Release {
        token: u8,
    },
    Confirm {
        token: u8,
    },
    /// A record is about to list the lease.
    List {
        token: u8,
    },
    /// Nobody lists the lease; `listed`: somebody comes to list it while that is found out.
    EndUnlisted {
        token: u8,
        listed: bool,
    },
    Pump,
    Collect,
    /// `beside`: at this sync of the compaction another thread stores so many records of this key.
    Compact {
        budget: u64,
        beside: Option<(u32, u8, u8)>,
    },
    /// All that can be given back, at any cost.
    Squeeze,
    Reopen,
}

/// Steps from a seed. The mix changes with the seed, so that some workloads roll segments all the time and
/// others are mostly leases.
pub(crate) fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut rng = SeededRng::new(seed);
    let long = rng.below(3) > 0;
    let leases = rng.below(3);
    let mut below = |n: u64| rng.below(n);
    let mut out = Vec::new();
    for _ in 0..count {
        let key = below(KEYS.into()) as u8;
        let token = below(TOKENS.into()) as u8;
        let number = below(BLOBS.into()) as u8;
        let step = match below(22 + 6 * leases) {
            0..=4 => {
                let len = if long { below(3_000) } else { below(200) } as u16;
                Step::Put { key, len, ballots: below(3) == 0 }
            }
            5 => Step::Promise { key },
            6..=7 => Step::Remove { key },
            8 => Step::Read { key },
            9 => Step::RaiseTime { by_ms: 1 + below(5) },
            10..=12 => Step::Pump,
            13 => Step::Collect,
            14..=16 => {
                let budget = 1 << (8 + below(9));
                let beside = (below(2) == 0).then(|| (below(3) as u32, key, 1 + below(12) as u8));
                Step::Compact { budget, beside }
            }
            17 => Step::Reopen,
            18 | 22..=23 => Step::PutBlob { blob: number, token },
            19 | 24 => Step::Release { token },
            20 => Step::Squeeze,
            21 | 25 => Step::EndUnlisted { token, listed: below(3) == 0 },
            26 => Step::List { token },
            27..=28 => Step::Lease { token, blobs: vec![number, below(BLOBS.into()) as u8] },
            _ => Step::Confirm { token },
        };
        // What was freed beside other writers is followed until it is forgotten.
        let follow = matches!(step, Step::Compact { beside: Some(_), .. }) && below(3) == 0;
        out.push(step);
        if follow {
            let all = Step::Compact { budget: 1 << 20, beside: None };
            out.extend([all.clone(), all.clone(), all, Step::Reopen]);
        }
    }
    out
}

/// Steps that lead to what random ones seldom reach.
pub(crate) fn scripts() -> Vec<(String, Vec<Step>)> {
    let put = |key| Step::Put { key, len: 3_000, ballots: false };
    let compact = |beside| Step::Compact { budget: 1 << 20, beside };
    let mut out = Vec::new();
    // A removal hides a record of an older segment, and the key is promised again before the removal's
    // segment is emptied.
    let mut steps: Vec<Step> = [0, 1, 2, 3].map(put).to_vec();
    steps.extend([Step::Remove { key: 0 }, put(3), put(3), put(3), Step::Promise { key: 0 }]);
    steps.extend([Step::Pump, compact(None), Step::Reopen]);
    out.push(("promised after a removal".into(), steps));
    // While a segment is freed, other writers make the log roll; the segment that says so is freed next.
    for count in 1..=12 {
        let mut steps: Vec<Step> = [0, 1, 2, 3, 0, 1, 2, 5].map(put).to_vec();
        steps.extend([Step::Pump, compact(Some((0, 5, count))), compact(None), Step::Reopen]);
        out.push((format!("freed beside {count} writes"), steps));
    }
    out
}

/// A small store that commits only when told to.
pub(crate) fn config() -> LogConfig {
    LogConfig {
        segment_len: 16 * 1024,
        queue_bytes_max: 1 << 20,
        group_bytes_max: 6_000,
        early_write_bytes: 1 << 20,
        reserve_bytes: 4096,
        margin_bytes: 0,
        threads: false,
    }
}

fn confirmed(number: u8) -> impl FnOnce(&mut Model) {
    move |model| {
        if let Some(lease) = model.leases.get_mut(&number) {
            lease.deadline_ms = None;
        }
    }
}

/// A store and what it must hold.
pub(crate) struct Run {
    pub(crate) disk: SimDisk,
    pub(crate) store: Option<Arc<LogStore>>,
    /// What must be there after each change, in order; the first is the empty store.
    pub(crate) history: Vec<Model>,
    /// The ticket of each change but the first.
    tickets: Vec<Ticket>,
    /// Changes that were acknowledged before the last reopening.
    acknowledged: usize,
    next_version: u64,
}

/// Why a run ended before its last step.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The store failed, as it should when the disk does.
    Store(#[allow(dead_code, reason = "shown when a run is printed")] StoreError),
    /// The store did something that it must never do.
    Wrong(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl Run {
    pub(crate) fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            store: None,
            history: vec![Model::default()],
            tickets: Vec::new(),
            acknowledged: 0,
            next_version: 1,
        }
    }

    /// Runs all steps, or up to the first failure.
    pub(crate) fn play(&mut self, steps: &[Step]) -> Result<(), Stop> {
        self.open()?;
        for step in steps {
            self.step(step)?;
        }
        self.store().pump()?;
        Ok(())
    }

    /// Runs more steps on an open store.
    pub(crate) fn resume(&mut self, steps: &[Step]) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Versions of records are counted from here on.
    pub(crate) fn set_next_version(&mut self, version: u64) {
        self.next_version = version;
    }

    pub(crate) fn open(&mut self) -> Result<(), Stop> {
        let mut rng = SeededRng::new(5);
        self.store = Some(Arc::new(LogStore::open_on(Arc::new(self.disk.clone()), config(), &mut rng)?));
        Ok(())
    }

    fn store(&self) -> &LogStore {
        self.store.as_ref().expect("opened before any step")
    }

    /// How many changes somebody may have been told of.
    pub(crate) fn acknowledged(&self) -> usize {
        let done = |ticket: &Ticket| ticket.is_done() && ticket.wait().is_ok();
        let told = self.tickets.iter().rposition(done).map_or(0, |last| last + 1);
        self.acknowledged.max(told)
    }

    fn changed(&mut self, ticket: Ticket, change: impl FnOnce(&mut Model)) {
        let mut next = self.history.last().expect("never empty").clone();
        change(&mut next);
        // A change that changes nothing may be acknowledged before those that came before it.
        if next == *self.now() {
            return;
        }
        self.history.push(next);
        self.tickets.push(ticket);
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Put { .. } | Step::Promise { .. } | Step::Remove { .. } | Step::Read { .. } => {
                self.record_step(step)
            }
            Step::RaiseTime { by_ms } => {
                let ms = self.now().time_ms + by_ms;
                let ticket = self.store().raise_time(Hlc::from_ms(ms))?;
                self.changed(ticket, |model| model.time_ms = ms);
                Ok(())
            }
            Step::Pump => Ok(self.store().pump()?),
            Step::Collect => Ok(self.store().collect(3).map(|_| ())?),
            Step::Compact { budget, beside } => self.compact(*budget, *beside),
            Step::Squeeze => {
                while self.store().collect(3)?.more {}
                while self.store().compact_with(Effort::High, 1 << 12)?.more {}
                Ok(())
            }
            Step::Reopen => self.reopen(),
            _ => self.blob_step(step),
        }
    }

    fn compact(&mut self, budget: u64, beside: Option<(u32, u8, u8)>) -> Result<(), Stop> {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let first = self.next_version;
        if let Some((after, number, count)) = beside {
            self.next_version += u64::from(count);
            // Weak: what never happens must not keep the store open.
            let (stored, store) = (stored.clone(), Arc::downgrade(self.store.as_ref().expect("open")));
            self.disk.beside_sync(after, move || {
                let Some(store) = store.upgrade() else { return };
                for version in first..first + u64::from(count) {
                    let record = Record { version: Some(version), len: 2_500, promised: None };
                    let mut decide =
                        |_: &mut dyn larder_store::api::Current| Ok(Next::Store(model::slot(&record)));
                    let Ok(ticket) = store.update(at(&key(number)), &mut decide) else { return };
                    stored.lock().unwrap().push((number, record, ticket));
                }
            });
        }
        let done = self.store().compact(budget);
        self.disk.nothing_beside();
        for (number, record, ticket) in std::mem::take(&mut *stored.lock().unwrap()) {
            self.changed(ticket, |model| {
                model.records.insert(number, record);
            });
        }
        Ok(done.map(|_| ())?)
    }

    fn now(&self) -> &Model {
        self.history.last().expect("never empty")
    }

    fn record_step(&mut self, step: &Step) -> Result<(), Stop> {
        let version = self.next_version;
        self.next_version += 1;
        match *step {
            Step::Put { key: number, len, ballots } => {
                let promised = ballots.then_some(version);
                let record = Record { version: Some(version), len, promised };
                let key = key(number);
                let mut decide =
                    |_: &mut dyn larder_store::api::Current| Ok(Next::Store(model::slot(&record)));
                let ticket = self.store().update(at(&key), &mut decide)?;
                self.changed(ticket, |model| {
                    model.records.insert(number, record);
                });
            }
            Step::Promise { key: number } => {
                let key = key(number);
                let mut decide =
                    |_: &mut dyn larder_store::api::Current| Ok(Next::Promise(model::ballots(version)));
                let ticket = self.store().update(at(&key), &mut decide)?;
                self.changed(ticket, |model| {
                    let empty = Record { version: None, len: 0, promised: None };
                    model.records.entry(number).or_insert(empty).promised = Some(version);
                });
            }
            Step::Remove { key: number } => {
                let floor = Ballot { round: version, proposer: 0 };
                let key = key(number);
                let mut decide = |_: &mut dyn larder_store::api::Current| Ok(Next::Remove { floor });
                let ticket = self.store().update(at(&key), &mut decide)?;
                self.changed(ticket, |model| {
                    model.records.remove(&number);
                    model.floors.insert(model::group(number), version);
                });
            }
            Step::Read { key: number } => {
                let expected = self.now().records.get(&number).and_then(|r| model::slot(r).state);
                let key = key(number);
                let (found, _) = self.store().read(at(&key), Want::All)?;
                if found != expected {
                    return Err(Stop::Wrong(format!("read of key {number} gave something else")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn blob_step(&mut self, step: &Step) -> Result<(), Stop> {
        let deadline_ms = self.now().time_ms + 1_000;
        let given = |number: u8, blobs: Vec<u8>| {
            move |model: &mut Model| {
                let lease = model
                    .leases
                    .entry(number)
                    .or_insert(Lease { deadline_ms: Some(0), blobs: Default::default() });
                lease.deadline_ms = lease.deadline_ms.map(|old| old.max(deadline_ms));
                lease.blobs.extend(blobs);
            }
        };
        match step {
            Step::PutBlob { blob: number, token } => {
                let (id, bytes) = blob(*number);
                match self.store().put(id, bytes, &grant(*token, deadline_ms)) {
                    Ok(ticket) => self.changed(ticket, given(*token, vec![*number])),
                    refused => self.must_be_spent(*token, refused.map(|_| ()))?,
                }
            }
            Step::Lease { token, blobs } => {
                let ids: Vec<_> = blobs.iter().map(|number| blob(*number).0).collect();
                match self.store().lease(&grant(*token, deadline_ms), &ids) {
                    Ok((present, ticket)) => {
                        let held: Vec<u8> =
                            blobs.iter().zip(&present).filter(|(_, here)| **here).map(|(b, _)| *b).collect();
                        if !held.is_empty() {
                            self.changed(ticket, given(*token, held));
                        }
                    }
                    Err(refused) => self.must_be_spent(*token, Err(refused))?,
                }
            }
            Step::Release { token: number } => {
                let ticket = self.store().release(token(*number))?;
                self.changed(ticket, |model| {
                    model.leases.remove(number);
                    model.spent.insert(*number);
                });
            }
            Step::Confirm { token: number } => {
                let ticket = self.store().confirm(token(*number))?;
                self.changed(ticket, confirmed(*number));
            }
            Step::List { token } => self.list(*token)?,
            Step::EndUnlisted { token: number, listed } => {
                let Some(probe) = self.store().probe_lease(token(*number)) else { return Ok(()) };
                if *listed {
                    self.list(*number)?;
                }
                match (self.store().end_unlisted(&probe)?, listed) {
                    (Some(ticket), false) => self.changed(ticket, |model| {
                        model.leases.remove(number);
                        model.spent.insert(*number);
                    }),
                    (None, true) => {}
                    (ended, _) => {
                        let what = format!("listed {listed}, ended {}", ended.is_some());
                        return Err(Stop::Wrong(what));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// As a record that lists the lease does before it is stored.
    fn list(&mut self, number: u8) -> Result<(), Stop> {
        let listed = self.store().list_leases(model::NS, &key(number % KEYS), &[token(number)]);
        match (listed, self.now().leases.contains_key(&number)) {
            (Ok(()), true) => {
                // It is durable with whatever comes next; asking again tells when.
                let ticket = self.store().confirm(token(number))?;
                self.changed(ticket, confirmed(number));
                Ok(())
            }
            (Err(StoreError::LeaseEnded { .. }), false) => Ok(()),
            (Err(other), _) => Err(other.into()),
            (Ok(()), false) => Err(Stop::Wrong("a lease that is not held was listed".into())),
        }
    }

    /// A refusal is right only for a token that was released.
    fn must_be_spent(&self, token: u8, outcome: Result<(), StoreError>) -> Result<(), Stop> {
        match outcome {
            Err(StoreError::Invalid { .. }) if self.now().spent.contains(&token) => Ok(()),
            Err(StoreError::Invalid { what }) => Err(Stop::Wrong(format!("refused: {what}"))),
            Err(other) => Err(other.into()),
            Ok(()) => Err(Stop::Wrong("a released token was granted".into())),
        }
    }

    /// Closes and opens again: everything is acknowledged then.
    fn reopen(&mut self) -> Result<(), Stop> {
        let store = self.store.take().expect("opened before any step");
        let closed = Arc::into_inner(store).expect("nobody else has it").close();
        self.acknowledged = self.acknowledged();
        closed?;
        self.acknowledged = self.history.len() - 1;
        self.tickets = vec![Ticket::done(); self.history.len() - 1];
        self.disk.unlock();
        self.open()
    }
}
