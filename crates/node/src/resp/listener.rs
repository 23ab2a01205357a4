//! The Redis door's connections: who is on each, and taking the door down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use larder_door::caller::Standing;
use larder_door::connections::Caps;
use larder_door::proxies::Proxies;
use larder_door::resp::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_NETWORK_MAX, PARTIAL_BYTES_MAX, UNSENT_BYTES_MAX,
};
use larder_door::{Caller, Limiter, Refusal};
use larder_format::ids::NodeId;
use larder_store::memory::MemoryTable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::budget::Shares;
use super::clients::Clients;
use super::connection::Connection;
use super::notify::Notify;
use super::pubsub::Topology;
use super::session::{Session, Space};
use super::shared::Shared;
use crate::accepting::{Accepting, Arrived, Entrance, Host, Visit};
use crate::admission::Admission;
use crate::config::{RawAuth, RedisConfig};
use crate::feeds::Feeds;
use crate::identity::Identity;
use crate::metrics::{DoorMetrics, Sources};
use crate::namespaces::Namespaces;
use crate::raw_tls::{self, Shaken};
use crate::tokens::Tokens;

/// What clients of this door are said to speak: nothing, they do not ask.
const PROTOCOLS: &[&[u8]] = &[];

/// The door's socket, open before anything else is touched.
pub(crate) struct Door {
    entrance: Entrance,
    config: RedisConfig,
}

/// What the door serves from.
pub(crate) struct DoorParts {
    pub(crate) memory: Arc<MemoryTable>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) sources: Sources,
    pub(crate) proxies: Arc<Proxies>,
}

/// A door that is open.
pub(crate) struct Open {
    clients: Arc<Clients>,
    accepting: Accepting,
    watching: JoinHandle<()>,
}

impl Door {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(mut config: RedisConfig, descriptors: usize) -> std::io::Result<Self> {
        config.connections_max = config.connections_max.min(descriptors).min(CONNECTIONS_MAX);
        let caps = Caps { all: config.connections_max, per_network: CONNECTIONS_PER_NETWORK_MAX };
        let entrance = Entrance::bind(config.listen, "larder-redis", caps).await?;
        config.listen = entrance.address;
        Ok(Self { entrance, config })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.entrance.address
    }

    /// Begins to serve.
    pub(crate) fn open(self, parts: DoorParts) -> Open {
        let topology = Arc::new(Topology::default());
        let clients = Arc::new(Clients::new());
        let needs_tls = self.config.auth.speaks_tls(self.entrance.address);
        let admission = needs_tls.then(|| parts.sources.admission.clone());
        let shared = Arc::new(Shared {
            node_id: NodeId(parts.sources.log.id().0),
            memory: parts.memory,
            namespaces: parts.namespaces,
            tokens: parts.tokens,
            clients: clients.clone(),
            notify: Notify::new(topology.clone(), parts.feeds),
            topology,
            limiter: Limiter::new(self.config.rates),
            proxies: parts.proxies,
            partial: Shares::new(PARTIAL_BYTES_MAX),
            unsent: Shares::new(UNSENT_BYTES_MAX),
            config: self.config,
            sources: parts.sources,
        });
        let watching = tokio::spawn(clients.clone().run(shared.tokens.clone()));
        // Most connections are in the same namespace, and share what is known of it.
        let (of, mut space) = (shared.clone(), shared.space(&shared.config.namespace));
        let serve = move |arrived| {
            if space.refusal.is_some() {
                space = of.space(&of.config.namespace);
            }
            receive(arrived, admission.clone(), space.clone())
        };
        Open { clients, accepting: self.entrance.open(shared, serve), watching }
    }
}

impl Host for Shared {
    const PROTOCOL: &'static str = "Redis";

    fn counts(&self) -> &DoorMetrics {
        self.sources.metrics.redis.door()
    }

    fn proxies(&self) -> (&Proxies, bool) {
        (&self.proxies, self.config.proxy_protocol)
    }

