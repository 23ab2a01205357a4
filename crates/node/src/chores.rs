//! What nobody waits for: removing what has expired, deciding about leases whose deadline has passed,
//! freeing blobs that nothing keeps, giving space back, and noting the time.
//!
//! Each chore works in small portions and yields in between, so that requests are served first.

use std::sync::Arc;
use std::time::Duration;

use larder_format::namespace::Class;
use larder_store::api::{Address, BlobStore, RecordStore, StoreError};
use larder_store::log::LogStore;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::LeaseAudit;
use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::registers::Registers;
use crate::time::NodeTime;
use crate::tokens::Tokens;

/// How often it is looked at least whether the time of values in memory is up. What memory they held is free a little later.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// Values looked at before yielding: some 300 microseconds of work, and never more than a hundred or so under one lock.
const SWEEP_PORTION: usize = 2048;

/// How long other portions yield while there is more to do.
const YIELD: Duration = Duration::from_millis(1);

/// How often expired records are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);

/// Expired records removed before yielding.
const EXPIRY_PORTION: usize = 512;

/// How often leases past their deadline are looked at.
const LEASE_INTERVAL: Duration = Duration::from_secs(5);

/// How often leases of records that changed are looked at.
const SUSPECT_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether an audit is to begin or go on.
const AUDIT_INTERVAL: Duration = Duration::from_secs(10);

/// Leases decided about before yielding.
const LEASE_PORTION: usize = 256;

/// How often space is given back.
const SPACE_INTERVAL: Duration = Duration::from_secs(3);

/// Blobs forgotten before yielding.
const COLLECT_PORTION_BLOBS: usize = 1024;

/// Bytes looked at for moving before yielding.
const SPACE_PORTION_BYTES: u64 = 8 * 1024 * 1024;

/// How often the time is noted, so that a clock set back while the node is down cannot make time fall by
/// more. Seldom, because each note wakes the disk; what was seen expired is removed before it is told.
const TIME_INTERVAL: Duration = Duration::from_secs(60);

/// What the chores work on.
pub(crate) struct Chores {
    pub(crate) registers: Arc<Registers>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) log: Arc<LogStore>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) audit: Mutex<LeaseAudit>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Running chores.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops them, each at the end of the portion it is at.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Starts the chores.
pub(crate) fn start(chores: Chores) -> Running {
    let (stop, stopped) = watch::channel(false);
    let chores = Arc::new(chores);
    let tasks = vec![
        repeat(SWEEP_INTERVAL, stopped.clone(), chores.clone(), Chores::sweep),
        every(EXPIRY_INTERVAL, stopped.clone(), chores.clone(), Chores::expire),
        every(LEASE_INTERVAL, stopped.clone(), chores.clone(), Chores::settle_leases),
        every(SUSPECT_INTERVAL, stopped.clone(), chores.clone(), Chores::look_at_suspects),
        every(AUDIT_INTERVAL, stopped.clone(), chores.clone(), Chores::audit_leases),
        every(SPACE_INTERVAL, stopped.clone(), chores.clone(), Chores::give_space_back),
        every(TIME_INTERVAL, stopped, chores, Chores::note_time),
    ];
    Running { stop, tasks }
}

/// Runs a portion on a blocking thread; again at once while there is more to do, else after the interval.
fn every(
    interval: Duration,
    stopped: watch::Receiver<bool>,
    chores: Arc<Chores>,
    portion: fn(&Chores) -> Result<bool, StoreError>,
) -> JoinHandle<()> {
    repeat(interval, stopped, chores, move |chores| Ok(if portion(chores)? { YIELD } else { interval }))
}

/// Runs a portion on a blocking thread, and again after the pause that it answers.
fn repeat(
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
    chores: Arc<Chores>,
    portion: impl Fn(&Chores) -> Result<Duration, StoreError> + Clone + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (work, portion) = (chores.clone(), portion.clone());
            let pause = match tokio::task::spawn_blocking(move || portion(&work)).await {
                Ok(Ok(pause)) => pause,
                Ok(Err(StoreError::Closed { .. })) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "background work failed; it is tried again");
                    chores.metrics.chores.failures.add(1);
                    interval * 10
                }
                Err(error) => {
                    tracing::error!(%error, "background work panicked; it is tried again");
                    chores.metrics.chores.failures.add(1);
                    interval * 10
                }
            };
            if pause.is_zero() && !*stopped.borrow() {
                continue;
            }
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    })
}

