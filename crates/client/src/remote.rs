//! A node as the client sees it: typed calls over gRPC, nothing sealed or opened here.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::namespace::Namespace;
use larder_format::operation::{Found, Outcome};
use larder_format::record::Key;
use larder_wire::answer::{Failure, Limit, answer, found};
use larder_wire::request::RecordRequest;
use larder_wire::{MESSAGE_LEN_MAX, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::connection::{ConnectOptions, Locate, connect, connect_where};

/// Requests of one stream that may be under way before the caller has to wait.
const REQUESTS_QUEUED_MAX: usize = 256;

/// Blobs handed over before the caller has to wait. Few, because each may be a mebibyte; the node's own queue
/// is what keeps the disk busy.
const BLOBS_QUEUED_MAX: usize = 2;

/// A node. Cheap to clone: clones share one connection.
#[derive(Clone)]
pub struct Remote {
    pub(crate) records: v1::records_client::RecordsClient<Channel>,
    blobs: v1::blobs_client::BlobsClient<Channel>,
    pub(crate) node: v1::node_client::NodeClient<Channel>,
}

/// A lease as the client asks for it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// New and random.
    pub token: LeaseToken,
    /// Namespace of the record it belongs to.
    pub namespace: NamespaceId,
    /// That record's key (a file's, not one of its versions').
    pub key: Key,
    /// Hybrid time in milliseconds until which it holds without the record listing it.
    pub deadline_ms: u64,
}

impl Lease {
    fn message(&self) -> v1::Lease {
        v1::Lease {
            token: Bytes::copy_from_slice(&self.token.0),
            namespace: self.namespace.0,
            key: self.key.to_bytes(),
            deadline_ms: self.deadline_ms,
        }
    }
}

/// What to scan.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Which namespace.
    pub namespace: NamespaceId,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Where an earlier page ended; empty for the start.
    pub cursor: Bytes,
    /// Longest key wanted; 0: any.
    pub key_len_max: u32,
    /// Leave bodies out.
    pub head_only: bool,
    /// Most records a page; 0: the node's choice.
    pub limit: u32,
    /// Most pages; 0: all.
    pub pages: u32,
}

impl Scan {
    /// Everything whose key begins with `prefix`, from the start, heads only.
    #[must_use]
    pub fn heads(namespace: NamespaceId, prefix: &[u8]) -> Self {
        Self {
            namespace,
            prefix: Bytes::copy_from_slice(prefix),
            cursor: Bytes::new(),
            key_len_max: 0,
            head_only: true,
            limit: 0,
            pages: 0,
        }
    }
}

/// One page of a scan.
#[derive(Debug)]
pub struct Page {
    /// Keys and what is there.
    pub records: Vec<(Key, Found)>,
    /// Keys that exist but whose bytes are damaged.
    pub damaged: Vec<Key>,
    /// Where to go on; empty at the end.
    pub cursor: Bytes,
}

/// Pages of a scan, as they arrive.
pub struct Pages(Streaming<v1::ScanPage>);

/// The one table from gRPC codes to kinds, for errors of whole calls.
pub(crate) fn failure(status: &Status) -> Failure {
    let kind = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::FailedPrecondition | Code::AlreadyExists => Kind::Conflict,
        Code::ResourceExhausted if larder_wire::retry::after(status).is_some() => Kind::Retry,
        Code::ResourceExhausted => Kind::Full,
        Code::DataLoss => Kind::Damaged,
        Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
        Code::Aborted => Kind::Retry,
        Code::DeadlineExceeded => Kind::Unknown,
        Code::Unimplemented => Kind::TooNew,
        Code::Unavailable | Code::Cancelled | Code::Unknown => Kind::Closed,
        _ => Kind::Bug,
    };
    // What the node itself answered has no error under it.
    let broke_off = std::error::Error::source(status).is_some();
    let message = match (kind, status.message()) {
        (Kind::Closed, text) if broke_off => format!("the connection to the node broke off: {text}"),
        (_, text) => text.to_owned(),
    };
    let no_room = status.metadata().get(Limit::METADATA).and_then(|name| Limit::named(name.to_str().ok()?));
    Failure { no_room, ..Failure::new(kind, message) }
}

