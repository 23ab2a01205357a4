//! What clients asked for, on its way out: blobs, records, pages. Each has room from before it is read until its last byte
//! was handed to the connection's socket, whatever of HTTP/2 it waits in, and whose client takes nothing of it has its
//! connection closed when others wait for the room: nothing less gets back what waits inside the connection. Where one
//! identity has a part of the room only, it is in its own way before it is in that of others.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use larder_wire::framing::answer_with_blob;
use larder_wire::v1;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;
use tonic::body::Body;

use crate::admission::Admission;
use crate::room::{Claim, Held, Rooms, SMALL_BYTES, STALLED_AFTER, STEP_BYTES};
use crate::time::NodeTime;

/// How often who waits for room looks whether somebody stands still.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Small answers that are there together go out together, up to this many bytes: a frame for each would cost more than what
/// is in it.
const GATHER_BYTES: usize = 32 * 1024;

/// All that is on its way out of one kind.
pub(crate) struct Giving {
    rooms: Rooms,
    time: Arc<NodeTime>,
    admission: Arc<Admission>,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    next: u64,
    open: HashMap<u64, Weak<Stream>>,
    looked: Duration,
}

/// One stream of answers.
pub(super) struct Stream {
    giving: Arc<Giving>,
    number: u64,
    connection: u64,
    claim: Claim,
    state: Mutex<Progress>,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// Answers that are there and that the client has not taken.
    offered: usize,
    /// When it last took something, or something was first there to be taken.
    moved: Duration,
}

impl Giving {
    /// With room for so many bytes, and so many for each identity.
    pub(crate) fn new(
        bytes: usize,
        each: Option<usize>,
        time: Arc<NodeTime>,
        admission: Arc<Admission>,
    ) -> Arc<Self> {
        Arc::new(Self { rooms: Rooms::new(bytes, each), time, admission, streams: Mutex::default() })
    }

    /// A stream of answers on this connection, for whom has that name.
    pub(super) fn stream(self: &Arc<Self>, connection: u64, name: &str) -> Arc<Stream> {
        let claim = self.rooms.of(name);
        let mut streams = self.streams.lock();
        streams.next += 1;
        let number = streams.next;
        let stream = Stream { giving: self.clone(), number, connection, claim, state: Mutex::default() };
        let stream = Arc::new(stream);
        streams.open.insert(number, Arc::downgrade(&stream));
        stream
    }

    /// Closes the connections of those who have room and take nothing.
    fn end_stalled(&self) {
        let now = self.time.monotonic();
        let streams: Vec<Arc<Stream>> = {
            let mut streams = self.streams.lock();
            // All who wait look, and once is enough.
            if now.saturating_sub(streams.looked) < LOOK_EVERY {
                return;
            }
            streams.looked = now;
            streams.open.values().filter_map(Weak::upgrade).collect()
        };
        for stream in streams {
            if stream.has_stalled(now) {
                tracing::info!(
                    "connection closed: its client took nothing of an answer while others waited for memory"
                );
                self.admission.hang_up(stream.connection);
            }
        }
    }
}

impl Stream {
    /// Waits for room for so many bytes.
    pub(super) async fn room(&self, bytes: usize) -> Held {
        let mut taking = std::pin::pin!(self.claim.take(bytes));
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut taking).await {
                Ok(held) => return held,
                Err(_) => self.giving.end_stalled(),
            }
        }
    }

    fn has_stalled(&self, now: Duration) -> bool {
        let state = self.state.lock();
        state.offered > 0 && now.saturating_sub(state.moved) >= STALLED_AFTER
    }

    fn moved(&self) {
        self.state.lock().moved = self.giving.time.monotonic();
    }

    /// An answer that can be taken from now on.
    pub(super) fn offer(self: &Arc<Self>, share: Held) -> Offered {
        let mut state = self.state.lock();
        if state.offered == 0 {
            state.moved = self.giving.time.monotonic();
        }
        state.offered += 1;
        drop(state);
        Offered { _share: share, stream: self.clone() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.giving.streams.lock().open.remove(&self.number);
    }
}

/// Room of an answer until all of it is gone.
pub(super) struct Offered {
    _share: Held,
    stream: Arc<Stream>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.stream.state.lock().offered -= 1;
    }
}

