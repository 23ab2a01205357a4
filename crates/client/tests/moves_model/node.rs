//! A node in memory, of one acceptor: what the register's rules say of one record, without leases and disk. Every request
//! of a client waits for its turn, so that a test decides in which order they take effect, and which never do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use larder_client::remote::Remote;
use larder_format::clock::{Clock, Hlc};
use larder_wire::v1;
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use v1::apply_request::Operation;
use v1::apply_response::Outcome;

/// What each granted request adds to everybody's clock, in milliseconds.
const TURN_MS: u64 = 200;

/// When the world begins, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_790_000_000_000;

#[derive(Clone)]
struct Stored {
    version: u64,
    expiry_ms: u64,
    head: Bytes,
    body: Bytes,
}

/// A request that waits for its turn.
struct Waiting {
    client: usize,
    go: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Vec<u8>, Stored>,
    last_version: u64,
    now_ms: u64,
    waiting: Vec<Waiting>,
}

/// A node, or a snapshot of one.
#[derive(Clone, Default)]
pub struct ModelNode(Arc<Mutex<State>>);

/// The clock that all clients of a node share: it passes with the requests.
pub struct ModelClock(ModelNode);

impl Clock for ModelClock {
    fn wall_ms(&self) -> u64 {
        BEGIN_MS + self.0.0.lock().unwrap().now_ms
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.0.lock().unwrap().now_ms)
    }
}

impl ModelNode {
    /// Everything as it is at this moment, on a node of its own.
    pub fn snapshot(&self) -> Self {
        let state = self.0.lock().unwrap();
        let (last_version, now_ms) = (state.last_version, state.now_ms);
        Self(Arc::new(Mutex::new(State {
            records: state.records.clone(),
            last_version,
            now_ms,
            ..State::default()
        })))
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(ModelClock(self.clone()))
    }

    /// Lets time pass.
    pub fn pass_ms(&self, ms: u64) {
        self.0.lock().unwrap().now_ms += ms;
    }

    /// Which clients wait for a turn, in the order they came, each as often as it has requests.
    pub fn waiting(&self) -> Vec<usize> {
        let mut state = self.0.lock().unwrap();
        state.waiting.retain(|waiting| !waiting.go.is_closed());
        state.waiting.iter().map(|waiting| waiting.client).collect()
    }

    /// Gives one its turn.
    pub fn grant(&self, place: usize) {
        let mut state = self.0.lock().unwrap();
        state.now_ms += TURN_MS;
        let waiting = state.waiting.remove(place);
        let _ = waiting.go.send(());
    }

    /// Forgets what a client that stopped had asked: it never took effect.
    pub fn forget(&self, client: usize) {
        self.0.lock().unwrap().waiting.retain(|waiting| waiting.client != client);
    }

