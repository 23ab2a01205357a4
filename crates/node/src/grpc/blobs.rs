//! The blobs service.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::limits::BLOB_LEN_MAX;
use larder_store::api::LeaseGrant;
use larder_wire::answer::Failure;
use larder_wire::request::{BadRequest, blob_id, key, lease_token};
use larder_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

use super::bulk::Beside;
use super::giving::{Answer, Answers, Giving};
use super::guard::{caller, connection};
use super::taking::{Ended, Messages};
use super::{bad_request, status};
use crate::blobs::{Blobs, Storing, blob_failure};
use crate::identity::{Identity, Right};
use crate::room::{Held, Rooms};

/// Blobs of one stream that may be read ahead of what the client has taken. Bytes are bounded over all streams.
const READ_AHEAD_BLOBS: usize = 3;

/// Blobs of one stream that may be waiting for the disk. Bytes are bounded as well, over all streams.
const STORING_MAX: usize = 256;

pub(crate) struct BlobsService {
    pub(crate) blobs: Arc<Blobs>,
    /// For messages that are arriving.
    pub(crate) taking: Rooms,
    /// For blobs that are going out.
    pub(crate) giving: Arc<Giving>,
}

fn lease(message: Option<v1::Lease>) -> Result<LeaseGrant, BadRequest> {
    let message = message.ok_or(BadRequest::Missing { field: "lease" })?;
    Ok(LeaseGrant {
        token: lease_token(&message.token)?,
        namespace: NamespaceId(message.namespace),
        // Bytes of its own: these keep the whole message in memory, a blob with them.
        key: key(Bytes::copy_from_slice(&message.key))?,
        deadline_ms: message.deadline_ms,
    })
}

/// Takes one message into the store, remembering the lease for those that follow.
async fn store_one(
    blobs: &Blobs,
    who: &Identity,
    current: &mut Option<LeaseGrant>,
    message: v1::PutBlobRequest,
) -> Result<Storing, Failure> {
    if message.lease.is_some() {
        let given = lease(message.lease).map_err(|e| bad_request(&e))?;
        who.check_in(Right::AppendOnly, given.namespace)?;
        blobs.check_lease(&given)?;
        *current = Some(given);
    }
    let Some(lease) = current.as_ref() else {
        return Err(bad_request(&BadRequest::Missing { field: "lease" }));
    };
    let id = blob_id(&message.id).map_err(|e| bad_request(&e))?;
    blobs.charge(&who.name, lease.token, 1)?;
    blobs.put(id, message.data, lease).await
}

/// A blob that arrived, by its identifier, and how it is on its way to the disk; or how the stream ends.
type Begun = Result<(Bytes, Result<Storing, Failure>), Status>;

