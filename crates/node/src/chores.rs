//! What nobody waits for: removing what has expired, deciding about leases whose deadline has passed,
//! freeing blobs that nothing keeps, giving space back, and noting the time.
//!
//! Each chore works in small portions and yields in between, so that requests are served first.

use std::sync::Arc;
use std::time::Duration;

use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::Class;
use larder_format::record::Content;
use larder_store::api::{Address, BlobStore, LeaseInfo, RecordStore, ScanRequest, StoreError, Want};
use larder_store::log::LogStore;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::LeaseAudit;
use crate::namespaces::Namespaces;
use crate::registers::Registers;
use crate::time::NodeTime;

/// How often expired records are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);

/// Expired records removed before yielding.
const EXPIRY_PORTION: usize = 512;

/// How often leases past their deadline are looked at.
const LEASE_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is looked whether an audit is to begin or go on.
const AUDIT_INTERVAL: Duration = Duration::from_secs(30);

/// Leases decided about before yielding.
const LEASE_PORTION: usize = 256;

/// How often space is given back.
const SPACE_INTERVAL: Duration = Duration::from_secs(10);

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
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) log: Arc<LogStore>,
    pub(crate) audit: Mutex<LeaseAudit>,
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
        every(EXPIRY_INTERVAL, stopped.clone(), chores.clone(), Chores::expire),
        every(LEASE_INTERVAL, stopped.clone(), chores.clone(), Chores::settle_leases),
        every(AUDIT_INTERVAL, stopped.clone(), chores.clone(), Chores::audit_leases),
        every(SPACE_INTERVAL, stopped.clone(), chores.clone(), Chores::give_space_back),
        every(TIME_INTERVAL, stopped, chores, Chores::note_time),
    ];
    Running { stop, tasks }
}

/// Runs a portion on a blocking thread; again at once while there is more to do, else after the interval.
fn every(
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
    chores: Arc<Chores>,
    portion: fn(&Chores) -> Result<bool, StoreError>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let work = chores.clone();
            let pause = match tokio::task::spawn_blocking(move || portion(&work)).await {
                Ok(Ok(true)) => Duration::from_millis(1),
                Ok(Ok(false)) => interval,
                Ok(Err(StoreError::Closed { .. })) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "background work failed; it is tried again");
                    interval * 10
                }
                Err(error) => {
                    tracing::error!(%error, "background work panicked; it is tried again");
                    interval * 10
                }
            };
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    })
}

impl Chores {
    /// Removes expired records. Answers whether there may be more.
    fn expire(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        if !self.time.may_free() {
            return Ok(false);
        }
        let mut more = false;
        for class in [Class::Memory, Class::Disk] {
            let due = self.registers.table(class).due(now, EXPIRY_PORTION);
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
            if self.is_listed(lease)? {
                let _durable = self.log.confirm(lease.token)?;
            } else {
                let _durable = self.log.release(lease.token)?;
            }
        }
        Ok(due.len() == LEASE_PORTION)
    }

    /// Ends leases that no record lists any more, because their files were deleted or have expired.
    fn audit_leases(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        if !self.time.may_free() {
            return Ok(false);
        }
        let mut audit = self.audit.lock();
        for token in audit.portion(now.ms(), || self.log.lease_tokens()) {
            let Some(lease) = self.log.lease_info(token) else { continue };
            // Those with a deadline are decided about when it comes.
            if lease.deadline_ms.is_some() || self.is_listed(&lease)? {
                audit.cleared(token);
            } else if audit.is_overdue(token, now.ms()) {
                let _durable = self.log.raise_time(now)?;
                let _durable = self.log.release(token)?;
                audit.cleared(token);
            }
        }
        Ok(audit.has_more())
    }

    /// Whether the lease's record, or an older version kept beside it, lists the token.
    fn is_listed(&self, lease: &LeaseInfo) -> Result<bool, StoreError> {
        let Ok(namespace) = self.namespaces.get(lease.namespace) else { return Ok(false) };
        let table = self.registers.table(namespace.class);
        let mut request = ScanRequest {
            prefix: lease.key.to_bytes(),
            cursor: bytes::Bytes::new(),
            limit: 256,
            key_len_max: KEY_LEN_MAX,
            want: Want::Head,
        };
        loop {
            let page = table.scan(lease.namespace, &request)?;
            // A record that cannot be read might list it: keep what may be the only copy.
            if !page.damaged.is_empty() {
                return Ok(true);
            }
            let listed = page.records.iter().any(|(_, state)| match &state.content {
                Content::Live(live) => live.tokens.contains(&lease.token),
                Content::Shadow(_) => false,
            });
            match page.next {
                _ if listed => return Ok(true),
                Some(cursor) => request.cursor = cursor,
                None => return Ok(false),
            }
        }
    }

    /// Frees blobs that nothing keeps and moves live data out of nearly empty files.
    /// Time has no say in this: what nothing keeps was let go of before.
    fn give_space_back(&self) -> Result<bool, StoreError> {
        let collected = self.log.collect(COLLECT_PORTION_BLOBS)?;
        let compacted = self.log.compact(SPACE_PORTION_BYTES)?;
        Ok(collected.more || compacted.more)
    }

    fn note_time(&self) -> Result<bool, StoreError> {
        let now = self.time.now();
        if self.time.may_free() {
            let _durable = self.log.raise_time(now)?;
        }
        Ok(false)
    }
}