/// Steps of long work of the node, as they are done.
pub struct Steps<T>(Streaming<T>);

impl<T> Steps<T> {
    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn next(&mut self) -> Result<Option<T>, Failure> {
        self.0.message().await.map_err(|s| failure(&s))
    }
}

fn ended_early() -> Failure {
    Failure::new(Kind::Closed, "the node ended the stream early; try again")
}

impl Remote {
    /// Connects to a node.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Failure> {
        Ok(Self::over(connect(options).await?))
    }

    /// As [`Remote::connect`], to a node that may be elsewhere when it has to be connected to again.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect_where(options: &ConnectOptions, locate: Locate) -> Result<Self, Failure> {
        Ok(Self::over(connect_where(options, locate).await?))
    }

    /// To a node at the other end of a channel that is there already.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self {
            records: v1::records_client::RecordsClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_LEN_MAX)
                .max_encoding_message_size(MESSAGE_LEN_MAX),
            blobs: v1::blobs_client::BlobsClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_LEN_MAX)
                .max_encoding_message_size(MESSAGE_LEN_MAX),
            node: v1::node_client::NodeClient::new(channel),
        }
    }

    /// One operation on one record.
    ///
    /// # Errors
    /// [`Failure`]. Of kind [`Kind::Closed`]: the outcome is unknown.
    pub async fn apply(&self, request: RecordRequest) -> Result<Outcome, Failure> {
        let message = request.into_message();
        let response = self.records.clone().apply(message).await.map_err(|s| failure(&s))?;
        answer(response.into_inner())
    }

    /// Starts a stream of operations; answers come in the order of the requests.
    ///
    /// # Errors
    /// [`Failure`] if the stream cannot be opened.
    pub async fn apply_stream(&self) -> Result<(ApplySender, ApplyAnswers), Failure> {
        let (sender, receiver) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let response = self
            .records
            .clone()
            .apply_stream(ReceiverStream::new(receiver))
            .await
            .map_err(|s| failure(&s))?;
        Ok((ApplySender(sender), ApplyAnswers(response.into_inner())))
    }

    /// Starts a scan.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn scan(&self, scan: Scan) -> Result<Pages, Failure> {
        let message = v1::ScanRequest {
            namespace: scan.namespace.0,
            prefix: scan.prefix,
            cursor: scan.cursor,
            limit: scan.limit,
            key_len_max: scan.key_len_max,
            head_only: scan.head_only,
            pages: scan.pages,
        };
        let response = self.records.clone().scan(message).await.map_err(|s| failure(&s))?;
        Ok(Pages(response.into_inner()))
    }

    /// Starts storing blobs under a lease; answers come in the order they were sent.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn put_blobs(&self, lease: &Lease) -> Result<(BlobSender, BlobAnswers), Failure> {
        let (sender, receiver) = mpsc::channel(BLOBS_QUEUED_MAX);
        let response =
            self.blobs.clone().put(ReceiverStream::new(receiver)).await.map_err(|s| failure(&s))?;
        let sender = BlobSender { sender, lease: Some(lease.message()) };
        Ok((sender, BlobAnswers(response.into_inner())))
    }

    /// Starts reading blobs; they come in the order asked.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_blobs(&self) -> Result<(BlobAsker, Blobs), Failure> {
        let (sender, receiver) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let response =
            self.blobs.clone().get(ReceiverStream::new(receiver)).await.map_err(|s| failure(&s))?;
        Ok((BlobAsker(sender), Blobs(response.into_inner())))
    }

    /// Reads one blob.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_blob(&self, id: BlobId) -> Result<Bytes, Failure> {
        let (asker, mut blobs) = self.get_blobs().await?;
        asker.ask(id).await?;
        drop(asker);
        match blobs.next().await? {
            Some((_, bytes)) => Ok(bytes),
            None => Err(ended_early()),
        }
    }

    /// Leases blobs that may be there already; answers which are.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn lease(&self, lease: &Lease, ids: &[BlobId]) -> Result<Vec<bool>, Failure> {
        let message = v1::LeaseRequest {
            lease: Some(lease.message()),
            ids: ids.iter().map(|id| Bytes::copy_from_slice(&id.0)).collect(),
        };
        let response = self.blobs.clone().lease(message).await.map_err(|s| failure(&s))?;
        let present = response.into_inner().present;
        if present.len() == ids.len() {
            Ok(present)
        } else {
            Err(Failure::new(Kind::Bug, "the node answered a lease with another count of blobs"))
        }
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn release(&self, token: LeaseToken) -> Result<(), Failure> {
        let message = v1::ReleaseRequest { token: Bytes::copy_from_slice(&token.0) };
        self.blobs.clone().release(message).await.map_err(|s| failure(&s))?;
        Ok(())
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn status(&self) -> Result<v1::StatusResponse, Failure> {
        let response = self.node.clone().status(v1::StatusRequest {}).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner())
    }

    /// Begins to give back all space that nothing needs; the last step says that it is finished.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn collect(&self) -> Result<Steps<v1::CollectProgress>, Failure> {
        let response = self.node.clone().collect(v1::CollectRequest {}).await.map_err(|s| failure(&s))?;
        Ok(Steps(response.into_inner()))
    }

    /// Begins to verify everything the node holds; the last step says that it is finished.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn scrub(&self) -> Result<Steps<v1::ScrubProgress>, Failure> {
        let response = self.node.clone().scrub(v1::ScrubRequest {}).await.map_err(|s| failure(&s))?;
        Ok(Steps(response.into_inner()))
    }

    /// Accepts that what the node lost stays lost; answers what that was, in words.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn accept_damage(&self) -> Result<Vec<String>, Failure> {
        let request = v1::AcceptDamageRequest {};
        let response = self.node.clone().accept_damage(request).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner().accepted)
    }

    /// Creates a namespace; answers whether it is new.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if it exists with other settings.
    pub async fn create_namespace(&self, settings: &Namespace) -> Result<bool, Failure> {
        let message = v1::CreateNamespaceRequest { settings: settings.encode() };
        let response = self.node.clone().create_namespace(message).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner().created)
    }

    /// All namespaces.
    ///
    /// # Errors
    /// [`Failure`]; [`Kind::TooNew`] or [`Kind::Bug`] if settings cannot be read.
    pub async fn list_namespaces(&self) -> Result<Vec<Namespace>, Failure> {
        let request = v1::ListNamespacesRequest {};
        let response = self.node.clone().list_namespaces(request).await.map_err(|s| failure(&s))?;
        let decode = |bytes| Namespace::decode(bytes).map_err(|e| Failure::new(Kind::Bug, e.to_string()));
        response.into_inner().settings.into_iter().map(decode).collect()
    }
}

