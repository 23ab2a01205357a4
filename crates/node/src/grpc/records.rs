//! The records service.

use std::pin::Pin;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::KEY_LEN_MAX;
use larder_format::operation::Outcome;
use larder_store::api::Want;
use larder_store::feed::Position;
use larder_wire::answer::{Failure, answer_message, found_message};
use larder_wire::request::RecordRequest;
use larder_wire::v1;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::guard::{caller, counted_by};
use super::limits::Limits;
use super::{ANSWERS_QUEUED_MAX, bad_request, status};
use crate::feeds::{Feeds, WatchAsk};
use crate::identity::Right;
use crate::registers::{Registers, ScanAsk, store_failure};

/// Operations of one stream that may be waiting for the disk. Many, because one sync serves them all.
const OPERATIONS_WAITING_MAX: usize = 1024;

/// Most bytes of answers that one stream of operations may have waiting for its client to read them, in KiB. One
/// answer longer than that waits alone.
const ANSWERS_WAITING_KIB_MAX: u32 = 4 * 1024;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::ApplyResponse, Status>> + Send>>;

/// What an answer counts for against [`ANSWERS_WAITING_KIB_MAX`].
fn answer_kib<T>(result: &Result<(Outcome, T), Failure>) -> u32 {
    let bytes = match result {
        Ok((Outcome::Found(found), _)) => found.head.len() + found.body.len(),
        Ok((Outcome::Taken { head, body, .. }, _)) => head.len() + body.len(),
        _ => 0,
    };
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).min(ANSWERS_WAITING_KIB_MAX)
}

pub(crate) struct RecordsService {
    pub(crate) registers: Arc<Registers>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) limits: Arc<Limits>,
}

#[tonic::async_trait]
impl v1::records_server::Records for RecordsService {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let who = caller(&request)?;
        let request =
            RecordRequest::from_message(request.into_inner()).map_err(|e| status(bad_request(&e)))?;
        let tag = request.tag;
        let answer = self.registers.apply_as(&who, request).await;
        Ok(Response::new(answer_message(tag, answer)))
    }

    type ApplyStreamStream = Answers;

    async fn apply_stream(
        &self,
        request: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        let who = caller(&request)?;
        let counted_by = counted_by(&request)?;
        let mut requests = request.into_inner();
        let (registers, limits) = (self.registers.clone(), self.limits.clone());
        let (begun, mut waiting) = mpsc::channel(OPERATIONS_WAITING_MAX);
        let (answers, receiver) = mpsc::channel(ANSWERS_QUEUED_MAX);
        // Requests are begun in the order they come, without waiting for the disk; their answers leave in
        // the same order as their tickets resolve. A client that does not read them stops being served.
        let budget = Arc::new(Semaphore::new(ANSWERS_WAITING_KIB_MAX as usize));
        let failed = answers.clone();
        tokio::spawn(async move {
            loop {
                let message = match requests.next().await {
                    None => return,
                    Some(Ok(message)) => message,
                    Some(Err(error)) => {
                        let _ = failed.send((Err(error), None)).await;
                        return;
                    }
                };
                limits.pace(&counted_by).await;
                let tag = message.tag;
                let result = match registers.room().await {
                    Ok(()) => RecordRequest::from_message(message)
                        .map_err(|e| bad_request(&e))
                        .and_then(|request| registers.begin_as(&who, request)),
                    Err(failure) => Err(failure),
                };
                let Ok(room) = budget.clone().acquire_many_owned(answer_kib(&result)).await else { return };
                if begun.send((tag, result, room)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((tag, result, room)) = waiting.recv().await {
                let answer = match result {
                    Ok((outcome, ticket)) => ticket.await.map(|()| outcome).map_err(store_failure),
                    Err(failure) => Err(failure),
                };
                if answers.send((Ok(answer_message(tag, answer)), Some(room))).await.is_err() {
                    return;
                }
            }
        });
        // The room is given back as the answer is taken to be sent.
        let taken = ReceiverStream::new(receiver).map(|(answer, _room)| answer);
        Ok(Response::new(Box::pin(taken)))
    }

    type ScanStream = ReceiverStream<Result<v1::ScanPage, Status>>;

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let who = caller(&request)?;
        let message = request.into_inner();
        who.check_in(Right::Read, NamespaceId(message.namespace)).map_err(status)?;
        let mut ask = ScanAsk {
            namespace: NamespaceId(message.namespace),
            prefix: message.prefix,
            cursor: message.cursor,
            limit: usize::try_from(message.limit).unwrap_or(usize::MAX),
            key_len_max: longest_key(message.key_len_max),
            want: if message.head_only { Want::Head } else { Want::All },
        };
        let registers = self.registers.clone();
        let pages_max = if message.pages == 0 { u32::MAX } else { message.pages };
        // One page waits while the next is read; a client that stops reading stops the scan.
        let (pages, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..pages_max {
                let page = match registers.scan(&ask).await {
                    Ok(page) => page,
                    Err(failure) => {
                        let _ = pages.send(Err(status(failure))).await;
                        return;
                    }
                };
                let next = page.next.clone();
                let message = v1::ScanPage {
                    records: page
                        .records
                        .into_iter()
                        .map(|(key, found)| v1::ScanRecord {
                            key: key.to_bytes(),
                            found: Some(found_message(found)),
                        })
                        .collect(),
                    damaged: page.damaged.iter().map(larder_format::record::Key::to_bytes).collect(),
                    cursor: page.next.unwrap_or_default(),
                };
                if pages.send(Ok(message)).await.is_err() {
                    return;
                }
                match next {
                    Some(cursor) => ask.cursor = cursor,
                    None => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchPage, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let who = caller(&request)?;
        let message = request.into_inner();
        who.check_in(Right::Read, NamespaceId(message.namespace)).map_err(status)?;
        let ask = WatchAsk {
            namespace: NamespaceId(message.namespace),
            prefix: message.prefix,
            keys: Vec::new(),
            key_len_max: longest_key(message.key_len_max),
            cursor: message.cursor.map(|at| Position { life: at.life, sequence: at.sequence }),
        };
        let class = self.registers.class(ask.namespace).map_err(status)?;
        let mut watching = self.feeds.watch(class, ask).map_err(status)?;
        // One page waits for a slow reader; what comes meanwhile waits in the ring.
        let (pages, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let page = tokio::select! {
                    page = watching.next() => page,
                    () = pages.closed() => return,
                };
                let Some(page) = page else {
                    let stopping = Failure::new(Kind::Closed, "the node is stopping");
                    let _ = pages.send(Err(status(stopping))).await;
                    return;
                };
                if pages.send(Ok(page)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn newest(
        &self,
        request: Request<v1::NewestRequest>,
    ) -> Result<Response<v1::NewestResponse>, Status> {
        let who = caller(&request)?;
        let namespace = NamespaceId(request.into_inner().namespace);
        who.check_in(Right::Read, namespace).map_err(status)?;
        let class = self.registers.class(namespace).map_err(status)?;
        let at = self.feeds.newest(class, namespace);
        let cursor = Some(v1::WatchCursor { life: at.life, sequence: at.sequence });
        Ok(Response::new(v1::NewestResponse { cursor, time: self.registers.now().to_u64() }))
    }
}

/// The longest key wanted, as requests say it: 0 is any.
fn longest_key(asked: u32) -> usize {
    match asked {
        0 => KEY_LEN_MAX,
        n => usize::try_from(n).unwrap_or(KEY_LEN_MAX),
    }
}
