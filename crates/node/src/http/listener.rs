//! The HTTP door's connections: who is on each, and taking the door down without cutting off what is under way.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder_door::connections::Caps;
use larder_door::http::limits::{
    ANSWERS_BYTES_MAX, BODIES_BYTES_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_NETWORK_MAX, JSON_EXTRA_BYTES_MAX,
    WATCHES_BYTES_MAX,
};
use larder_door::http::origin::Hosts;
use larder_door::proxies::Proxies;
use larder_door::{Caller, Limiter, Refusal};
use larder_format::ids::NodeId;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::connection::Guest;
use super::memory::Memory;
use super::service::Shared;
use super::watch::Watch;
use super::{answer, connection};
use crate::accepting::{Accepting, Arrived, Entrance, Host};
use crate::admission::Admission;
use crate::config::HttpConfig;
use crate::feeds::Feeds;
use crate::metrics::{DoorMetrics, Sources};
use crate::namespaces::Namespaces;
use crate::raw_tls::{self, Shaken};
use crate::server::Health;
use crate::tokens::Tokens;

/// What this door speaks over TLS.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// The door's socket, open before anything else is touched.
pub(crate) struct Door {
    entrance: Entrance,
    config: HttpConfig,
}

/// What the door serves from.
pub(crate) struct DoorParts {
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) health: Arc<Health>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) sources: Sources,
    pub(crate) proxies: Arc<Proxies>,
}

/// A door that is open.
pub(crate) struct Open {
    watch: Arc<Watch>,
    accepting: Accepting,
    watching: JoinHandle<()>,
}

impl Door {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(config: HttpConfig, connections_max: usize) -> std::io::Result<Self> {
        let caps =
            Caps { all: connections_max.min(CONNECTIONS_MAX), per_network: CONNECTIONS_PER_NETWORK_MAX };
        let entrance = Entrance::bind(config.listen, "larder-http", caps).await?;
        Ok(Self { entrance, config })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.entrance.address
    }

    /// Begins to serve.
    pub(crate) fn open(self, parts: DoorParts) -> Open {
        let watch = Arc::new(Watch::default());
        let speaks_tls = self.config.auth.speaks_tls(self.config.listen);
        let admission = speaks_tls.then(|| parts.sources.admission.clone());
        let longest_body = self.config.value_len_max * 2 + JSON_EXTRA_BYTES_MAX as usize;
        let shared = Arc::new(Shared {
            hosts: Hosts::new(&self.config.hosts),
            limiter: Limiter::new(self.config.rates),
            proxies: parts.proxies,
            bodies: Memory::new(BODIES_BYTES_MAX, longest_body),
            answers: Memory::new(ANSWERS_BYTES_MAX, 0),
            watches: Memory::new(WATCHES_BYTES_MAX, 0),
            feeds: parts.feeds,
            space: OnceLock::new(),
            config: self.config,
            node_id: NodeId(parts.sources.log.id().0),
            registers: parts.sources.registers.clone(),
            namespaces: parts.namespaces,
            tokens: parts.tokens,
            time: parts.sources.time.clone(),
            health: parts.health,
            metrics: parts.sources.metrics.clone(),
            sources: parts.sources,
        });
        let watching = tokio::spawn(watch.clone().run(shared.tokens.clone()));
        let serve = {
            let watch = watch.clone();
            move |arrived| welcome(arrived, admission.clone(), watch.clone())
        };
        Open { watch, accepting: self.entrance.open(shared, serve), watching }
    }
}

impl Host for Shared {
    const PROTOCOL: &'static str = "HTTP";

    fn counts(&self) -> &DoorMetrics {
        &self.metrics.http
    }

    fn proxies(&self) -> (&Proxies, bool) {
        (&self.proxies, self.config.proxy_protocol)
    }

    fn words(refusal: Refusal) -> Vec<u8> {
        answer::in_full(refusal)
    }
}

impl Open {
    /// Takes no new connections and closes those without a request; the others after their answer.
    pub(crate) fn stop(&self) {
        self.accepting.stop();
        self.watch.stop();
    }

    /// Waits until all have ended, at most this long; what is left is cut off.
    pub(crate) async fn ended(self, within: Duration) {
        self.stop();
        self.accepting.ended(within).await;
        self.watching.abort();
        let _ = self.watching.await;
    }
}

/// Finds out who it is, where that is needed, and serves them.
async fn welcome(arrived: Arrived<Shared>, admission: Option<Arc<Admission>>, watch: Arc<Watch>) {
    let peer = arrived.peer;
    let Some((mut stream, mut visit)) = arrived.begin() else { return };
    let shared = visit.host.clone();
    let caller = match visit.whose(&mut stream, peer).await {
        Ok(caller) => caller,
        Err(refusal) => {
            shared.metrics.http.refused(refusal);
            return connection::turn_away(stream, refusal).await;
        }
    };
    let Some(admission) = admission else {
        let guest = Guest { caller, identity: None, ended: None };
        return connection::serve(shared, stream, guest, watch.begin()).await;
    };
    // A handshake is what costs most of what a stranger can ask for.
    if let Err(refusal) = shared.limiter.take_handshake(&caller, shared.time.monotonic()) {
        shared.metrics.http.refused(refusal);
        return;
    }
    let shaken = match raw_tls::shake(&admission, stream, &caller, (shared.config.auth, PROTOCOLS)).await {
        Ok(shaken) => shaken,
        Err(refusal) => return shared.metrics.http.refused(refusal),
    };
    let Shaken { stream, known } = shaken;
    let Some((identity, mut seat)) = known else {
        let guest = Guest { caller, identity: None, ended: None };
        return connection::serve(shared, stream, guest, watch.begin()).await;
    };
    let caller = Caller::with_certificate(caller.address, &identity.name);
    visit.place.known();
    // The rest of the seat is kept until the connection has ended.
    let (_never, gone) = oneshot::channel();
    let ended = std::mem::replace(&mut seat.ended, gone);
    let guest = Guest { caller, identity: Some(identity), ended: Some(ended) };
    connection::serve(shared, stream, guest, watch.begin()).await;
}