    fn words(refusal: Refusal) -> Vec<u8> {
        match refusal {
            Refusal::Crowded => b"-ERR max number of clients reached\r\n".to_vec(),
            other => format!("-ERR {other}\r\n").into_bytes(),
        }
    }
}

impl Open {
    /// Takes no new connections, and closes those that are open after what they are at.
    pub(crate) fn stop(&self) {
        self.accepting.stop();
        self.clients.stop();
    }

    /// Waits until all have ended, at most this long; what is left is cut off.
    pub(crate) async fn ended(self, within: Duration) {
        self.stop();
        self.accepting.ended(within).await;
        self.watching.abort();
        let _ = self.watching.await;
    }
}

/// Serves a connection that has come in.
async fn receive(arrived: Arrived<Shared>, admission: Option<Arc<Admission>>, space: Arc<Space>) {
    let (peer, caller) = (arrived.peer, arrived.caller.clone());
    let Some((stream, visit)) = arrived.begin() else { return };
    // Most connections are plain and direct: what the others need is not held for them.
    if admission.is_none() && caller.standing != Standing::Proxy {
        serve(visit, stream, peer, caller, space).await;
    } else {
        Box::pin(welcome(visit, stream, peer, admission, space)).await;
    }
}

/// Serves whoever it is.
async fn serve(visit: Visit<Shared>, stream: TcpStream, peer: SocketAddr, caller: Caller, space: Arc<Space>) {
    let local = stream.local_addr().unwrap_or(visit.host.config.listen);
    let client = visit.host.clients.enter(peer, local);
    let is_unknown = visit.host.config.auth == RawAuth::Token;
    let session = Session::new(client, caller, space, is_unknown);
    Connection::new(stream, visit.host.clone(), session).serve().await;
}

/// Finds out who it is, and serves them.
async fn welcome(
    mut visit: Visit<Shared>,
    mut stream: TcpStream,
    peer: SocketAddr,
    admission: Option<Arc<Admission>>,
    space: Arc<Space>,
) {
    let shared = visit.host.clone();
    let caller = match visit.whose(&mut stream, peer).await {
        Ok(caller) => caller,
        Err(refusal) => return shared.turn_away(&stream, refusal),
    };
    let Some(admission) = admission else { return serve(visit, stream, peer, caller, space).await };
    // A handshake is what costs most of what a stranger can ask for.
    if let Err(refusal) = shared.limiter.take_handshake(&caller, shared.sources.time.monotonic()) {
        return shared.sources.metrics.redis.refused(refusal);
    }
    let local = stream.local_addr().unwrap_or(shared.config.listen);
    let shaken = match raw_tls::shake(&admission, stream, &caller, (shared.config.auth, PROTOCOLS)).await {
        Ok(shaken) => shaken,
        Err(refusal) => return shared.sources.metrics.redis.refused(refusal),
    };
    let Shaken { stream, known } = shaken;
    let Some((identity, mut seat)) = known else {
        let client = shared.clients.enter(peer, local);
        let session = Session::new(client, caller, space, true);
        return Connection::new(stream, shared, session).serve().await;
    };
    let caller = Caller::with_certificate(caller.address, &identity.name);
    visit.place.known();
    let (_never, gone) = oneshot::channel();
    let ended = std::mem::replace(&mut seat.ended, gone);
    let client = shared.clients.enter(peer, local);
    let name = identity.name.clone();
    client.set_about(|about| about.user = Some(name.into()));
    let mut session = Session::new(client, caller, only_space(&shared, &identity).unwrap_or(space), false);
    session.identity = Some(identity);
    serve_until(Connection::new(stream, shared, session), ended).await;
}

async fn serve_until<T: AsyncRead + AsyncWrite + Unpin>(
    connection: Connection<T>,
    ended: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = connection.serve() => {}
        // Whatever it is at: an answer under way would be one to somebody who may not have it.
        _ = ended => {}
    }
}

/// The namespace of somebody who has rights in one only.
pub(super) fn only_space(shared: &Shared, identity: &Identity) -> Option<Arc<Space>> {
    match identity.namespaces.as_deref() {
        Some([only]) => Some(shared.space(only)),
        _ => None,
    }
}
