//! Asks store, registers and process how things are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_format::namespace::Class;
use larder_store::log::LogStore;

use super::door::Families;
use super::family::{Family, Kind, Sample, Section, Value, label};
use super::{Metrics, Report, process};
use crate::admission::Admission;
use crate::blobs::Blobs;
use crate::registers::{OPERATIONS, Registers};
use crate::time::NodeTime;
use crate::tokens::Tokens;
use crate::upkeep::Upkeep;

/// Where figures come from.
pub(crate) struct Sources {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registers: Arc<Registers>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) log: Arc<LogStore>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) tokens: Arc<Tokens>,
}

fn gauge(section: Section, name: &'static str, help: &'static str, value: u64) -> Family {
    Family::one(section, Kind::Gauge, name, help, Value::Number(value as f64))
}

/// Figures of one section and kind: name, meaning, value.
fn rows<const N: usize>(
    section: Section,
    kind: Kind,
    rows: [(&'static str, &'static str, u64); N],
) -> impl Iterator<Item = Family> {
    rows.into_iter().map(move |(name, help, value)| {
        let value = if kind == Kind::Counter { Value::Count(value) } else { Value::Number(value as f64) };
        Family::one(section, kind, name, help, value)
    })
}

impl Sources {
    /// All there is, now.
    pub(crate) fn report(&self) -> Report {
        let mut all = self.held();
        all.extend(self.operations());
        let mut doors = Families::default();
        self.metrics.http.collect(&mut doors);
        self.metrics.grpc.collect(&mut doors);
        self.metrics.redis.collect(&mut doors);
        all.extend(doors.finish());
        all.extend(self.space());
        all.extend(self.background());
        all.extend(self.upkeep());
        all.extend(self.certificates());
        all.extend(self.tokens());
        let uptime_s = self.time.monotonic().as_secs_f64();
        let build =
            Sample { labels: vec![label("version", env!("CARGO_PKG_VERSION"))], value: Value::Number(1.0) };
        all.extend([
            Family::one(
                Section::System,
                Kind::Gauge,
                "larder_uptime_seconds",
                "Time since start",
                Value::Number(uptime_s),
            ),
            Family {
                section: Section::System,
                name: "larder_build_info",
                kind: Kind::Gauge,
                help: "1, with the program's version",
                samples: vec![build],
            },
            // This node is alone; rules about peers are ready for when it is not.
            gauge(Section::Network, "larder_peers", "Peers that answer", 0),
            gauge(Section::Network, "larder_peers_expected", "Peers there should be", 0),
        ]);
        all.extend(process::families());
        Report(all)
    }

    /// What the node holds.
    fn held(&self) -> Vec<Family> {
        let disk = self.registers.table(Class::Disk).usage();
        let memory = self.registers.table(Class::Memory).usage();
        let blobs = self.blobs.store().usage();
        let both = |section, name, help, disk, memory| {
            Family::by((section, Kind::Gauge), name, help, "class", &[("disk", disk), ("memory", memory)])
        };
        let mut all = vec![
            both(Section::Storage, "larder_stored_items", "Records held", disk.records, memory.records),
            both(
                Section::Storage,
                "larder_stored_bytes",
                "Bytes of keys and values of records held",
                disk.payload_bytes,
                memory.payload_bytes,
            ),
        ];
        let files = [
            ("larder_file_records", "Records on disk: files, versions, folders", disk.records),
            ("larder_blobs", "Chunks of files held", blobs.blobs),
            ("larder_blob_bytes", "Bytes of chunks held", blobs.blob_bytes),
            ("larder_orphan_blobs", "Chunks that nothing keeps, not collected yet", blobs.orphans),
            ("larder_orphan_bytes", "Bytes of those", blobs.orphan_bytes),
            ("larder_leases", "Leases on chunks", blobs.leases),
        ];
        let values = [
            ("larder_value_records", "Values in memory", memory.records),
            ("larder_value_bytes", "Bytes of their keys and values", memory.payload_bytes),
        ];
        all.extend(rows(Section::Files, Kind::Gauge, files));
        all.extend(rows(Section::Values, Kind::Gauge, values));
        all
    }

    /// Operations on records, through whichever door.
    fn operations(&self) -> Vec<Family> {
        let of = |class: Class| {
            let counts: Vec<(&str, u64)> = OPERATIONS
                .iter()
                .enumerate()
                .map(|(at, name)| (*name, self.registers.operations(class, at)))
                .collect();
            counts
        };
        let help = "Operations on records, through whichever door";
        vec![
            Family::by(
                (Section::Values, Kind::Counter),
                "larder_value_operations_total",
                help,
                "operation",
                &of(Class::Memory),
            ),
            Family::by(
                (Section::Files, Kind::Counter),
                "larder_file_operations_total",
                help,
                "operation",
                &of(Class::Disk),
            ),
        ]
    }

