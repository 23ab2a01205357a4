//! Blobs of this node: checks what a blind node can check, and bounds what is in flight.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::limits::{BLOB_LEN_MAX, LEASE_BLOBS_MAX, LEASE_DEADLINE_MS_MAX};
use larder_format::namespace::Privacy;
use larder_store::api::{BlobStore, LeaseGrant, StoreError, Ticket};
use larder_wire::answer::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::holders::{Holders, Waiting};
use crate::leases::Leases;
use crate::namespaces::Namespaces;
use crate::registers::store_failure;
use crate::time::NodeTime;

/// Most bytes of blobs that may wait for the disk, over all clients. A client that is faster than the disk is
/// slowed down by gRPC flow control once this is reached.
pub const QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Permits are counted in units of this many bytes, because a semaphore counts in `u32`.
const PERMIT_BYTES: usize = 1024;

/// All blobs of this node.
pub struct Blobs {
    store: Arc<dyn BlobStore>,
    namespaces: Arc<Namespaces>,
    time: Arc<NodeTime>,
    leases: Arc<Leases>,
    holders: Holders,
    room: Arc<Semaphore>,
}

impl Waiting for Leases {
    fn blobs_of(&self, token: LeaseToken) -> Option<u64> {
        self.log.lease_info(token).filter(|info| info.deadline_ms.is_some()).map(|info| info.blobs)
    }

    fn blobs(&self) -> u64 {
        self.log.usage().blobs
    }
}

/// A blob, or a part of it, as it was read.
#[derive(Debug)]
pub struct BlobRead {
    /// What was asked for.
    pub bytes: Bytes,
    /// Bytes that it keeps in memory: those of the whole blob.
    pub held: usize,
}

/// A blob on its way to the disk. Holds its share of the queue until it is dropped.
#[derive(Debug)]
pub struct Storing {
    /// Resolves when the blob is durable.
    pub ticket: Ticket,
    _room: OwnedSemaphorePermit,
}

impl Blobs {
    /// Over this store.
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        namespaces: Arc<Namespaces>,
        time: Arc<NodeTime>,
        leases: Arc<Leases>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(QUEUED_BYTES_MAX / PERMIT_BYTES));
        Self { store, namespaces, time, leases, holders: Holders::default(), room }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }

    /// Checks a lease that a client asks for.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it has ended or ends too late; [`Kind::NotFound`] for an unknown namespace.
    pub fn check_lease(&self, lease: &LeaseGrant) -> Result<(), Failure> {
        self.namespaces.get(lease.namespace)?;
        let now_ms = self.time.now().ms();
        if lease.deadline_ms <= now_ms {
            return Err(Failure::new(
                Kind::Invalid,
                "the lease asked for has ended already; check the clock",
            ));
        }
        if lease.deadline_ms - now_ms > LEASE_DEADLINE_MS_MAX {
            let message = format!("the lease asked for ends too late max_ms={LEASE_DEADLINE_MS_MAX}");
            return Err(Failure::new(Kind::Invalid, message));
        }
        Ok(())
    }

    /// Notes that a client asks for so many blobs under a lease that no record lists yet.
    ///
    /// # Errors
    /// [`Kind::Full`] if that is more than its share.
    pub(crate) fn charge(&self, name: &str, token: LeaseToken, blobs: usize) -> Result<(), Failure> {
        let now_ms = self.time.now().ms();
        self.holders.charge(name, token, blobs as u64, now_ms, self.leases.as_ref())
    }

    /// Checks a blob, waits for room in the queue and hands it to the store.
    ///
    /// # Errors
    /// [`Failure`]; then nothing was stored.
    pub async fn put(&self, id: BlobId, bytes: Bytes, lease: &LeaseGrant) -> Result<Storing, Failure> {
        self.leases.registers.pulse().beat();
        if bytes.len() > BLOB_LEN_MAX {
            let message = format!("blob too long len={} max={BLOB_LEN_MAX}", bytes.len());
            return Err(Failure::new(Kind::Invalid, message));
        }
        if self.namespaces.get(lease.namespace)?.privacy == Privacy::Sealed {
            larder_format::sealed::check_blob(&bytes)
                .map_err(|e| Failure::new(Kind::Invalid, format!("not a sealed blob: {e}")))?;
        }
        let permits = u32::try_from(bytes.len().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let room = self
            .room
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| Failure::new(Kind::Closed, "the node is shutting down"))?;
        let ticket = self.store.put(id, bytes, lease).map_err(store_failure)?;
        Ok(Storing { ticket, _room: room })
    }

    /// Reads a blob, or a part of it; the whole is verified either way. Blocks the calling thread: for the
    /// disk, and for a blob put a moment ago until it is durable.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Damaged`], [`Kind::Invalid`] for a range beyond its end.
    #[allow(clippy::missing_panics_doc, reason = "offsets were checked against a length in memory")]
    pub fn get(&self, id: BlobId, offset: u64, length: u64) -> Result<BlobRead, Failure> {
        self.leases.registers.pulse().beat();
        let read = self.store.get(id);
        if let Err(StoreError::Damaged { .. }) = &read {
            self.leases.registers.pulse().found_damaged_blob(id);
        }
        let (found, durable) = read.map_err(store_failure)?;
        durable.wait().map_err(store_failure)?;
        let Some(whole) = found else {
            return Err(Failure::new(Kind::NotFound, format!("no such blob id={id}")));
        };
        let len = whole.len() as u64;
        let end = if length == 0 { len } else { offset.saturating_add(length) };
        if offset > end || end > len {
            let message = format!("range is beyond the blob offset={offset} end={end} len={len}");
            return Err(Failure::new(Kind::Invalid, message));
        }
        let at = |n: u64| usize::try_from(n).expect("an offset within a blob fits usize");
        Ok(BlobRead { bytes: whole.slice(at(offset)..at(end)), held: whole.len() })
    }

    /// Leases those blobs that are here; waits until that is durable.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn lease(&self, lease: &LeaseGrant, ids: &[BlobId]) -> Result<Vec<bool>, Failure> {
        if ids.len() > LEASE_BLOBS_MAX {
            let message = format!("too many blobs in one request count={} max={LEASE_BLOBS_MAX}", ids.len());
            return Err(Failure::new(Kind::Invalid, message));
        }
        self.check_lease(lease)?;
        let (present, ticket) = self.store.lease(lease, ids).map_err(store_failure)?;
        ticket.await.map_err(blob_failure)?;
        Ok(present)
    }

    /// The namespace of a lease that is held.
    #[must_use]
    pub fn namespace_of(&self, token: LeaseToken) -> Option<NamespaceId> {
        self.leases.log.lease_info(token).map(|lease| lease.namespace)
    }

    /// Gives a lease up: it ends, unless a record lists it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn release(&self, token: LeaseToken) -> Result<(), Failure> {
        let leases = self.leases.clone();
        // Looking at records may read the disk.
        let given_up = tokio::task::spawn_blocking(move || leases.give_up(token)).await;
        let ticket = given_up.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?.map_err(store_failure)?;
        ticket.await.map_err(blob_failure)
    }
}

/// As [`store_failure`], for blobs: of them nobody sees anything before a record lists them, so that one that
/// waits for room is simply not stored.
#[allow(clippy::needless_pass_by_value, reason = "made for map_err, which gives the error away")]
pub(crate) fn blob_failure(error: StoreError) -> Failure {
    let kind = if matches!(error, StoreError::Stalled) { Kind::Full } else { error.kind() };
    Failure { kind, ..store_failure(error) }
}
