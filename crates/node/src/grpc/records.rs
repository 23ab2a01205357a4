//! The records service.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::KEY_LEN_MAX;
use larder_store::api::Want;
use larder_store::feed::Position;
use larder_wire::MESSAGE_LEN_MAX;
use larder_wire::answer::{Failure, answer_message, found_message};
use larder_wire::framing::framed;
use larder_wire::request::RecordRequest;
use larder_wire::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

use super::applying::{self, Applying};
use super::bulk::Beside;
use super::giving::{Answer, Answers, Giving};
use super::guard::{caller, connection, counted_by};
use super::limits::Limits;
use super::taking::Messages;
use super::{bad_request, status};
use crate::feeds::{Feeds, PAGE_BYTES_MAX, WatchAsk, watch_message};
use crate::identity::Right;
use crate::registers::{Page, Registers, ScanAsk};
use crate::room::Rooms;

pub(crate) struct RecordsService {
    pub(crate) registers: Arc<Registers>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) limits: Arc<Limits>,
    /// For operations that are arriving.
    pub(crate) taking: Arc<Rooms>,
    /// For answers that are going out.
    pub(crate) giving: Arc<Giving>,
    /// For pages that are going out.
    pub(crate) pages: Arc<Giving>,
}

/// An answer whose body its handler makes: see `bulk`. What is left to the codec says how it ends.
fn with_answers<T>(answers: mpsc::Receiver<Answer>, end: T) -> Response<T> {
    let mut response = Response::new(end);
    response.extensions_mut().insert(Beside::new(Answers::new(answers)));
    response
}

#[tonic::async_trait]
impl v1::records_server::Records for RecordsService {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let who = caller(&request)?;
        let connection = connection(&request)?;
        let request =
            RecordRequest::from_message(request.into_inner()).map_err(|e| status(bad_request(&e)))?;
        let tag = request.tag;
        let giving = (&self.giving, connection);
        let (answer, offered) = applying::apply(&self.registers, giving, &who, request).await;
        let mut response = Response::new(answer_message(tag, answer));
        if let Some(offered) = offered {
            response.extensions_mut().insert(Beside::new(offered));
        }
        Ok(response)
    }

    type ApplyStreamStream = ReceiverStream<Result<v1::ApplyResponse, Status>>;

    async fn apply_stream(
        &self,
        request: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        let who = caller(&request)?;
        let applying = Applying {
            registers: self.registers.clone(),
            limits: self.limits.clone(),
            stream: self.giving.stream(connection(&request)?, &who.name),
            who,
            counted_by: counted_by(&request)?,
        };
        let body = request.extensions().get::<Beside<Body>>().and_then(Beside::take);
        let body = body.ok_or_else(|| Status::internal("the request has no body"))?;
        let taking = self.taking.of(&applying.who.name);
        let (answers, ended) = applying.start(Messages::new(body, taking));
        Ok(with_answers(answers, ReceiverStream::new(ended)))
    }

    type ScanStream = ReceiverStream<Result<v1::ScanPage, Status>>;

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let who = caller(&request)?;
        let connection = connection(&request)?;
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
        let pages_max = if message.pages == 0 { u32::MAX } else { message.pages };
        // One page waits while the next is read; a client that stops reading stops the scan.
        let (answers, receiver) = mpsc::channel(1);
        let (end, ended) = mpsc::channel(1);
        let registers = self.registers.clone();
        let stream = self.pages.stream(connection, &who.name);
        tokio::spawn(async move {
            for _ in 0..pages_max {
                let reading = async {
                    // How long a page is, is known only when it is read.
                    let share = stream.room(MESSAGE_LEN_MAX).await;
                    (registers.scan(&ask).await, share)
                };
                let (page, mut share) = tokio::select! {
                    read = reading => read,
                    // A client that is gone does not keep its place among those who wait.
                    () = answers.closed() => return,
                };
                let page = match page {
                    Ok(page) => page,
                    Err(failure) => {
                        let _ = end.send(Err(status(failure))).await;
                        return;
                    }
                };
                let next = page.next.clone();
                let page = framed(&page_message(page));
                share.shrink(page.len());
                let answer = Answer::framed(page, Some(stream.offer(share)), None);
                if answers.send(answer).await.is_err() {
                    return;
                }
                match next {
                    Some(cursor) => ask.cursor = cursor,
                    None => return,
                }
            }
        });
        Ok(with_answers(receiver, ReceiverStream::new(ended)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchPage, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let who = caller(&request)?;
        let connection = connection(&request)?;
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
        let (answers, receiver) = mpsc::channel(1);
        let (end, ended) = mpsc::channel(1);
        let stream = self.pages.stream(connection, &who.name);
        tokio::spawn(async move {
            loop {
                let looking = async {
                    if !watching.stirred().await {
                        return None;
                    }
                    let share = stream.room(PAGE_BYTES_MAX).await;
                    Some((watching.look_now(), share))
                };
                let looked = tokio::select! {
                    looked = looking => looked,
                    () = answers.closed() => return,
                };
                let Some((page, mut share)) = looked else {
                    let stopping = Failure::new(Kind::Closed, "the node is stopping");
                    let _ = end.send(Err(status(stopping))).await;
                    return;
                };
                // Nothing in it that this watcher wants to know.
                let Some(page) = page else { continue };
                let page = framed(&watch_message(page));
                share.shrink(page.len());
                if answers.send(Answer::framed(page, Some(stream.offer(share)), None)).await.is_err() {
                    return;
                }
            }
        });
        Ok(with_answers(receiver, ReceiverStream::new(ended)))
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

fn page_message(page: Page) -> v1::ScanPage {
    let records = page.records.into_iter();
    v1::ScanPage {
        records: records
            .map(|(key, found)| v1::ScanRecord { key: key.to_bytes(), found: Some(found_message(found)) })
            .collect(),
        damaged: page.damaged.iter().map(larder_format::record::Key::to_bytes).collect(),
        cursor: page.next.unwrap_or_default(),
    }
}

/// The longest key wanted, as requests say it: 0 is any.
fn longest_key(asked: u32) -> usize {
    match asked {
        0 => KEY_LEN_MAX,
        n => usize::try_from(n).unwrap_or(KEY_LEN_MAX),
    }
}
