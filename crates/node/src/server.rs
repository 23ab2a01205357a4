//! Puts a node together, runs it, and takes it apart without losing anything.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use larder_door::http::limits::CONNECTIONS_MAX as HTTP_CONNECTIONS_MAX;
use larder_format::clock::{Clock, SystemClock};
use larder_format::rng::SystemRng;
use larder_store::api::StoreError;
use larder_store::log::{LogConfig, LogStore};
use larder_wire::v1;
use larder_wire::v1::blobs_server::BlobsServer;
use larder_wire::v1::node_server::NodeServer;
use larder_wire::v1::records_server::RecordsServer;
use larder_wire::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, MESSAGE_LEN_MAX, STREAM_WINDOW_BYTES};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::admission::Admission;
use crate::chores;
use crate::config::{NodeConfig, RawAuth};
use crate::credentials::TlsError;
use crate::descriptors;
use crate::grpc::{self, Limits, NodeService};
use crate::http::{Door, Open};
use crate::listener::{self, Gate, Protection};
use crate::maintenance;
use crate::metrics::CountLayer;
use crate::parts::{Parts, Services};
use crate::resp;
use crate::room::Rooms;
use crate::upkeep;

/// How long requests in flight may take to finish once the node is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams one connection may have open at a time.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// Most bytes of a request's headers. Those of our calls take some hundred.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// Streams of one connection that were begun and ended by the client before anything looked at them; with more it is closed:
/// only somebody who wants the node to be busy does that.
const RESETS_PENDING_MAX: usize = 32;

/// HTTP/2 flow-control window per stream, in bytes, of connections beyond those that get room for bulk.
const NARROW_STREAM_BYTES: u32 = 64 * 1024;

/// The same per connection: two thousand of them hold a quarter of a gibibyte at the very most.
const NARROW_CONNECTION_BYTES: u32 = 128 * 1024;

/// Largest HTTP/2 frame that such a connection takes, in bytes: each has a buffer of this size.
const NARROW_FRAME_BYTES: u32 = 16 * 1024;

/// Why a node cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another with --listen")]
    Listen {
        /// Address asked for.
        address: std::net::SocketAddr,
        /// The system's message.
        reason: String,
    },
    /// The HTTP door's address cannot be listened on.
    #[error("cannot listen on {address} for HTTP: {reason}; choose another with --http-listen, or off")]
    ListenHttp {
        /// Address asked for.
        address: std::net::SocketAddr,
        /// The system's message.
        reason: String,
    },
    /// The Redis door's address cannot be listened on.
    #[error(
        "cannot listen on {address} for the Redis protocol: {reason}; choose another with --redis-listen, or off"
    )]
    ListenRedis {
        /// Address asked for.
        address: std::net::SocketAddr,
        /// The system's message.
        reason: String,
    },
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened, or stopped itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gRPC server failed.
    #[error("server failed: {0}")]
    Server(String),
}

/// What `status` says beside the counts.
pub(crate) struct Health {
    pub(crate) log: Arc<LogStore>,
}

/// A look at [`Health`].
pub(crate) struct HealthNow {
    /// Why the store does not serve; empty if it does.
    pub(crate) closed_reason: String,
    /// Known damage.
    pub(crate) damage: Vec<String>,
}

impl Health {
    pub(crate) fn look(&self) -> HealthNow {
        HealthNow {
            closed_reason: self.log.closed().map(|e| e.to_string()).unwrap_or_default(),
            damage: maintenance::lost(&self.log),
        }
    }
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For gRPC.
    pub grpc: std::net::SocketAddr,
    /// For HTTP, if that door is open.
    pub http: Option<std::net::SocketAddr>,
    /// For Redis clients, if that door is open.
    pub redis: Option<std::net::SocketAddr>,
}

async fn bind_http(config: &NodeConfig, connections_max: usize) -> Result<Option<Door>, NodeError> {
    let Some(http) = &config.http else { return Ok(None) };
    let door = Door::bind(http.clone(), connections_max).await;
    door.map(Some).map_err(|e| NodeError::ListenHttp { address: http.listen, reason: e.to_string() })
}

async fn bind_redis(config: &NodeConfig, descriptors: usize) -> Result<Option<resp::Door>, NodeError> {
    let Some(redis) = &config.redis else { return Ok(None) };
    let door = resp::Door::bind(redis.clone(), descriptors).await;
    door.map(Some).map_err(|e| NodeError::ListenRedis { address: redis.listen, reason: e.to_string() })
}

