//! Stands between the real command and the real node, on the level of calls, and fails the ones a test names: refuses a
//! call before the node has seen it, loses an answer, breaks a stream off. Everything else passes as it is.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_client::connection::{ConnectOptions, connect};
use larder_format::clock::SystemClock;
use larder_node::admission::{Admission, CONNECTIONS_MAX_DEFAULT};
use larder_node::credentials::CertificateFiles;
use larder_node::listener;
use larder_wire::v1::{
    self, blobs_client, blobs_server, node_client, node_server, records_client, records_server,
};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::support::Home;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes through.
    Pass,
    /// It never reaches the node.
    Refuse,
    /// The node does it; its answer never arrives.
    LoseAnswer,
}

type Rule = Box<dyn FnMut(&v1::ApplyRequest) -> Fate + Send>;

#[derive(Clone)]
struct Between {
    channel: Channel,
    rule: Arc<Mutex<Rule>>,
    stream_answers_max: Arc<AtomicU64>,
    status_delay_ms: Arc<AtomicU64>,
    blob_bytes: Arc<AtomicU64>,
}

/// A running proxy. Commands of its home go through it until it is dropped.
pub struct Proxy {
    between: Between,
    home: std::path::PathBuf,
    node: String,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// Starts one before a home's running node.
    pub fn before(home: &Home) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let file = |name: &str| std::fs::read(home.home().join("config/certificates").join(name)).unwrap();
        let node = address_of_node(&home.home());
        let options = ConnectOptions {
            address: node.clone(),
            authority_pem: file("authority.pem"),
            certificate_pem: file("client.pem"),
            key_pem: file("client.key"),
        };
        let files = CertificateFiles::in_folder(&home.home().join("config/certificates"));
        let admission =
            Admission::open(files, CONNECTIONS_MAX_DEFAULT, Arc::new(SystemClock::new())).unwrap();
        let (between, address) = runtime.block_on(async {
            let between = Between {
                channel: connect(&options).await.unwrap(),
                rule: Arc::new(Mutex::new(Box::new(|_| Fate::Pass))),
                stream_answers_max: Arc::new(AtomicU64::new(u64::MAX)),
                status_delay_ms: Arc::default(),
                blob_bytes: Arc::default(),
            };
            let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = socket.local_addr().unwrap();
            let max = larder_wire::MESSAGE_LEN_MAX;
            let server = Server::builder()
                .add_service(
                    records_server::RecordsServer::new(between.clone())
                        .max_decoding_message_size(max)
                        .max_encoding_message_size(max),
                )
                .add_service(
                    blobs_server::BlobsServer::new(between.clone())
                        .max_decoding_message_size(max)
                        .max_encoding_message_size(max),
                )
                .add_service(node_server::NodeServer::new(between.clone()))
                .serve_with_incoming(listener::accept(socket, admission).wide);
            tokio::spawn(server);
            (between, address)
        });
        divert(&home.home(), &address.to_string());
        Self { between, home: home.home(), node, _runtime: runtime }
    }

    /// Decides single operations from now on.
    pub fn decide(&self, rule: impl FnMut(&v1::ApplyRequest) -> Fate + Send + 'static) {
        *self.between.rule.lock().unwrap() = Box::new(rule);
    }

    /// Breaks every stream of operations off after this many answers.
    pub fn break_streams_after(&self, answers: u64) {
        self.between.stream_answers_max.store(answers, Ordering::Relaxed);
    }

    /// Bytes of blobs that went to the node and came from it since the last time this was asked.
    pub fn blob_bytes(&self) -> u64 {
        self.between.blob_bytes.swap(0, Ordering::Relaxed)
    }

    /// Keeps the question for the node's time back for so long.
    pub fn delay_status(&self, ms: u64) {
        self.between.status_delay_ms.store(ms, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        divert(&self.home, &self.node);
    }
}

/// Where the node says it listens.
fn address_of_node(home: &std::path::Path) -> String {
    let text = std::fs::read(home.join("state/node.pid")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    value["address"].as_str().unwrap().to_owned()
}

/// Makes commands go elsewhere. The file is written in place, because its lock belongs to the node.
fn divert(home: &std::path::Path, address: &str) {
    let path = home.join("state/node.pid");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    value["address"] = address.into();
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, value.to_string().as_bytes()).unwrap();
}

fn broken() -> Status {
    Status::unavailable("broken by the test")
}

/// A client's stream, up to the first error.
fn onward<T: Send + 'static>(requests: Request<Streaming<T>>) -> impl tokio_stream::Stream<Item = T> + Send {
    requests.into_inner().take_while(Result::is_ok).filter_map(Result::ok)
}

