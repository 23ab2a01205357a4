//! What the node counts, and how it tells: one place for all doors, the store and the process, always as things are
//! now. Hot paths only add to [`cells`]; everything else happens when somebody looks.
//!
//! [`family`] is the data, [`door`] counts requests, [`gather`] asks the store and [`process`] the system;
//! [`prometheus`] and [`shown`] write it down.

mod cells;
pub(crate) mod door;
mod family;
mod gather;
mod grpc;
mod process;
pub(crate) mod prometheus;
pub(crate) mod redis;
mod shown;

use std::sync::atomic::{AtomicU64, Ordering};

use larder_store::log::{CollectReport, CompactReport};

pub(crate) use cells::Cells;
pub(crate) use door::DoorMetrics;
pub(crate) use gather::Sources;
pub(crate) use grpc::CountLayer;
pub(crate) use process::{process_seconds, resident_bytes};
pub(crate) use redis::RedisMetrics;

/// All counters of a node.
pub(crate) struct Metrics {
    /// The HTTP door.
    pub(crate) http: DoorMetrics,
    /// The gRPC door.
    pub(crate) grpc: DoorMetrics,
    /// The Redis door.
    pub(crate) redis: RedisMetrics,
    /// What the chores did.
    pub(crate) chores: ChoreCounts,
}

/// What the chores did since the node started.
#[derive(Debug, Default)]
pub(crate) struct ChoreCounts {
    /// Records in memory whose time was up.
    pub(crate) expired_memory: Count,
    /// Records on disk whose time was up.
    pub(crate) expired_disk: Count,
    /// Blobs that nothing kept.
    pub(crate) collected_blobs: Count,
    /// Their bytes.
    pub(crate) collected_bytes: Count,
    /// Bytes of the log looked at to give space back.
    pub(crate) compaction_read_bytes: Count,
    /// Bytes of them that were still needed and copied.
    pub(crate) compaction_copied_bytes: Count,
    /// Files given back.
    pub(crate) freed_segments: Count,
    /// Times that background work failed and is tried again.
    pub(crate) failures: Count,
}

impl ChoreCounts {
    /// Space was given back.
    pub(crate) fn gave_back(&self, collected: &CollectReport, compacted: &CompactReport) {
        self.collected_blobs.add(collected.blobs);
        self.collected_bytes.add(collected.bytes);
        self.compaction_read_bytes.add(compacted.read_bytes);
        self.compaction_copied_bytes.add(compacted.copied_bytes);
        self.freed_segments.add(compacted.freed_segments);
    }
}

/// A number that only rises and is seldom added to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// As it is now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            http: DoorMetrics::new("http", crate::http::operation::NAMES, crate::http::operation::STATUSES),
            grpc: DoorMetrics::new("grpc", grpc::METHODS, grpc::CODES),
            redis: RedisMetrics::new(),
            chores: ChoreCounts::default(),
        }
    }
}

/// Metrics of all kinds at this moment.
pub(crate) struct Report(Vec<family::Family>);

impl Report {
    /// For Prometheus.
    pub(crate) fn prometheus(self) -> String {
        prometheus::text(self.0)
    }

    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        shown::json(&self.0)
    }

    /// For people.
    pub(crate) fn human(&self) -> String {
        shown::human(&self.0)
    }
}
