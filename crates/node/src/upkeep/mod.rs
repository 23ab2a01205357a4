//! Upkeep: what the node does for what it holds without being asked. The scrub reads everything back, a round in each
//! period, spread over it; the collection looks through all leases and gives all space back. Both begin a few minutes
//! after the start, say in one line what came of each round, and count.
//!
//! [`pace`] keeps them out of the way of requests; [`state`] and [`remembered`] are what lasts across restarts.

mod pace;
mod remembered;
mod rounds;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_store::api::Address;
use larder_store::log::{DamagedItem, LogStore};
use larder_wire::v1;
use parking_lot::{Condvar, Mutex};
use tokio::task::JoinHandle;

use pace::Found;
pub(crate) use pace::{Pace, Pulse};
use remembered::Name;
pub(crate) use rounds::{ScrubSum, start};
use state::{Pass, Scrub};

use crate::maintenance::Maintenance;
use crate::own::Own;
use crate::time::NodeTime;

/// How long after the start the first round begins, at most: starting is busy enough, and a store whose collector goes
/// wrong is noticed by its owner first.
pub const FIRST_AFTER: Duration = Duration::from_secs(300);

/// Places known to be damaged that are remembered, and told.
const DAMAGED_MAX: usize = 1000;

/// When upkeep is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpkeepConfig {
    /// In this time everything is verified once; `None`: only on request.
    pub scrub_every: Option<Duration>,
    /// From one thorough collection to the next; `None`: only on request. What is deleted comes back without it.
    pub collect_every: Option<Duration>,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            scrub_every: Some(Duration::from_secs(7 * 24 * 3600)),
            collect_every: Some(Duration::from_secs(3600)),
        }
    }
}

/// What upkeep did since the node started, for metrics. All only rise.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Bytes verified by scrubs, in the background and on request.
    pub scrubbed_bytes: AtomicU64,
    /// Frames verified.
    pub scrubbed_frames: AtomicU64,
    /// Rounds of scrubbing that came to their end.
    pub scrub_rounds: AtomicU64,
    /// Damaged places found by scrubs.
    pub damaged: AtomicU64,
    /// Single wrong bytes written back by scrubs.
    pub mended: AtomicU64,
    /// Collections in the background that came to their end.
    pub collect_rounds: AtomicU64,
    /// Blobs they found that nothing kept.
    pub orphaned: AtomicU64,
    /// Bytes of the disk they gave back.
    pub removed_bytes: AtomicU64,
}

/// Keeps up what the node holds.
pub(crate) struct Keeper {
    pub(crate) counts: Arc<Upkeep>,
    pub(crate) pulse: Arc<Pulse>,
    config: UpkeepConfig,
    log: Arc<LogStore>,
    time: Arc<NodeTime>,
    own: Arc<Own>,
    maintenance: Arc<Maintenance>,
    scrub: Mutex<Scrub>,
    collected: Mutex<(Option<Pass>, u64)>,
    damaged: Mutex<Vec<DamagedItem>>,
    /// What was damaged before the start and has not been read again yet.
    to_look_at: Mutex<Vec<Name>>,
    stopping: AtomicBool,
    resting: Mutex<()>,
    wake: Condvar,
}

/// Rounds under way in the background.
pub(crate) struct Running {
    keeper: Arc<Keeper>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends them where they are.
    pub(crate) async fn stop(self) {
        self.keeper.stopping.store(true, Ordering::Release);
        drop(self.keeper.resting.lock());
        self.keeper.wake.notify_all();
        for task in self.tasks {
            let _ = task.await;
        }
        self.keeper.note_at_end();
    }
}