/// Answers in the order in which blobs arrived, each when it is durable.
async fn answer_stored(
    mut waiting: mpsc::Receiver<Begun>,
    answers: mpsc::Sender<Result<v1::PutBlobResponse, Status>>,
) {
    while let Some(begun) = waiting.recv().await {
        let answer = match begun {
            Ok((id, result)) => {
                let outcome = match result {
                    Ok(storing) => storing.ticket.clone().await.map_err(blob_failure),
                    Err(failure) => Err(failure),
                };
                Ok(v1::PutBlobResponse { id, error: outcome.err().map(Failure::into_message) })
            }
            Err(status) => Err(status),
        };
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

/// Reads a blob for which there is room; keeps of the room what it needs.
fn read_one(blobs: &Blobs, message: &v1::GetBlobRequest, mut share: Held) -> Result<(Bytes, Held), Failure> {
    let id: BlobId = blob_id(&message.id).map_err(|e| bad_request(&e))?;
    let read = blobs.get(id, message.offset, message.length)?;
    share.shrink(read.held);
    Ok((read.bytes, share))
}

#[tonic::async_trait]
impl v1::blobs_server::Blobs for BlobsService {
    type PutStream = ReceiverStream<Result<v1::PutBlobResponse, Status>>;

    async fn put(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<Self::PutStream>, Status> {
        let who = caller(&request)?;
        // See `bulk`.
        let body = request.extensions().get::<Beside<Body>>().and_then(Beside::take);
        let body = body.ok_or_else(|| Status::internal("the request has no body"))?;
        let mut requests = Messages::<v1::PutBlobRequest>::new(body, self.taking.of(&who.name));
        let blobs = self.blobs.clone();
        let (begun, waiting) = mpsc::channel(STORING_MAX);
        let (answers, receiver) = mpsc::channel(STORING_MAX);
        tokio::spawn(async move {
            let mut current = None;
            loop {
                let (message, share) = match requests.next().await {
                    Ok(next) => next,
                    // A broken stream ends here: what was stored and not answered is leased until its deadline.
                    Err(Ended::Gone) => return,
                    Err(Ended::Refused(status)) => {
                        let _ = begun.send(Err(status)).await;
                        return;
                    }
                };
                let id = message.id.clone();
                let result = store_one(&blobs, &who, &mut current, message).await;
                // It has room in the queue for the disk by now.
                drop(share);
                // An identifier of its own, because what was received keeps the whole message in memory.
                if begun.send(Ok((Bytes::copy_from_slice(&id), result))).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(answer_stored(waiting, answers));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type GetStream = tokio_stream::Empty<Result<v1::GetBlobResponse, Status>>;

    async fn get(
        &self,
        request: Request<Streaming<v1::GetBlobRequest>>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let stream = self.giving.stream(connection(&request)?, &caller(&request)?.name);
        let mut requests = request.into_inner();
        let (blobs, taking) = (self.blobs.clone(), stream.clone());
        let (reading, mut read) = mpsc::channel(READ_AHEAD_BLOBS);
        let (answers, receiver) = mpsc::channel(1);
        // Reads run beside each other on blocking threads; their answers leave in the order asked.
        tokio::spawn(async move {
            while let Some(Ok(message)) = requests.next().await {
                // A place in the stream first, so that nobody has room who cannot go on; then room for any blob,
                // since its length is known only when it is read.
                let Ok(place) = reading.reserve().await else { return };
                let share = tokio::select! {
                    share = taking.room(BLOB_LEN_MAX) => share,
                    () = reading.closed() => return,
                };
                let blobs = blobs.clone();
                let id = message.id.clone();
                place.send((id, tokio::task::spawn_blocking(move || read_one(&blobs, &message, share))));
            }
        });
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = read.recv() => next,
                    // A client that is gone does not keep its place among those who wait.
                    () = answers.closed() => return,
                };
                let Some((id, task)) = next else { return };
                let result =
                    task.await.unwrap_or_else(|e| Err(Failure::new(Kind::Bug, format!("read failed: {e}"))));
                let answer = match result {
                    Ok((data, share)) => {
                        let answer = v1::GetBlobResponse { id, data, error: None };
                        Answer::blob(answer, Some(stream.offer(share)))
                    }
                    Err(failure) => {
                        let error = Some(failure.into_message());
                        Answer::blob(v1::GetBlobResponse { id, data: Bytes::new(), error }, None)
                    }
                };
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        // See `bulk`.
        let mut response = Response::new(tokio_stream::empty());
        response.extensions_mut().insert(Beside::new(Answers::new(receiver)));
        Ok(response)
    }

    async fn lease(&self, request: Request<v1::LeaseRequest>) -> Result<Response<v1::LeaseResponse>, Status> {
        let who = caller(&request)?;
        let message = request.into_inner();
        let grant = lease(message.lease).map_err(|e| status(bad_request(&e)))?;
        who.check_in(Right::AppendOnly, grant.namespace).map_err(status)?;
        let ids: Result<Vec<BlobId>, BadRequest> = message.ids.iter().map(|id| blob_id(id)).collect();
        let ids = ids.map_err(|e| status(bad_request(&e)))?;
        self.blobs.charge(&who.name, grant.token, ids.len()).map_err(status)?;
        let present = self.blobs.lease(&grant, &ids).await.map_err(status)?;
        Ok(Response::new(v1::LeaseResponse { present }))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let who = caller(&request)?;
        let token = lease_token(&request.into_inner().token).map_err(|e| status(bad_request(&e)))?;
        // What was never granted belongs to no namespace; giving it up takes nothing from anybody.
        match self.blobs.namespace_of(token) {
            Some(namespace) => who.check_in(Right::Write, namespace).map_err(status)?,
            None => who.check(Right::Write).map_err(status)?,
        }
        self.blobs.release(token).await.map_err(status)?;
        Ok(Response::new(v1::ReleaseResponse {}))
    }
}
