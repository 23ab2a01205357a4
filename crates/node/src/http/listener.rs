//! Accepts connections for the HTTP door, up to its caps, and takes the door down without cutting off what is under
//! way.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder_door::connections::{Caps, Connections, Place};
use larder_door::http::limits::{
    ANSWERS_BYTES_MAX, BODIES_BYTES_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_NETWORK_MAX, JSON_EXTRA_BYTES_MAX,
    WATCHES_BYTES_MAX,
};
use larder_door::http::origin::Hosts;
use larder_door::proxies::Proxies;
use larder_door::{Caller, Limiter, Refusal};
use larder_format::ids::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::connection::Guest;
use super::memory::Memory;
use super::service::Shared;
use super::watch::Watch;
use super::{answer, connection};
use crate::admission::Admission;
use crate::config::HttpConfig;
use crate::feeds::Feeds;
use crate::lanes::Lanes;
use crate::metrics::Sources;
use crate::namespaces::Namespaces;
use crate::proxied;
use crate::raw_tls::{self, Shaken};
use crate::server::Health;
use crate::tokens::Tokens;

/// What this door speaks over TLS.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// The door's socket, open before anything else is touched.
pub(crate) struct Door {
    socket: TcpListener,
    lanes: Lanes,
    config: HttpConfig,
    connections_max: usize,
    /// Where it listens.
    pub(crate) address: SocketAddr,
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
    stop: watch::Sender<bool>,
    watch: Arc<Watch>,
    accepting: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Door {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(config: HttpConfig, connections_max: usize) -> std::io::Result<Self> {
        let socket = TcpListener::bind(config.listen).await?;
        let address = socket.local_addr()?;
        let lanes = Lanes::open("larder-http")?;
        Ok(Self { socket, lanes, config, connections_max: connections_max.min(CONNECTIONS_MAX), address })
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
        let (stop, stopped) = watch::channel(false);
        let caps = Caps { all: self.connections_max, per_network: CONNECTIONS_PER_NETWORK_MAX };
        let watching = tokio::spawn(watch.clone().run(shared.tokens.clone()));
        let accepting =
            tokio::spawn(accept((self.socket, self.lanes), shared, admission, watch.clone(), caps, stopped));
        Open { stop, watch, accepting, watching }
    }
}

impl Open {
    /// Takes no new connections and closes those without a request; the others after their answer.
    pub(crate) fn stop(&self) {
        let _ = self.stop.send(true);
        self.watch.stop();
    }

    /// Waits until all have ended, at most this long; what is left is cut off.
    pub(crate) async fn ended(self, within: Duration) {
        self.stop();
        let mut accepting = self.accepting;
        if tokio::time::timeout(within, &mut accepting).await.is_err() {
            tracing::warn!("some HTTP clients did not finish in time");
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
    watch: Arc<Watch>,
    caps: Caps,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(caps);
    // Whoever holds an end of this is still serving.
    let (serving, mut served) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, or the peer left already: wait a little rather than spin.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let caller = shared.proxies.at(peer.ip());
        match connections.enter(&caller) {
            Ok(place) => {
                let (shared, serving) = (shared.clone(), serving.clone());
                let (watch, admission) = (watch.clone(), admission.clone());
                let Ok(stream) = stream.into_std() else { continue };
                lanes.run(async move {
                    let Ok(stream) = TcpStream::from_std(stream) else { return };
                    // Latency matters more than packet count: answers are written whole.
                    let _ = stream.set_nodelay(true);
                    shared.metrics.http.opened();
                    let counted = Counted { shared, place };
                    welcome(counted, stream, peer, admission.as_ref(), &watch).await;
                    drop(serving);
                });
            }
            Err(_) => turn_away(&shared, &stream),
        }
    }
    drop((socket, serving));
    // Nothing is ever sent: this ends when the last connection has.
    let _ = served.recv().await;
}

/// Finds out who it is, where that is needed, and serves them.
async fn welcome(
    mut counted: Counted,
    mut stream: TcpStream,
    peer: SocketAddr,
    admission: Option<&Arc<Admission>>,
    watch: &Watch,
) {
    let shared = counted.shared.clone();
    let caller = match counted.whose(&mut stream, peer).await {
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
    let shaken = match raw_tls::shake(admission, stream, &caller, (shared.config.auth, PROTOCOLS)).await {
        Ok(shaken) => shaken,
        Err(refusal) => return shared.metrics.http.refused(refusal),
    };
    let Shaken { stream, known } = shaken;
    let Some((identity, mut seat)) = known else {
        let guest = Guest { caller, identity: None, ended: None };
        return connection::serve(shared, stream, guest, watch.begin()).await;
    };
    let caller = Caller::with_certificate(caller.address, &identity.name);
    counted.place.known();
    // The rest of the seat is kept until the connection has ended.
    let (_never, gone) = tokio::sync::oneshot::channel();
    let ended = std::mem::replace(&mut seat.ended, gone);
    let guest = Guest { caller, identity: Some(identity), ended: Some(ended) };
    connection::serve(shared, stream, guest, watch.begin()).await;
}

/// Says in passing that there is no room; nobody waits for a client here.
fn turn_away(shared: &Shared, stream: &TcpStream) {
    shared.metrics.http.refused(Refusal::Crowded);
    let _ = stream.try_write(&answer::in_full(Refusal::Crowded));
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
        self.shared.metrics.http.closed();
    }
}