/// The sending side of a stream of operations. Dropping it ends the stream.
pub struct ApplySender(mpsc::Sender<v1::ApplyRequest>);

impl ApplySender {
    /// Sends an operation; waits while too many are under way.
    ///
    /// # Errors
    /// [`Kind::Closed`] if the stream has ended: see the answers for why.
    pub async fn send(&self, request: RecordRequest) -> Result<(), Failure> {
        self.0.send(request.into_message()).await.map_err(|_| ended_early())
    }
}

/// The answers of a stream of operations.
pub struct ApplyAnswers(Streaming<v1::ApplyResponse>);

impl ApplyAnswers {
    /// The next answer with its tag; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`] if the stream broke; then the outcome of what is unanswered is unknown.
    pub async fn next(&mut self) -> Result<Option<(u64, Result<Outcome, Failure>)>, Failure> {
        let message = self.0.message().await.map_err(|s| failure(&s))?;
        Ok(message.map(|m| (m.tag, answer(m))))
    }
}

impl Pages {
    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn next(&mut self) -> Result<Option<Page>, Failure> {
        let Some(message) = self.0.message().await.map_err(|s| failure(&s))? else { return Ok(None) };
        let bad_key = |_| Failure::new(Kind::Bug, "the node sent a record without a proper key");
        let mut records = Vec::with_capacity(message.records.len());
        for record in message.records {
            let key = Key::new(record.key).map_err(bad_key)?;
            records.push((key, found(record.found.unwrap_or_default())));
        }
        let damaged = message.damaged.into_iter().map(Key::new).collect::<Result<_, _>>().map_err(bad_key)?;
        Ok(Some(Page { records, damaged, cursor: message.cursor }))
    }
}

