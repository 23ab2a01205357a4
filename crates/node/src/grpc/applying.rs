//! Operations on records, each with room for its answer before the answer is kept for a client that may read it late.

use std::sync::Arc;

use larder_format::operation::Outcome;
use larder_store::api::Ticket;
use larder_wire::MESSAGE_LEN_MAX;
use larder_wire::answer::{Failure, answer_message};
use larder_wire::framing::framed;
use larder_wire::request::{Ask, RecordRequest};
use larder_wire::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::giving::{Answer, Giving, Offered, Stream};
use super::limits::Limits;
use super::taking::{Ended, Messages};
use super::{ANSWERS_QUEUED_MAX, bad_request};
use crate::identity::Identity;
use crate::registers::{Registers, store_failure};
use crate::room::{Held, SMALL_BYTES};

/// Operations of one stream that may be waiting for the disk. Many, because one sync serves them all.
const OPERATIONS_WAITING_MAX: usize = 1024;

/// Most bytes of answers that one stream of operations may have waiting for its client to read them, in KiB. One
/// answer longer than that waits alone.
const ANSWERS_WAITING_KIB_MAX: u32 = 4 * 1024;

/// What an answer has beside its value, in bytes: a little more than its fields take.
const FIELDS_BYTES: usize = 512;

/// How long an answer is, in bytes, with some room for its fields.
pub(super) fn answer_len(outcome: &Outcome) -> usize {
    FIELDS_BYTES
        + match outcome {
            Outcome::Found(found) => found.head.len() + found.body.len(),
            Outcome::Taken { head, body, .. } => head.len() + body.len(),
            _ => 0,
        }
}

/// Begins an operation whose answer has room. What was read and is longer than what there is room for is let go, and read
/// again with room: a value that waits for room would be in memory meanwhile.
async fn begin(
    registers: &Registers,
    stream: &Stream,
    who: &Identity,
    mut request: RecordRequest,
) -> (Result<(Outcome, Ticket), Failure>, Held) {
    // What is taken is gone: it cannot be read a second time.
    let first = if request.ask == Ask::Take { MESSAGE_LEN_MAX } else { 0 };
    let mut share = stream.room(first).await;
    loop {
        let again = matches!(request.ask, Ask::Get { .. }).then(|| request.clone());
        let result = registers.begin_as(who, request);
        let len = result.as_ref().map_or(FIELDS_BYTES, |(outcome, _)| answer_len(outcome));
        if len <= share.bytes() {
            share.shrink(len);
            return (result, share);
        }
        drop(share);
        match again {
            Some(next) if len > SMALL_BYTES => {
                drop(result);
                share = stream.room(len).await;
                request = next;
            }
            // Small, and so as many as there are streams.
            _ => return (result, stream.room(len).await),
        }
    }
}

/// An operation under way: how its answer is called, what became of it, and what the answer has of the stream's and of
/// everybody's room.
type Begun = (u64, Result<(Outcome, Ticket), Failure>, OwnedSemaphorePermit, Held);

/// A stream of operations.
pub(super) struct Applying {
    pub(super) registers: Arc<Registers>,
    pub(super) limits: Arc<Limits>,
    pub(super) stream: Arc<Stream>,
    pub(super) who: Arc<Identity>,
    pub(super) counted_by: larder_door::Caller,
}

/// What comes of it: answers, and how the stream ends.
pub(super) type Applied = (mpsc::Receiver<Answer>, mpsc::Receiver<Result<v1::ApplyResponse, Status>>);

impl Applying {
    /// Begins requests in the order they come, without waiting for the disk; their answers leave in the same order as
    /// their tickets resolve. A client that does not read them stops being served.
    pub(super) fn start(self, requests: Messages<v1::ApplyRequest>) -> Applied {
        let (begun, waiting) = mpsc::channel(OPERATIONS_WAITING_MAX);
        let (answers, receiver) = mpsc::channel(ANSWERS_QUEUED_MAX);
        let (end, ended) = mpsc::channel(1);
        let stream = self.stream.clone();
        tokio::spawn(self.take(requests, begun, end));
        tokio::spawn(answer(waiting, stream, answers));
        (receiver, ended)
    }

