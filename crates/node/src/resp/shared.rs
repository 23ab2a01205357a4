//! What all connections of the door share.

use std::sync::Arc;

use larder_door::Limiter;
use larder_door::proxies::Proxies;
use larder_door::resp::Bounds;
use larder_door::resp::limits::{STRANGER_ARGUMENTS_MAX, STRANGER_BULK_BYTES_MAX};
use larder_format::ids::{NamespaceId, NodeId};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_store::api::{RecordStore, RecordUsage};
use larder_store::memory::MemoryTable;

use super::budget::Shares;
use super::clients::Clients;
use super::notify::Notify;
use super::pubsub::Topology;
use super::session::Space;
use crate::config::RedisConfig;
use crate::metrics::Sources;
use crate::namespaces::Namespaces;
use crate::tokens::Tokens;

/// What all connections of the door share.
pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) node_id: NodeId,
    /// Values in memory.
    pub(crate) memory: Arc<MemoryTable>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(super) tokens: Arc<Tokens>,
    /// Everything figures come from; time and metrics are in it.
    pub(crate) sources: Sources,
    pub(crate) clients: Arc<Clients>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) notify: Notify,
    /// Who may ask how much.
    pub(super) limiter: Limiter,
    /// Who is believed to call for others.
    pub(super) proxies: Arc<Proxies>,
    /// For requests that have come in part, and what `MULTI` queued.
    pub(super) partial: Shares,
    /// For answers that their clients have not taken.
    pub(super) unsent: Shares,
}

impl Shared {
    /// The namespace of that name, as a connection's database 0. There is one in any case: what is wrong with it is said
    /// to whoever wants a value of it.
    pub(super) fn space(&self, name: &str) -> Arc<Space> {
        let id = NamespaceId::of(name);
        // Before it is looked up: settings that change meanwhile are looked up again.
        let epoch = self.namespaces.epoch();
        let (settings, refusal) = match self.namespaces.get(id) {
            Err(_) => (
                Arc::new(Namespace::new(name, Privacy::Raw, Class::Memory, ScanOrder::Hash)),
                Some(format!(
                    "ERR this node has no namespace {name:?} yet; `larder up` makes `raw`, `larder namespace create` others"
                )),
            ),
            Ok(settings) => {
                let refusal = match (settings.privacy, settings.class) {
                    (Privacy::Sealed, _) => Some(format!(
                        "ERR the namespace {name:?} is sealed: a Redis client neither reads nor writes it"
                    )),
                    (_, Class::Disk) => Some(format!(
                        "ERR the namespace {name:?} is kept on disk, and this door serves values in memory; use HTTP or \
                         `larder value`, or set redis_namespace to a namespace in memory"
                    )),
                    _ => None,
                };
                (settings, refusal)
            }
        };
        Arc::new(Space { id, settings, epoch, refusal })
    }

    /// How long requests may be.
    pub(super) fn bounds(&self, is_unknown: bool) -> Bounds {
        if is_unknown {
            return Bounds {
                arguments_max: STRANGER_ARGUMENTS_MAX,
                bulk_len_max: STRANGER_BULK_BYTES_MAX,
                stranger: true,
            };
        }
        Bounds::known(self.config.value_len_max)
    }

    /// What is held in memory, of all namespaces.
    pub(super) fn memory_usage(&self) -> RecordUsage {
        self.memory.usage()
    }

    /// How many keys a namespace has.
    pub(super) fn keys_of(&self, space: &Space) -> u64 {
        self.sources.log.used().of(space.id).look().records
    }

    /// Bytes held of requests that have come in part, and of what is queued.
    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.held()
    }

    /// Bytes held of answers and messages that nobody has taken.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent.held() + self.clients.mail_bytes()
    }
}