impl Chores {
    /// Removes values in memory whose time is up. They were all written since the start, so that no clock that was
    /// wrong before can have ended them. Answers when to come again: at once (the change of threads is pause enough), or when
    /// the next are due.
    fn sweep(&self) -> Result<Duration, StoreError> {
        let now = self.time.now();
        let swept = self.registers.values().sweep(now, SWEEP_PORTION);
        self.metrics.chores.expired_memory.add(swept.removed);
        if swept.more {
            return Ok(Duration::ZERO);
        }
        let next = swept.next_ms.map(|ms| Duration::from_millis(ms.saturating_sub(now.ms())));
        Ok(next.map_or(SWEEP_INTERVAL, |next| next.clamp(YIELD, SWEEP_INTERVAL)))
    }

    /// Removes expired records: all on disk, and those in memory that are more than a value and its end. Answers
    /// whether there may be more.
    fn expire(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        let mut more = false;
        for class in [Class::Memory, Class::Disk] {
            if !self.registers.may_free(class) {
                continue;
            }
            let due = match class {
                Class::Memory => self.registers.values().due_records(now, EXPIRY_PORTION),
                Class::Disk => self.log.due(now, EXPIRY_PORTION),
            };
            more |= due.len() == EXPIRY_PORTION;
            if class == Class::Disk && !due.is_empty() {
                // What is forgotten by this time must not be asked about by an earlier one.
                let _durable = self.log.raise_time(now)?;
            }
            let mut damaged = 0;
            for (namespace, slot, key) in &due {
                let at = Address { namespace: *namespace, slot: *slot, key };
                match self.registers.remove_expired(class, at, now) {
                    // One that cannot be read must not keep the others. It goes when it is long over.
                    Err(StoreError::Damaged { .. }) => damaged += 1,
                    other => other?,
                }
            }
            let counts = &self.metrics.chores;
            let expired = if class == Class::Disk { &counts.expired_disk } else { &counts.expired_memory };
            expired.add((due.len() - damaged) as u64);
            if damaged > 0 {
                tracing::debug!(damaged, "expired records cannot be read yet");
                more &= damaged < due.len();
            }
        }
        Ok(more)
    }

    /// Decides about leases past their deadline: one that its record lists is kept for good, any other ends.
    fn settle_leases(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        if !self.time.may_free() {
            return Ok(false);
        }
        let due = self.log.due_leases(now, LEASE_PORTION);
        if !due.is_empty() {
            // A clock set back must not make a write acceptable again that relies on what is released here.
            let _durable = self.log.raise_time(now)?;
        }
        for lease in &due {
            if self.leases.end_if_unlisted(lease.token)?.is_none() {
                let _durable = self.log.confirm(lease.token)?;
            }
        }
        Ok(due.len() == LEASE_PORTION)
    }

    /// Ends leases whose last record was just deleted, replaced or removed because its time was up.
    pub(crate) fn look_at_suspects(&self) -> Result<bool, StoreError> {
        let suspects = self.registers.suspects();
        if suspects.take_overflow() {
            self.audit.lock().begin_now();
        }
        let some = suspects.take(LEASE_PORTION);
        for (at, (namespace, key)) in some.iter().enumerate() {
            if let Err(error) = self.leases.look_at_record(*namespace, key) {
                // A disk that is full, say: just then what they keep is wanted back.
                suspects.give_back(&some[at..]);
                return Err(error);
            }
        }
        Ok(some.len() == LEASE_PORTION)
    }

    /// Ends leases that no record lists and that nobody pointed out: the node may have stopped before it
    /// looked at them.
    pub(crate) fn audit_leases(&self) -> Result<bool, StoreError> {
        let mut audit = self.audit.lock();
        let some = audit.portion(self.time.now().ms(), || self.log.lease_tokens());
        for (at, token) in some.iter().enumerate() {
            if let Err(error) = self.leases.end_if_over(*token) {
                audit.give_back(&some[at..]);
                return Err(error);
            }
        }
        Ok(audit.has_more())
    }

    /// Frees blobs that nothing keeps and moves live data out of nearly empty files.
    /// Time has no say in this: what nothing keeps was let go of before.
    fn give_space_back(&self) -> Result<bool, StoreError> {
        let collected = self.log.collect(COLLECT_PORTION_BLOBS)?;
        let compacted = self.log.compact(SPACE_PORTION_BYTES)?;
        self.metrics.chores.gave_back(&collected, &compacted);
        Ok(collected.more || compacted.more)
    }

    /// Notes the time, and when tokens were last used.
    fn note_time(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        if self.time.may_free() {
            let _durable = self.log.raise_time(now)?;
        }
        match self.tokens.keep_uses(now) {
            // Nobody misses it: a full disk has other work to do.
            Err(StoreError::Full { .. } | StoreError::Quota { .. } | StoreError::Stalled) => Ok(false),
            kept => kept.map(|()| false),
        }
    }
}