/// The sending side of a stream of blobs. Dropping it ends the stream.
pub struct BlobSender {
    sender: mpsc::Sender<v1::PutBlobRequest>,
    lease: Option<v1::Lease>,
}

impl BlobSender {
    /// Sends the lease again with the next blob, because its deadline moved.
    pub fn renew(&mut self, lease: &Lease) {
        self.lease = Some(lease.message());
    }

    /// Sends a blob; waits while the node is behind.
    ///
    /// # Errors
    /// [`Kind::Closed`] if the stream has ended: see the answers for why.
    pub async fn send(&mut self, id: BlobId, data: Bytes) -> Result<(), Failure> {
        let message =
            v1::PutBlobRequest { lease: self.lease.take(), id: Bytes::copy_from_slice(&id.0), data };
        self.sender.send(message).await.map_err(|_| ended_early())
    }
}

/// Answers of a stream of blobs.
pub struct BlobAnswers(Streaming<v1::PutBlobResponse>);

impl BlobAnswers {
    /// Waits until the next blob is durable; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`] for a blob that was refused, or if the stream broke.
    pub async fn next(&mut self) -> Result<Option<BlobId>, Failure> {
        let Some(message) = self.0.message().await.map_err(|s| failure(&s))? else { return Ok(None) };
        if let Some(error) = message.error {
            return Err(Failure::from_message(error));
        }
        let id = BlobId::try_from(&message.id[..])
            .map_err(|_| Failure::new(Kind::Bug, "the node answered with a malformed blob id"))?;
        Ok(Some(id))
    }
}

/// The asking side of a stream of reads. Dropping it ends the stream.
#[derive(Clone)]
pub struct BlobAsker(mpsc::Sender<v1::GetBlobRequest>);

impl BlobAsker {
    /// Asks for a blob; waits while too many were asked for and not sent.
    ///
    /// # Errors
    /// [`Kind::Closed`] if the stream has ended.
    pub async fn ask(&self, id: BlobId) -> Result<(), Failure> {
        let message = v1::GetBlobRequest { id: Bytes::copy_from_slice(&id.0), offset: 0, length: 0 };
        self.0.send(message).await.map_err(|_| ended_early())
    }
}

/// Blobs of a stream of reads.
pub struct Blobs(Streaming<v1::GetBlobResponse>);

impl Blobs {
    /// The next blob, in the order asked; `None` at the end. Its bytes are not verified here: opening them is.
    ///
    /// # Errors
    /// [`Failure`] for a blob that is missing or damaged, or if the stream broke.
    pub async fn next(&mut self) -> Result<Option<(BlobId, Bytes)>, Failure> {
        let Some(message) = self.0.message().await.map_err(|s| failure(&s))? else { return Ok(None) };
        if let Some(error) = message.error {
            return Err(Failure::from_message(error));
        }
        let id = BlobId::try_from(&message.id[..])
            .map_err(|_| Failure::new(Kind::Bug, "the node answered with a malformed blob id"))?;
        Ok(Some((id, message.data)))
    }
}