    /// A connection. Without a number its requests wait for nobody.
    pub async fn connect(&self, client: Option<usize>) -> Remote {
        let (here, there) = tokio::io::duplex(1 << 20);
        let door = Door { node: self.clone(), client };
        let server = Server::builder()
            .add_service(v1::records_server::RecordsServer::new(door.clone()))
            .add_service(v1::node_server::NodeServer::new(door))
            .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(there)));
        tokio::spawn(server);
        let mut here = Some(here);
        let connector = tower::service_fn(move |_| {
            let io = here.take().map(hyper_util::rt::TokioIo::new);
            async move { io.ok_or_else(|| std::io::Error::other("connected once")) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        Remote::over(endpoint.connect_with_connector(connector).await.unwrap())
    }
}

#[derive(Clone)]
struct Door {
    node: ModelNode,
    client: Option<usize>,
}

impl Door {
    async fn turn(&self) -> Result<(), Status> {
        let Some(client) = self.client else { return Ok(()) };
        let (go, granted) = oneshot::channel();
        self.node.0.lock().unwrap().waiting.push(Waiting { client, go });
        granted.await.map_err(|_| Status::unavailable("stopped by the test"))
    }

    async fn one(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, Status> {
        self.turn().await?;
        let tag = request.tag;
        Ok(v1::ApplyResponse { tag, outcome: Some(self.node.0.lock().unwrap().apply(request)) })
    }
}

impl State {
    fn live(&self, key: &[u8]) -> Option<Stored> {
        let now_ms = BEGIN_MS + self.now_ms;
        self.records.get(key).filter(|s| s.expiry_ms == 0 || s.expiry_ms > now_ms).cloned()
    }

    fn next_version(&mut self) -> u64 {
        let now = Hlc::from_ms(BEGIN_MS + self.now_ms).to_u64();
        self.last_version = now.max(self.last_version + 1);
        self.last_version
    }

    fn until(&self, lifetime: Option<v1::Lifetime>) -> u64 {
        match lifetime.and_then(|l| l.until) {
            None | Some(v1::lifetime::Until::Never(_)) => 0,
            Some(v1::lifetime::Until::TtlMs(ms)) => BEGIN_MS + self.now_ms + ms,
            Some(v1::lifetime::Until::AtMs(ms)) => ms,
        }
    }

    fn apply(&mut self, request: v1::ApplyRequest) -> Outcome {
        let key = request.key.to_vec();
        let there = self.live(&key);
        let holds = |condition: &Option<v1::Condition>| match condition.and_then(|c| c.when) {
            None => true,
            Some(v1::condition::When::Absent(_)) => there.is_none(),
            Some(v1::condition::When::Version(v)) => there.as_ref().is_some_and(|s| s.version == v),
        };
        let conflict = Outcome::Conflict(v1::Conflict { current: there.as_ref().map_or(0, |s| s.version) });
        match request.operation {
            Some(Operation::Get(get)) => match there {
                Some(stored) => Outcome::Found(found(&stored, get.head_only)),
                None => Outcome::Absent(v1::Absent {}),
            },
            Some(Operation::Put(put)) if holds(&put.condition) => {
                let (version, expiry_ms) = (self.next_version(), self.until(put.lifetime));
                self.records.insert(key, Stored { version, expiry_ms, head: put.head, body: put.body });
                Outcome::Written(v1::Written { version, expiry_ms })
            }
            Some(Operation::Touch(touch)) if holds(&touch.condition) => match there {
                Some(stored) => {
                    let (version, expiry_ms) = (self.next_version(), self.until(touch.lifetime));
                    self.records.insert(key, Stored { version, expiry_ms, ..stored });
                    Outcome::Written(v1::Written { version, expiry_ms })
                }
                None => Outcome::Absent(v1::Absent {}),
            },
            Some(Operation::Delete(delete)) if holds(&delete.condition) => match there {
                Some(_) => {
                    self.records.remove(&key);
                    Outcome::Deleted(v1::Deleted { version: self.next_version() })
                }
                None => Outcome::Absent(v1::Absent {}),
            },
            _ => conflict,
        }
    }

    fn scan(&self, scan: &v1::ScanRequest) -> v1::ScanPage {
        let of_it = self.records.iter().filter(|(key, _)| key.starts_with(&scan.prefix));
        let short = of_it.filter(|(key, _)| scan.key_len_max == 0 || key.len() <= scan.key_len_max as usize);
        let live = short.filter(|(key, _)| self.live(key).is_some());
        let records = live.map(|(key, stored)| v1::ScanRecord {
            key: key.clone().into(),
            found: Some(found(stored, scan.head_only)),
        });
        v1::ScanPage { records: records.collect(), ..v1::ScanPage::default() }
    }
}

fn found(stored: &Stored, head_only: bool) -> v1::Found {
    let body = if head_only { Bytes::new() } else { stored.body.clone() };
    let (version, expiry_ms, head) = (stored.version, stored.expiry_ms, stored.head.clone());
    v1::Found { version, expiry_ms, takes_left: 0, tokens: Vec::new(), head, body }
}

#[tonic::async_trait]
impl v1::records_server::Records for Door {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        self.one(request.into_inner()).await.map(Response::new)
    }

    type ApplyStreamStream = ReceiverStream<Result<v1::ApplyResponse, Status>>;

    async fn apply_stream(
        &self,
        request: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        let (door, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                if sender.send(door.one(request).await).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type ScanStream = ReceiverStream<Result<v1::ScanPage, Status>>;

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        self.turn().await?;
        let page = self.node.0.lock().unwrap().scan(&request.into_inner());
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let _ = sender.send(Ok(page)).await;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchPage, Status>>;

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        not_here()
    }

    async fn newest(&self, _: Request<v1::NewestRequest>) -> Result<Response<v1::NewestResponse>, Status> {
        not_here()
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this model"))
}

#[tonic::async_trait]
impl v1::node_server::Node for Door {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let time = Hlc::from_ms(BEGIN_MS + self.node.0.lock().unwrap().now_ms).to_u64();
        Ok(Response::new(v1::StatusResponse { time, ..v1::StatusResponse::default() }))
    }

    async fn create_namespace(
        &self,
        _: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        not_here()
    }

    async fn list_namespaces(
        &self,
        _: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        not_here()
    }

    async fn accept_damage(
        &self,
        _: Request<v1::AcceptDamageRequest>,
    ) -> Result<Response<v1::AcceptDamageResponse>, Status> {
        not_here()
    }

    type CollectStream = ReceiverStream<Result<v1::CollectProgress, Status>>;

    async fn collect(&self, _: Request<v1::CollectRequest>) -> Result<Response<Self::CollectStream>, Status> {
        not_here()
    }

    type ScrubStream = ReceiverStream<Result<v1::ScrubProgress, Status>>;

    async fn scrub(&self, _: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        not_here()
    }

    async fn set_quota(
        &self,
        _: Request<v1::SetQuotaRequest>,
    ) -> Result<Response<v1::SetQuotaResponse>, Status> {
        not_here()
    }

    async fn usage(&self, _: Request<v1::UsageRequest>) -> Result<Response<v1::UsageResponse>, Status> {
        not_here()
    }

    async fn upkeep(&self, _: Request<v1::UpkeepRequest>) -> Result<Response<v1::UpkeepResponse>, Status> {
        not_here()
    }

    async fn set_namespace(
        &self,
        _: Request<v1::SetNamespaceRequest>,
    ) -> Result<Response<v1::SetNamespaceResponse>, Status> {
        not_here()
    }

    async fn delete_namespace(
        &self,
        _: Request<v1::DeleteNamespaceRequest>,
    ) -> Result<Response<v1::DeleteNamespaceResponse>, Status> {
        not_here()
    }

    async fn create_token(
        &self,
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        not_here()
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        not_here()
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        not_here()
    }
}
