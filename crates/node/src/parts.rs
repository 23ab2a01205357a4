//! What a node is made of, joined once: storage, rules, time, counters. Doors and chores get what they need of it.

use std::sync::Arc;

use larder_door::proxies::Proxies;
use larder_format::clock::Clock;
use larder_format::ids::NodeId;
use larder_format::rng::{Rng, SystemRng};
use larder_store::api::RecordStore;
use larder_store::log::LogStore;
use larder_store::memory::{MemoryConfig, MemoryTable};
use larder_wire::v1;
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::blobs::Blobs;
use crate::chores::Chores;
use crate::config::NodeConfig;
use crate::emptying::Emptying;
use crate::feeds::Feeds;
use crate::grpc::{BlobsService, Giving, Limits, NodeService, RecordsService};
use crate::http::DoorParts;
use crate::leases::Leases;
use crate::maintenance::Maintenance;
use crate::metrics::{Metrics, Sources};
use crate::namespaces::Namespaces;
use crate::own::Own;
use crate::registers::Registers;
use crate::resp;
use crate::room::{
    INCOMING_BYTES_MAX, OUTGOING_BYTES_MAX, PAGES_OUT_BYTES_MAX, RECORDS_IN_BYTES_MAX, RECORDS_OUT_BYTES_MAX,
    Rooms,
};
use crate::server::{Health, NodeError};
use crate::time::NodeTime;
use crate::tokens::Tokens;
use crate::upkeep::Keeper;

/// All of it.
pub(crate) struct Parts {
    pub(crate) log: Arc<LogStore>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) time: Arc<NodeTime>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<Metrics>,
    own: Arc<Own>,
    memory: Arc<MemoryTable>,
    namespaces: Arc<Namespaces>,
    pub(crate) tokens: Arc<Tokens>,
    registers: Arc<Registers>,
    leases: Arc<Leases>,
    blobs: Arc<Blobs>,
    health: Arc<Health>,
    maintenance: Arc<Maintenance>,
    pub(crate) keeper: Arc<Keeper>,
    /// Proxies that are trusted, at every door.
    pub(crate) proxies: Arc<Proxies>,
    /// What may be asked over gRPC.
    pub(crate) limits: Arc<Limits>,
    /// Room for messages that are arriving over gRPC, blobs apart.
    pub(crate) records_in: Arc<Rooms>,
}

/// The services of the gRPC door.
pub(crate) struct Services {
    pub(crate) records: RecordsService,
    pub(crate) blobs: BlobsService,
    pub(crate) node: NodeService,
}

impl Parts {
    /// Joins them over a store that is open.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn join(
        config: &NodeConfig,
        log: Arc<LogStore>,
        admission: Arc<Admission>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NodeError> {
        let memory = Arc::new(MemoryTable::counting(
            MemoryConfig { cap_bytes: config.memory_cap_bytes, hash_seed: SystemRng.u64() },
            log.used().clone(),
        ));
        let own = Arc::new(Own::new(log.clone()));
        log.set_quota(own.quota()?);
        let feeds = Feeds::start(&log, memory.feed());
        // A version is a time too: one that was told must not be given out again.
        let high = RecordStore::time(log.as_ref()).max(log.newest_version().0);
        let time = Arc::new(NodeTime::resume(clock, high));
        let namespaces = Arc::new(Namespaces::load(log.clone(), memory.clone())?);
        let tokens = Arc::new(Tokens::load(log.clone(), time.clone())?);
        let max = config.value_len_max;
        let registers =
            Arc::new(Registers::new(memory.clone(), log.clone(), namespaces.clone(), time.clone(), max));
        let leases = Arc::new(Leases {
            registers: registers.clone(),
            namespaces: namespaces.clone(),
            log: log.clone(),
        });
        let blobs = Arc::new(Blobs::new(log.clone(), namespaces.clone(), time.clone(), leases.clone()));
        let metrics = Arc::new(Metrics::new());
        let limits = Arc::new(Limits::new(config.grpc.rates, time.clone(), metrics.clone()));
        let health = Arc::new(Health { log: log.clone() });
        let maintenance = Arc::new(Maintenance {
            log: log.clone(),
            leases: leases.clone(),
            collecting: Mutex::default(),
            scrubbing: Mutex::default(),
        });
        let keeper = Arc::new(Keeper::resume(
            config.upkeep,
            log.clone(),
            time.clone(),
            own.clone(),
            maintenance.clone(),
            registers.pulse().clone(),
        ));
        Ok(Self {
            log,
            feeds,
            time,
            admission,
            metrics,
            own,
            memory,
            namespaces,
            tokens,
            registers,
            leases,
            blobs,
            health,
            maintenance,
            keeper,
            proxies: Arc::new(config.proxies.clone()),
            limits,
            records_in: Arc::new(Rooms::new(RECORDS_IN_BYTES_MAX, Some(RECORDS_IN_BYTES_MAX / 2))),
        })
    }

