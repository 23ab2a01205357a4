//! Accepts connections for the Redis door, up to its caps, and takes the door down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use larder_door::caller::Standing;
use larder_door::connections::{Caps, Connections, Place};
use larder_door::proxies::Proxies;
use larder_door::resp::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_NETWORK_MAX, PARTIAL_BYTES_MAX, UNSENT_BYTES_MAX,
};
use larder_door::{Caller, Limiter, Refusal};
use larder_format::ids::NodeId;
use larder_store::memory::MemoryTable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::budget::Shares;
use super::clients::Clients;
use super::connection::Connection;
use super::notify::Notify;
use super::pubsub::Topology;
use super::session::{Session, Space};
use super::shared::Shared;
use crate::admission::Admission;
use crate::config::{RawAuth, RedisConfig};
use crate::feeds::Feeds;
use crate::identity::Identity;
use crate::lanes::Lanes;
use crate::metrics::Sources;
use crate::namespaces::Namespaces;
use crate::proxied;
use crate::raw_tls::{self, Shaken};
use crate::tokens::Tokens;

/// What clients of this door are said to speak: nothing, they do not ask.
const PROTOCOLS: &[&[u8]] = &[];

/// The door's socket, open before anything else is touched.
pub(crate) struct Door {
    socket: TcpListener,
    lanes: Lanes,
    config: RedisConfig,
    /// Where it listens.
    pub(crate) address: SocketAddr,
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
    stop: watch::Sender<bool>,
    clients: Arc<Clients>,
    accepting: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Door {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(mut config: RedisConfig, descriptors: usize) -> std::io::Result<Self> {
        let socket = TcpListener::bind(config.listen).await?;
        let address = socket.local_addr()?;
        config.listen = address;
        config.connections_max = config.connections_max.min(descriptors).min(CONNECTIONS_MAX);
        let lanes = Lanes::open("larder-redis")?;
        Ok(Self { socket, lanes, config, address })
    }

    /// Begins to serve.
    pub(crate) fn open(self, parts: DoorParts) -> Open {
        let topology = Arc::new(Topology::default());
        let clients = Arc::new(Clients::new());
        let needs_tls = self.config.auth.speaks_tls(self.address);
        let admission = needs_tls.then(|| parts.sources.admission.clone());
        let caps = Caps { all: self.config.connections_max, per_network: CONNECTIONS_PER_NETWORK_MAX };
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
        let (stop, stopped) = watch::channel(false);
        let watching = tokio::spawn(clients.clone().run(shared.tokens.clone()));
        let accepting = tokio::spawn(accept((self.socket, self.lanes), shared, admission, caps, stopped));
        Open { stop, clients, accepting, watching }
    }
}

impl Open {
    /// Takes no new connections, and closes those that are open after what they are at.
    pub(crate) fn stop(&self) {
        let _ = self.stop.send(true);
        self.clients.stop();
    }

    /// Waits until all have ended, at most this long; what is left is cut off.
    pub(crate) async fn ended(self, within: Duration) {
        self.stop();
        let mut accepting = self.accepting;
        if tokio::time::timeout(within, &mut accepting).await.is_err() {
            tracing::warn!("some Redis clients did not finish in time");
            accepting.abort();
        }
        self.watching.abort();
        let _ = self.watching.await;
    }
}

async fn accept(
    (socket, mut lanes): (TcpListener, Lanes),
    shared: Arc<Shared>,
    admission: Option<Arc<Admission>>,
    caps: Caps,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(caps);
    // Whoever holds an end of this is still serving.
    let (serving, mut served) = mpsc::channel::<()>(1);
    // Most connections are in the same namespace, and share what is known of it.
    let mut space = shared.space(&shared.config.namespace);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, or the peer left already: wait a little rather than spin.
                tracing::warn!(%error, "cannot accept a Redis connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let caller = shared.proxies.at(peer.ip());
        let Ok(place) = connections.enter(&caller) else {
            turn_away(&shared, &stream, Refusal::Crowded);
            continue;
        };
        if space.refusal.is_some() {
            space = shared.space(&shared.config.namespace);
        }
        let Ok(stream) = stream.into_std() else { continue };
        let (shared, serving) = (shared.clone(), serving.clone());
        let (admission, space) = (admission.clone(), space.clone());
        lanes.run(async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Latency matters more than packet count: answers are written whole.
            let _ = stream.set_nodelay(true);
            shared.sources.metrics.redis.opened();
            let counted = Counted { shared, place };
            // Most connections are plain and direct: what the others need is not held for them.
            if admission.is_none() && caller.standing != Standing::Proxy {
                serve(counted, stream, peer, caller, space).await;
            } else {
                Box::pin(welcome(counted, stream, peer, admission, space)).await;
            }
            drop(serving);
        });
    }
    drop((socket, serving));
    // Nothing is ever sent: this ends when the last connection has.
    let _ = served.recv().await;
}

/// Serves whoever it is.
async fn serve(counted: Counted, stream: TcpStream, peer: SocketAddr, caller: Caller, space: Arc<Space>) {
    let local = stream.local_addr().unwrap_or(counted.shared.config.listen);
    let client = counted.shared.clients.enter(peer, local);
    let is_unknown = counted.shared.config.auth == RawAuth::Token;
    let session = Session::new(client, caller, space, is_unknown);
    Connection::new(stream, counted.shared.clone(), session).serve().await;
}

/// Finds out who it is, and serves them.
async fn welcome(
    mut counted: Counted,
    mut stream: TcpStream,
    peer: SocketAddr,
    admission: Option<Arc<Admission>>,
    space: Arc<Space>,
) {
    let shared = counted.shared.clone();
    let caller = match counted.whose(&mut stream, peer).await {
        Ok(caller) => caller,
        Err(refusal) => return turn_away(&shared, &stream, refusal),
    };
    let Some(admission) = admission else { return serve(counted, stream, peer, caller, space).await };
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
    counted.place.known();
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

/// Says in passing why not; nobody waits for a client here.
fn turn_away(shared: &Shared, stream: &TcpStream, refusal: Refusal) {
    shared.sources.metrics.redis.refused(refusal);
    let words = match refusal {
        Refusal::Crowded => "-ERR max number of clients reached\r\n".to_owned(),
        other => format!("-ERR {other}\r\n"),
    };
    let _ = stream.try_write(words.as_bytes());
}

struct Counted {
    shared: Arc<Shared>,
    place: Place,
}

impl Counted {
    /// Who is on it, as far as a proxy says.
    async fn whose(&mut self, stream: &mut TcpStream, peer: SocketAddr) -> Result<Caller, Refusal> {
        let (proxies, config) = (&self.shared.proxies, &self.shared.config);
        let caller = proxied::whose(stream, peer, proxies, config.proxy_protocol).await?;
        self.place.turns_out(&caller).map_err(|_| Refusal::Crowded)?;
        Ok(caller)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.sources.metrics.redis.closed();
    }
}