/// What is open to programs that do not seal.
fn raw_doors(config: &NodeConfig, addresses: Addresses) -> Vec<v1::RawDoor> {
    let door = |protocol: &str, address: std::net::SocketAddr, namespace: &str, auth: RawAuth| v1::RawDoor {
        protocol: protocol.to_owned(),
        address: address.to_string(),
        namespace: namespace.to_owned(),
        needs_certificate: auth == RawAuth::Certificate,
        needs_token: auth == RawAuth::Token,
        tls: auth.speaks_tls(address),
    };
    let http = config.http.as_ref().zip(addresses.http);
    let http = http.map(|(http, address)| door("http", address, &http.namespace, http.auth));
    let redis = config.redis.as_ref().zip(addresses.redis);
    let redis = redis.map(|(redis, address)| door("redis", address, &redis.namespace, redis.auth));
    http.into_iter().chain(redis).collect()
}

/// Runs a node until `shutdown` resolves. `ready` is called once, with the addresses it listens on, when it
/// answers. Boxed, so that all of a node is compiled in this crate, and not once more in each that calls it.
///
/// # Errors
/// [`NodeError`].
pub fn run<'a>(
    config: NodeConfig,
    ready: Box<dyn FnOnce(Addresses) + 'a>,
    shutdown: Pin<Box<dyn Future<Output = ()> + 'a>>,
) -> Pin<Box<dyn Future<Output = Result<(), NodeError>> + 'a>> {
    Box::pin(run_until(config, ready, shutdown))
}

async fn run_until(
    config: NodeConfig,
    ready: Box<dyn FnOnce(Addresses) + '_>,
    shutdown: Pin<Box<dyn Future<Output = ()> + '_>>,
) -> Result<(), NodeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let descriptors = descriptors::raise();
    let of_one = descriptors::of_one(descriptors);
    let connections_max = config.connections_max.min(of_one);
    let admission = Admission::open(config.certificates.clone(), connections_max, clock.clone())?;
    // The ports first: they are the quickest thing to fail, and nothing is touched yet.
    let (socket, address) = bind(config.listen).await?;
    let http = bind_http(&config, of_one).await?;
    let redis = bind_redis(
        &config,
        descriptors::of_last(descriptors, connections_max + of_one.min(HTTP_CONNECTIONS_MAX)),
    )
    .await?;
    let addresses = Addresses {
        grpc: address,
        http: http.as_ref().map(Door::address),
        redis: redis.as_ref().map(resp::Door::address),
    };

    let parts = Parts::join(&config, open_log(&config).await?, admission, clock)?;
    let http = http.map(|door| door.open(parts.for_http()));
    let redis = redis.map(|door| door.open(parts.for_redis()));
    let chores = chores::start(parts.for_chores());
    let rounds = upkeep::start(parts.keeper.clone());
    let services = parts.for_grpc(raw_doors(&config, addresses));
    let (log, feeds, admission) = (parts.log.clone(), parts.feeds.clone(), parts.admission.clone());
    let count = CountLayer { metrics: parts.metrics.clone(), time: parts.time.clone() };
    let (proxies, limits) = (parts.proxies.clone(), parts.limits.clone());
    let protection = Protection { proxies, limits, proxy_protocol: config.grpc.proxy_protocol };
    let gate = Gate::new(admission.clone(), Some(protection));
    let layers = Layers { count, limits: parts.limits.clone(), room: parts.records_in.clone() };
    drop(parts);
    let shutdown = async {
        shutdown.await;
        http.iter().for_each(Open::stop);
        redis.iter().for_each(resp::Open::stop);
        // Streams that never end by themselves would hold up the end of the others.
        feeds.close();
    };
    let watching = tokio::spawn(admission.clone().watch());
    let result = serve(socket, gate, layers, services, shutdown, || ready(addresses)).await;
    watching.abort();
    if let Some(http) = http {
        http.ended(DRAIN_TIMEOUT).await;
    }
    if let Some(redis) = redis {
        redis.ended(DRAIN_TIMEOUT).await;
    }
    rounds.stop().await;
    feeds.close();
    chores.stop().await;
    close_log(log).await?;
    result
}