/// A part of an answer, or several small ones, as the connection holds it. The bytes go before the room they have.
struct Part {
    bytes: Bytes,
    offered: Vec<Arc<Offered>>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(offered) = self.offered.first() {
            offered.stream.moved();
        }
    }
}

/// An answer as it goes over the wire, with its room.
pub(super) struct Answer {
    head: Bytes,
    data: Bytes,
    offered: Option<Offered>,
    /// What its stream may have waiting; given back as the answer is taken to be sent.
    _of_stream: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// One with a blob.
    pub(super) fn blob(answer: v1::GetBlobResponse, offered: Option<Offered>) -> Self {
        let (head, data) = answer_with_blob(answer);
        Self { head, data, offered, _of_stream: None }
    }

    /// Any other, framed.
    pub(super) fn framed(
        data: Bytes,
        offered: Option<Offered>,
        of_stream: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { head: Bytes::new(), data, offered, _of_stream: of_stream }
    }

    fn len(&self) -> usize {
        self.head.len() + self.data.len()
    }
}

/// The body of a stream of answers, up to how it ends.
pub(super) struct Answers(mpsc::Receiver<Answer>);

impl Answers {
    pub(super) fn new(receiver: mpsc::Receiver<Answer>) -> Self {
        Self(receiver)
    }

    /// The whole body.
    pub(super) fn ending_with(self, end: Body) -> AnswersBody {
        AnswersBody { answers: self.0, parts: VecDeque::new(), end }
    }
}

/// As [`Answers`], with its end.
pub(super) struct AnswersBody {
    answers: mpsc::Receiver<Answer>,
    /// Of the answers that are being given.
    parts: VecDeque<Bytes>,
    end: Body,
}

/// Cuts what has room into parts, each of which says when it is gone.
fn cut(mut data: Bytes, offered: Option<Offered>, parts: &mut VecDeque<Bytes>) {
    let Some(offered) = offered.map(Arc::new) else {
        return parts.extend((!data.is_empty()).then_some(data));
    };
    while !data.is_empty() {
        let bytes = data.split_to(data.len().min(STEP_BYTES));
        parts.push_back(Bytes::from_owner(Part { bytes, offered: vec![offered.clone()] }));
    }
}

impl AnswersBody {
    /// Takes what is there: small answers together, a long one by itself. Nothing is left when it is over.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut small, mut offers) = (BytesMut::new(), Vec::new());
        let long = loop {
            match self.answers.poll_recv(cx) {
                Poll::Ready(Some(answer)) if answer.len() > SMALL_BYTES => break Some(answer),
                Poll::Ready(Some(answer)) => {
                    small.extend_from_slice(&answer.head);
                    small.extend_from_slice(&answer.data);
                    offers.extend(answer.offered.map(Arc::new));
                    if small.len() >= GATHER_BYTES {
                        break None;
                    }
                }
                Poll::Ready(None) => break None,
                Poll::Pending if small.is_empty() => return Poll::Pending,
                Poll::Pending => break None,
            }
        };
        if !small.is_empty() {
            let part = Part { bytes: small.freeze(), offered: offers };
            self.parts.push_back(Bytes::from_owner(part));
        }
        if let Some(Answer { head, data, offered, .. }) = long {
            self.parts.extend((!head.is_empty()).then_some(head));
            cut(data, offered, &mut self.parts);
        }
        Poll::Ready(())
    }
}

impl hyper::body::Body for AnswersBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.parts.is_empty() {
            ready!(self.poll_fill(cx));
        }
        match self.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Pin::new(&mut self.end).poll_frame(cx),
        }
    }
}

/// A body of one answer that has room until its last byte is gone.
pub(super) struct HeldBody {
    body: Body,
    parts: VecDeque<Bytes>,
    /// Taken over by the first bytes that come; there is one answer only.
    offered: Option<Offered>,
}

impl HeldBody {
    pub(super) fn new(body: Body, offered: Offered) -> Self {
        Self { body, parts: VecDeque::new(), offered: Some(offered) }
    }
}

impl hyper::body::Body for HeldBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(part) = self.parts.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        match frame.into_data() {
            Ok(data) => {
                let this = &mut *self;
                cut(data, this.offered.take(), &mut this.parts);
                let first = this.parts.pop_front().unwrap_or_default();
                Poll::Ready(Some(Ok(Frame::data(first))))
            }
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }
}