    /// Who is here with a certificate, and how the node's own stands.
    fn certificates(&self) -> Vec<Family> {
        let now = self.admission.status();
        let left_s = now.not_after_ms.saturating_sub(self.time.wall_ms()) / 1000;
        let here = [
            (
                "larder_admitted_connections",
                "Connections open now with a certificate: gRPC, and HTTPS",
                now.connections as u64,
            ),
            ("larder_admitted_connections_max", "Most of those", now.connections_max as u64),
            ("larder_revoked_certificates", "Certificates on the revocation list", now.revoked as u64),
            ("larder_certificate_left_seconds", "How long the node's certificate still holds", left_s),
        ];
        let rejected = [(
            "larder_certificates_rejected",
            "1 if changed certificate files do not fit and are not in force",
            u64::from(!now.problem.is_empty()),
        )];
        rows(Section::Network, Kind::Gauge, here)
            .chain(rows(Section::Errors, Kind::Gauge, rejected))
            .collect()
    }

    fn space(&self) -> Vec<Family> {
        let memory = self.registers.table(Class::Memory).usage();
        let blobs = self.blobs.store().usage();
        let figures = [
            ("larder_store_bytes", "Bytes of the store's files", blobs.disk_bytes),
            ("larder_disk_free_bytes", "Bytes the store's disk has left", blobs.disk_free_bytes),
            (
                "larder_memory_accounted_bytes",
                "Bytes of values in memory with overhead, as the cap counts them",
                memory.accounted_bytes,
            ),
            ("larder_memory_cap_bytes", "The cap on those; 0: none", memory.cap_bytes),
        ];
        let evicted = [(
            "larder_memory_evicted_total",
            "Values let go before their time because the cap was reached, where their namespace says so",
            self.registers.values().evicted(),
        )];
        rows(Section::Storage, Kind::Gauge, figures)
            .chain(rows(Section::Storage, Kind::Counter, evicted))
            .collect()
    }

    fn tokens(&self) -> Vec<Family> {
        let refused = [(
            "larder_tokens_refused_total",
            "Tokens shown at a raw door that were none, or none any more",
            self.tokens.refused(),
        )];
        let kept =
            gauge(Section::System, "larder_tokens", "Tokens that are kept", self.tokens.count() as u64);
        std::iter::once(kept).chain(rows(Section::Errors, Kind::Counter, refused)).collect()
    }

    fn upkeep(&self) -> Vec<Family> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let upkeep = &self.upkeep;
        let rounds = [
            ("larder_scrubbed_bytes_total", "Bytes read back and verified", of(&upkeep.scrubbed_bytes)),
            ("larder_scrub_rounds_total", "Times everything was verified", of(&upkeep.scrub_rounds)),
            ("larder_collect_rounds_total", "Thorough collections", of(&upkeep.collect_rounds)),
            (
                "larder_collect_removed_bytes_total",
                "Bytes of the disk that thorough collections gave back",
                of(&upkeep.removed_bytes),
            ),
        ];
        let wrong = [
            ("larder_scrub_damaged_total", "Damaged places found by scrubs", of(&upkeep.damaged)),
            (
                "larder_repaired_bytes_total",
                "Single wrong bytes put right while reading",
                self.log.repaired(),
            ),
        ];
        rows(Section::Storage, Kind::Counter, rounds)
            .chain(rows(Section::Errors, Kind::Counter, wrong))
            .collect()
    }

    fn background(&self) -> Vec<Family> {
        let chores = &self.metrics.chores;
        let expired = [("disk", chores.expired_disk.get()), ("memory", chores.expired_memory.get())];
        let expired = Family::by(
            (Section::Storage, Kind::Counter),
            "larder_expired_records_total",
            "Records removed because their time was up",
            "class",
            &expired,
        );
        let given_back = [
            (
                "larder_collected_blobs_total",
                "Chunks removed because nothing kept them",
                chores.collected_blobs.get(),
            ),
            ("larder_collected_bytes_total", "Bytes of those", chores.collected_bytes.get()),
            (
                "larder_compaction_read_bytes_total",
                "Bytes of the log looked at to give space back",
                chores.compaction_read_bytes.get(),
            ),
            (
                "larder_compaction_copied_bytes_total",
                "Bytes of those that were needed and copied",
                chores.compaction_copied_bytes.get(),
            ),
            ("larder_freed_segments_total", "Files of the log given back", chores.freed_segments.get()),
        ];
        let failures = [(
            "larder_background_failures_total",
            "Times that background work failed and was tried again",
            chores.failures.get(),
        )];
        let store = [
            (
                "larder_store_closed",
                "1 if the store has stopped itself and serves nothing",
                u64::from(self.log.closed().is_some()),
            ),
            (
                "larder_store_damaged",
                "1 if parts of the log are lost and nobody accepted it",
                u64::from(self.log.has_unaccepted_damage()),
            ),
        ];
        std::iter::once(expired)
            .chain(rows(Section::Storage, Kind::Counter, given_back))
            .chain(rows(Section::Errors, Kind::Counter, failures))
            .chain(rows(Section::Errors, Kind::Gauge, store))
            .collect()
    }
}