    async fn take(
        self,
        mut requests: Messages<v1::ApplyRequest>,
        begun: mpsc::Sender<Begun>,
        end: mpsc::Sender<Result<v1::ApplyResponse, Status>>,
    ) {
        let budget = Arc::new(Semaphore::new(ANSWERS_WAITING_KIB_MAX as usize));
        loop {
            let (message, arrived) = match requests.next().await {
                Ok(next) => next,
                Err(Ended::Gone) => return,
                Err(Ended::Refused(status)) => {
                    let _ = end.send(Err(status)).await;
                    return;
                }
            };
            self.limits.pace(&self.counted_by).await;
            let tag = message.tag;
            let (result, share) = tokio::select! {
                begun = self.begin(message) => begun,
                // A client that is gone does not keep its place among those who wait.
                () = begun.closed() => return,
            };
            // It is in its table, or has room in the queue for the disk, by now.
            drop(arrived);
            let kib = u32::try_from(share.bytes() / 1024).unwrap_or(u32::MAX).min(ANSWERS_WAITING_KIB_MAX);
            let Ok(room) = budget.clone().acquire_many_owned(kib).await else { return };
            if begun.send((tag, result, room, share)).await.is_err() {
                return;
            }
        }
    }

    async fn begin(&self, message: v1::ApplyRequest) -> (Result<(Outcome, Ticket), Failure>, Held) {
        let request = match self.registers.room().await {
            Ok(()) => RecordRequest::from_message(message).map_err(|e| bad_request(&e)),
            Err(failure) => Err(failure),
        };
        match request {
            Ok(request) => begin(&self.registers, &self.stream, &self.who, request).await,
            Err(failure) => (Err(failure), self.stream.room(FIELDS_BYTES).await),
        }
    }
}

/// Answers in order, each when it is durable. The stream's room is given back when the answer is on its way.
async fn answer(mut waiting: mpsc::Receiver<Begun>, stream: Arc<Stream>, answers: mpsc::Sender<Answer>) {
    while let Some((tag, result, room, share)) = waiting.recv().await {
        let answer = match result {
            Ok((outcome, ticket)) => ticket.await.map(|()| outcome).map_err(store_failure),
            Err(failure) => Err(failure),
        };
        let Ok(place) = answers.reserve().await else { return };
        let answer = framed(&answer_message(tag, answer));
        place.send(Answer::framed(answer, Some(stream.offer(share)), Some(room)));
    }
}

/// Carries out one operation. A long answer has room.
///
/// # Errors
/// As [`Registers::apply_as`].
pub(super) async fn apply(
    registers: &Registers,
    (giving, connection): (&Arc<Giving>, u64),
    who: &Identity,
    request: RecordRequest,
) -> (Result<Outcome, Failure>, Option<Offered>) {
    let stream = || giving.stream(connection, &who.name);
    let mut room: Option<(Arc<Stream>, Held)> = None;
    match request.ask {
        Ask::Get { .. } => {}
        // What is taken is gone: it cannot be read a second time.
        Ask::Take => {
            let stream = stream();
            let share = stream.room(MESSAGE_LEN_MAX).await;
            room = Some((stream, share));
        }
        _ => return (registers.apply_as(who, request).await, None),
    }
    loop {
        let result = registers.apply_as(who, request.clone()).await;
        let len = result.as_ref().map_or(0, answer_len);
        match room {
            _ if len <= SMALL_BYTES => return (result, None),
            Some((stream, mut share)) if len <= share.bytes() || request.ask == Ask::Take => {
                share.shrink(len);
                return (result, Some(stream.offer(share)));
            }
            // Let go, and read again with room.
            _ => {
                drop((result, room));
                let stream = stream();
                let share = stream.room(len).await;
                room = Some((stream, share));
            }
        }
    }
}