impl Keeper {
    /// Goes on from what was kept. A note that cannot be read is a new round.
    pub(crate) fn resume(
        config: UpkeepConfig,
        log: Arc<LogStore>,
        time: Arc<NodeTime>,
        own: Arc<Own>,
        maintenance: Arc<Maintenance>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let kept = own.get(rounds::NOTE).ok().flatten().and_then(|bytes| Scrub::decode(bytes).ok());
        let known = own.get(rounds::DAMAGED).ok().flatten().and_then(|bytes| remembered::decode(bytes).ok());
        Self {
            counts: Arc::default(),
            pulse,
            config,
            log,
            time,
            own,
            maintenance,
            scrub: Mutex::new(kept.unwrap_or_default()),
            collected: Mutex::default(),
            damaged: Mutex::default(),
            to_look_at: Mutex::new(known.unwrap_or_default()),
            stopping: AtomicBool::new(false),
            resting: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Holds the calling thread up for so long, or until the node is told to stop.
    pub(crate) fn rest(&self, pause: Duration) {
        let mut resting = self.resting.lock();
        if pause > Duration::ZERO && !self.stopping.load(Ordering::Acquire) {
            self.wake.wait_for(&mut resting, pause);
        }
    }

    /// Remembers what was found damaged, by whom ever. Answers whether it is news.
    fn note_damaged(&self, item: DamagedItem) -> bool {
        let mut damaged = self.damaged.lock();
        let is_new = damaged.len() < DAMAGED_MAX && !damaged.contains(&item);
        if is_new {
            damaged.push(item);
        }
        is_new
    }

    /// Keeps the names of what is damaged across restarts.
    fn keep_damaged(&self) {
        let mut names: Vec<Name> = self.damaged.lock().iter().filter_map(Name::of).collect();
        names.extend(self.to_look_at.lock().iter().cloned());
        names.dedup();
        names.truncate(DAMAGED_MAX);
        if let Err(error) = self.own.set(rounds::DAMAGED, &remembered::encode(&names), self.time.now()) {
            tracing::debug!(%error, "what is damaged could not be noted");
        }
    }

    /// Reads again what was damaged before the start.
    pub(super) fn look_again(&self) {
        loop {
            // It stays in the list while it is read: a note made meanwhile has it, too.
            let Some(name) = self.to_look_at.lock().last().cloned() else { return };
            let found = match &name {
                Name::Blob(id) => self.log.read_blob_again(*id),
                Name::Record(namespace, key) => self.log.read_record_again(*namespace, key),
            };
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            match found {
                Ok(Some(item)) => {
                    self.note_damaged(item);
                }
                Ok(None) => {}
                Err(_) => return,
            }
            self.to_look_at.lock().retain(|waiting| *waiting != name);
        }
    }

    /// What is damaged and was not mended, replaced or deleted since.
    fn still_damaged(&self) -> Vec<DamagedItem> {
        let mut news = false;
        for found in self.pulse.take_found() {
            let item = match found {
                Found::Blob(id) => self.log.damaged_blob(id),
                Found::Record(namespace, slot, key) => {
                    self.log.damaged_record(Address { namespace, slot, key: &key })
                }
            };
            news |= item.is_some_and(|item| self.note_damaged(item));
        }
        let still = {
            let mut damaged = self.damaged.lock();
            let before = damaged.len();
            damaged.retain(|item| self.log.is_still_damaged(item));
            news |= damaged.len() != before;
            damaged.clone()
        };
        if news {
            self.keep_damaged();
        }
        still
    }

    /// What was done, found, and is to be done next.
    pub(crate) fn look(&self) -> v1::UpkeepResponse {
        let ms =
            |every: Option<Duration>| every.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let scrub = *self.scrub.lock();
        let (collect_last, collect_next_ms) = *self.collected.lock();
        v1::UpkeepResponse {
            now_ms: self.time.now().ms(),
            scrub_every_ms: ms(self.config.scrub_every),
            collect_every_ms: ms(self.config.collect_every),
            scrub_next_ms: if self.config.scrub_every.is_some() && scrub.now.is_none() {
                scrub.next_ms
            } else {
                0
            },
            collect_next_ms: if self.config.collect_every.is_some() { collect_next_ms } else { 0 },
            scrub_last: scrub.last.map(pass_message),
            scrub_now: scrub.now.map(|(pass, _)| pass_message(pass)),
            collect_last: collect_last.map(pass_message),
            damaged: self.still_damaged().into_iter().map(|item| self.item_message(item)).collect(),
            repaired: self.log.repaired(),
        }
    }

    fn item_message(&self, item: DamagedItem) -> v1::DamagedItem {
        damaged_message(&self.log, item)
    }
}

/// Something damaged, with the records that it belongs to.
pub(crate) fn damaged_message(log: &LogStore, item: DamagedItem) -> v1::DamagedItem {
    let kept_by = item.blob.map(|id| log.kept_by(id)).unwrap_or_default();
    let namespace = item.namespace.or_else(|| kept_by.first().map(|(namespace, _)| *namespace));
    v1::DamagedItem {
        key: item.key.map(|key| key.to_bytes()).unwrap_or_default(),
        blob: item.blob.map(|id| bytes::Bytes::copy_from_slice(&id.0)).unwrap_or_default(),
        place: item.place.to_string(),
        records: kept_by.into_iter().map(|(_, key)| key.to_bytes()).collect(),
        namespace: namespace.map_or(0, |namespace| namespace.0),
    }
}

fn pass_message(pass: Pass) -> v1::UpkeepPass {
    v1::UpkeepPass {
        started_ms: pass.started_ms,
        ended_ms: pass.ended_ms,
        took_ms: pass.took_ms,
        checked_bytes: pass.checked_bytes,
        checked_frames: pass.checked_frames,
        total_bytes: pass.total_bytes,
        damaged: pass.damaged,
        repaired: pass.repaired,
        orphaned: pass.orphaned,
        orphaned_bytes: pass.orphaned_bytes,
        removed_bytes: pass.removed_bytes,
    }
}