    fn sources(&self) -> Sources {
        Sources {
            metrics: self.metrics.clone(),
            registers: self.registers.clone(),
            blobs: self.blobs.clone(),
            log: self.log.clone(),
            time: self.time.clone(),
            admission: self.admission.clone(),
            upkeep: self.keeper.counts.clone(),
            tokens: self.tokens.clone(),
        }
    }

    /// For the HTTP door.
    pub(crate) fn for_http(&self) -> DoorParts {
        DoorParts {
            namespaces: self.namespaces.clone(),
            tokens: self.tokens.clone(),
            health: self.health.clone(),
            feeds: self.feeds.clone(),
            sources: self.sources(),
            proxies: self.proxies.clone(),
        }
    }

    /// For the Redis door.
    pub(crate) fn for_redis(&self) -> resp::DoorParts {
        resp::DoorParts {
            memory: self.memory.clone(),
            namespaces: self.namespaces.clone(),
            tokens: self.tokens.clone(),
            feeds: self.feeds.clone(),
            sources: self.sources(),
            proxies: self.proxies.clone(),
        }
    }

    /// For the chores.
    pub(crate) fn for_chores(&self) -> Chores {
        Chores {
            metrics: self.metrics.clone(),
            registers: self.registers.clone(),
            time: self.time.clone(),
            log: self.log.clone(),
            leases: self.leases.clone(),
            tokens: self.tokens.clone(),
            audit: Mutex::default(),
        }
    }

    /// For the gRPC door.
    pub(crate) fn for_grpc(&self, raw_doors: Vec<v1::RawDoor>) -> Services {
        let node = NodeService {
            node_id: NodeId(self.log.id().0),
            registers: self.registers.clone(),
            blobs: self.blobs.clone(),
            namespaces: self.namespaces.clone(),
            time: self.time.clone(),
            admission: self.admission.clone(),
            health: self.health.clone(),
            raw_doors,
            own: self.own.clone(),
            tokens: self.tokens.clone(),
            log: self.log.clone(),
            maintenance: self.maintenance.clone(),
            keeper: self.keeper.clone(),
            emptying: Arc::new(Emptying {
                registers: self.registers.clone(),
                namespaces: self.namespaces.clone(),
                leases: self.leases.clone(),
                log: self.log.clone(),
            }),
        };
        let giving = |bytes, each| Giving::new(bytes, each, self.time.clone(), self.admission.clone());
        Services {
            records: RecordsService {
                registers: self.registers.clone(),
                feeds: self.feeds.clone(),
                limits: self.limits.clone(),
                taking: self.records_in.clone(),
                giving: giving(RECORDS_OUT_BYTES_MAX, Some(RECORDS_OUT_BYTES_MAX / 2)),
                pages: giving(PAGES_OUT_BYTES_MAX, Some(PAGES_OUT_BYTES_MAX / 2)),
            },
            blobs: BlobsService {
                blobs: self.blobs.clone(),
                taking: Rooms::new(INCOMING_BYTES_MAX, None),
                giving: giving(OUTGOING_BYTES_MAX, None),
            },
            node,
        }
    }
}