impl Between {
    fn records(&self) -> records_client::RecordsClient<Channel> {
        let max = larder_wire::MESSAGE_LEN_MAX;
        records_client::RecordsClient::new(self.channel.clone())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    fn blobs(&self) -> blobs_client::BlobsClient<Channel> {
        let max = larder_wire::MESSAGE_LEN_MAX;
        blobs_client::BlobsClient::new(self.channel.clone())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    fn node(&self) -> node_client::NodeClient<Channel> {
        node_client::NodeClient::new(self.channel.clone())
    }
}

#[tonic::async_trait]
impl records_server::Records for Between {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let request = request.into_inner();
        let fate = (self.rule.lock().unwrap())(&request);
        if fate == Fate::Refuse {
            return Err(broken());
        }
        let response = self.records().apply(request).await?;
        if fate == Fate::LoseAnswer { Err(broken()) } else { Ok(response) }
    }

    type ApplyStreamStream = ReceiverStream<Result<v1::ApplyResponse, Status>>;

    async fn apply_stream(
        &self,
        requests: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        let mut answers = self.records().apply_stream(onward(requests)).await?.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let mut left = self.stream_answers_max.load(Ordering::Relaxed);
        tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                let answer = if left == 0 { Err(broken()) } else { answer };
                left = left.saturating_sub(1);
                let ended = answer.is_err();
                if sender.send(answer).await.is_err() || ended {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type ScanStream = Streaming<v1::ScanPage>;

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        self.records().scan(request.into_inner()).await
    }

    type WatchStream = Streaming<v1::WatchPage>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.records().watch(request.into_inner()).await
    }

    async fn newest(
        &self,
        request: Request<v1::NewestRequest>,
    ) -> Result<Response<v1::NewestResponse>, Status> {
        self.records().newest(request.into_inner()).await
    }
}

#[tonic::async_trait]
impl blobs_server::Blobs for Between {
    type PutStream = Streaming<v1::PutBlobResponse>;

    async fn put(
        &self,
        requests: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<Self::PutStream>, Status> {
        let count = self.blob_bytes.clone();
        let counted = onward(requests).map(move |request: v1::PutBlobRequest| {
            count.fetch_add(request.data.len() as u64, Ordering::Relaxed);
            request
        });
        self.blobs().put(counted).await
    }

    type GetStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<v1::GetBlobResponse, Status>> + Send + 'static>,
    >;

    async fn get(
        &self,
        requests: Request<Streaming<v1::GetBlobRequest>>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let count = self.blob_bytes.clone();
        let answers = self.blobs().get(onward(requests)).await?.into_inner();
        Ok(Response::new(Box::pin(answers.map(move |answer: Result<v1::GetBlobResponse, Status>| {
            let len = answer.as_ref().map_or(0, |answer| answer.data.len() as u64);
            count.fetch_add(len, Ordering::Relaxed);
            answer
        }))))
    }

    async fn lease(&self, request: Request<v1::LeaseRequest>) -> Result<Response<v1::LeaseResponse>, Status> {
        self.blobs().lease(request.into_inner()).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.blobs().release(request.into_inner()).await
    }
}

#[tonic::async_trait]
impl node_server::Node for Between {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        tokio::time::sleep(Duration::from_millis(self.status_delay_ms.load(Ordering::Relaxed))).await;
        self.node().status(request.into_inner()).await
    }

    async fn create_namespace(
        &self,
        request: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        self.node().create_namespace(request.into_inner()).await
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        self.node().list_namespaces(request.into_inner()).await
    }

    async fn set_namespace(
        &self,
        request: Request<v1::SetNamespaceRequest>,
    ) -> Result<Response<v1::SetNamespaceResponse>, Status> {
        self.node().set_namespace(request.into_inner()).await
    }

    async fn delete_namespace(
        &self,
        request: Request<v1::DeleteNamespaceRequest>,
    ) -> Result<Response<v1::DeleteNamespaceResponse>, Status> {
        self.node().delete_namespace(request.into_inner()).await
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.node().create_token(request.into_inner()).await
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.node().list_tokens(request.into_inner()).await
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.node().revoke_token(request.into_inner()).await
    }

    type CollectStream = Streaming<v1::CollectProgress>;

    async fn collect(
        &self,
        request: Request<v1::CollectRequest>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        self.node().collect(request.into_inner()).await
    }

    type ScrubStream = Streaming<v1::ScrubProgress>;

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        self.node().scrub(request.into_inner()).await
    }

    async fn upkeep(
        &self,
        request: Request<v1::UpkeepRequest>,
    ) -> Result<Response<v1::UpkeepResponse>, Status> {
        self.node().upkeep(request.into_inner()).await
    }

    async fn set_quota(
        &self,
        request: Request<v1::SetQuotaRequest>,
    ) -> Result<Response<v1::SetQuotaResponse>, Status> {
        self.node().set_quota(request.into_inner()).await
    }

    async fn usage(&self, request: Request<v1::UsageRequest>) -> Result<Response<v1::UsageResponse>, Status> {
        self.node().usage(request.into_inner()).await
    }

    async fn accept_damage(
        &self,
        request: Request<v1::AcceptDamageRequest>,
    ) -> Result<Response<v1::AcceptDamageResponse>, Status> {
        self.node().accept_damage(request.into_inner()).await
    }
}
