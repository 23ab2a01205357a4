//! The blobs service.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::ids::{BlobId, NamespaceId};
use larder_store::api::LeaseGrant;
use larder_wire::answer::Failure;
use larder_wire::request::{BadRequest, blob_id, key, lease_token};
use larder_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::guard::caller;
use super::{bad_request, status};
use crate::blobs::{Blobs, Storing, blob_failure};
use crate::identity::{Identity, Right};

/// Blobs of one stream that may be read ahead of what the client has taken.
const READ_AHEAD_BLOBS: usize = 3;

/// Blobs of one stream that may be waiting for the disk. Bytes are bounded as well, over all streams.
const STORING_MAX: usize = 256;

pub(crate) struct BlobsService {
    pub(crate) blobs: Arc<Blobs>,
}

fn lease(message: Option<v1::Lease>) -> Result<LeaseGrant, BadRequest> {
    let message = message.ok_or(BadRequest::Missing { field: "lease" })?;
    Ok(LeaseGrant {
        token: lease_token(&message.token)?,
        namespace: NamespaceId(message.namespace),
        key: key(message.key)?,
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
    blobs.put(id, message.data, lease).await
}

#[tonic::async_trait]
impl v1::blobs_server::Blobs for BlobsService {
    type PutStream = ReceiverStream<Result<v1::PutBlobResponse, Status>>;

    async fn put(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<Self::PutStream>, Status> {
        let who = caller(&request)?;
        let mut requests = request.into_inner();
        let blobs = self.blobs.clone();
        let (begun, mut waiting) = mpsc::channel(STORING_MAX);
        let (answers, receiver) = mpsc::channel(STORING_MAX);
        tokio::spawn(async move {
            let mut current = None;
            // A broken stream ends here: what was stored and not answered is leased until its deadline.
            while let Some(Ok(message)) = requests.next().await {
                let id = message.id.clone();
                let result = store_one(&blobs, &who, &mut current, message).await;
                if begun.send((id, result)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((id, result)) = waiting.recv().await {
                let outcome = match result {
                    Ok(storing) => storing.ticket.clone().await.map_err(blob_failure),
                    Err(failure) => Err(failure),
                };
                let error = outcome.err().map(Failure::into_message);
                if answers.send(Ok(v1::PutBlobResponse { id, error })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type GetStream = ReceiverStream<Result<v1::GetBlobResponse, Status>>;

    async fn get(
        &self,
        request: Request<Streaming<v1::GetBlobRequest>>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let mut requests = request.into_inner();
        let blobs = self.blobs.clone();
        let (reading, mut read) = mpsc::channel(READ_AHEAD_BLOBS);
        let (answers, receiver) = mpsc::channel(1);
        // Reads run beside each other on blocking threads; their answers leave in the order asked.
        tokio::spawn(async move {
            while let Some(Ok(message)) = requests.next().await {
                let blobs = blobs.clone();
                let id = message.id.clone();
                let task = tokio::task::spawn_blocking(move || {
                    let id: BlobId = blob_id(&message.id).map_err(|e| bad_request(&e))?;
                    blobs.get(id, message.offset, message.length)
                });
                if reading.send((id, task)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((id, task)) = read.recv().await {
                let result =
                    task.await.unwrap_or_else(|e| Err(Failure::new(Kind::Bug, format!("read failed: {e}"))));
                let answer = match result {
                    Ok(data) => v1::GetBlobResponse { id, data, error: None },
                    Err(failure) => v1::GetBlobResponse {
                        id,
                        data: bytes::Bytes::new(),
                        error: Some(failure.into_message()),
                    },
                };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease(&self, request: Request<v1::LeaseRequest>) -> Result<Response<v1::LeaseResponse>, Status> {
        let who = caller(&request)?;
        let message = request.into_inner();
        let grant = lease(message.lease).map_err(|e| status(bad_request(&e)))?;
        who.check_in(Right::AppendOnly, grant.namespace).map_err(status)?;
        let ids: Result<Vec<BlobId>, BadRequest> = message.ids.iter().map(|id| blob_id(id)).collect();
        let ids = ids.map_err(|e| status(bad_request(&e)))?;
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