async fn bind(listen: std::net::SocketAddr) -> Result<(TcpListener, std::net::SocketAddr), NodeError> {
    let failed = |e: std::io::Error| NodeError::Listen { address: listen, reason: e.to_string() };
    let socket = TcpListener::bind(listen).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, address))
}

async fn open_log(config: &NodeConfig) -> Result<Arc<LogStore>, NodeError> {
    let data_dir = config.data_dir.clone();
    let opening = move || LogStore::open(&data_dir, LogConfig::default(), &mut SystemRng);
    let log = tokio::task::spawn_blocking(opening).await.map_err(|e| NodeError::Server(e.to_string()))??;
    Ok(Arc::new(log))
}

async fn close_log(log: Arc<LogStore>) -> Result<(), NodeError> {
    let closing = move || Arc::into_inner(log).map(LogStore::close);
    match tokio::task::spawn_blocking(closing).await.map_err(|e| NodeError::Server(e.to_string()))? {
        Some(closed) => closed?,
        // A client that did not finish in time still holds on to it; it closes when the process ends.
        None => tracing::warn!("the store is still in use; it is closed as the process ends"),
    }
    Ok(())
}

/// What stands before the services.
struct Layers {
    count: CountLayer,
    limits: Arc<Limits>,
    /// For messages that are arriving.
    room: Arc<Rooms>,
}

async fn serve(
    socket: TcpListener,
    gate: Gate,
    Layers { count, limits, room }: Layers,
    services: Services,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), NodeError> {
    let failed = |e: &dyn std::fmt::Display| NodeError::Server(e.to_string());
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(larder_wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = described().build_v1().map_err(|e| failed(&e))?;
    // gRPC's own Python package, among others, still asks by this name only.
    let reflection_alpha = described().build_v1alpha().map_err(|e| failed(&e))?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<NodeServer<NodeService>>().await;

    let routes = Routes::new(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(
            RecordsServer::new(services.records)
                .max_decoding_message_size(MESSAGE_LEN_MAX)
                .max_encoding_message_size(MESSAGE_LEN_MAX),
        )
        .add_service(
            BlobsServer::new(services.blobs)
                .max_decoding_message_size(MESSAGE_LEN_MAX)
                .max_encoding_message_size(MESSAGE_LEN_MAX),
        )
        .add_service(NodeServer::new(services.node));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serve = |incoming: listener::Incoming, stream_bytes: u32, connection_bytes: u32, frame_bytes: u32| {
        let (mut stopped, guarding, room) = (stopped.clone(), limits.clone(), room.clone());
        Server::builder()
            .layer(count.clone())
            .layer(tower::layer::layer_fn(move |services| grpc::guard(services, guarding.clone())))
            .layer(tower::layer::layer_fn(move |services| grpc::bulk(services, room.clone())))
            .initial_stream_window_size(stream_bytes)
            .initial_connection_window_size(connection_bytes)
            .max_frame_size(frame_bytes)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADERS_BYTES_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_routes(routes.clone())
            .serve_with_incoming_shutdown(incoming, async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            })
    };
    let accepted = listener::accept_by(socket, gate);
    let wide = serve(accepted.wide, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, FRAME_BYTES);
    let narrow = serve(accepted.narrow, NARROW_STREAM_BYTES, NARROW_CONNECTION_BYTES, NARROW_FRAME_BYTES);
    let server = async { tokio::try_join!(wide, narrow).map(|_| ()) };
    let mut server = std::pin::pin!(server);
    let mut shutdown = std::pin::pin!(shutdown);
    ready();
    tokio::select! {
        result = &mut server => return result.map_err(|e| failed(&e)),
        () = &mut shutdown => {}
    }
    tracing::info!("stopping: finishing what is in flight");
    let _ = stop.send(true);
    drained(server).await
}

/// Waits for what is in flight, but not for ever.
async fn drained(server: impl Future<Output = Result<(), tonic::transport::Error>>) -> Result<(), NodeError> {
    match tokio::time::timeout(DRAIN_TIMEOUT, server).await {
        Ok(result) => result.map_err(|e| NodeError::Server(e.to_string())),
        Err(_) => {
            tracing::warn!(
                "some clients did not finish in time; their unanswered requests are unknown to them"
            );
            Ok(())
        }
    }
}
