//! Blobs that clients asked for, on their way out. Each has room from before it is read until its last byte was handed
//! to the connection's socket, whatever of HTTP/2 it waits in, and whose client takes nothing of it has its connection
//! closed when others wait for the room: nothing less gets back what waits inside the connection.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use larder_format::limits::BLOB_LEN_MAX;
use larder_wire::framing::answer_with_blob;
use larder_wire::v1;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use crate::admission::Admission;
use crate::room::{OUTGOING_BYTES_MAX, Room, STALLED_AFTER, STEP_BYTES, Share};
use crate::time::NodeTime;

/// How often who waits for room looks whether somebody stands still.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All blobs on their way out.
pub(crate) struct Giving {
    room: Room,
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
    state: Mutex<Progress>,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// Blobs that are read and that the client has not taken.
    offered: usize,
    /// When it last took something, or something was first there to be taken.
    moved: Duration,
}

impl Giving {
    pub(crate) fn new(time: Arc<NodeTime>, admission: Arc<Admission>) -> Arc<Self> {
        let room = Room::new(OUTGOING_BYTES_MAX);
        Arc::new(Self { room, time, admission, streams: Mutex::default() })
    }

    /// A stream of answers on this connection.
    pub(super) fn stream(self: &Arc<Self>, connection: u64) -> Arc<Stream> {
        let mut streams = self.streams.lock();
        streams.next += 1;
        let number = streams.next;
        let stream = Stream { giving: self.clone(), number, connection, state: Mutex::default() };
        let stream = Arc::new(stream);
        streams.open.insert(number, Arc::downgrade(&stream));
        stream
    }

    /// Waits for room for any blob; its length is known only when it is read.
    pub(super) async fn room(&self) -> Share {
        let mut taking = std::pin::pin!(self.room.take(BLOB_LEN_MAX));
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut taking).await {
                Ok(share) => return share,
                Err(_) => self.end_stalled(),
            }
        }
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
                    "connection closed: its client took nothing of a blob while others waited for memory"
                );
                self.admission.hang_up(stream.connection);
            }
        }
    }
}

impl Stream {
    fn has_stalled(&self, now: Duration) -> bool {
        let state = self.state.lock();
        state.offered > 0 && now.saturating_sub(state.moved) >= STALLED_AFTER
    }

    fn moved(&self) {
        self.state.lock().moved = self.giving.time.monotonic();
    }

    /// A blob that can be taken from now on.
    pub(super) fn offer(self: &Arc<Self>, share: Share) -> Offered {
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

/// Room of a blob until all of it is gone.
pub(super) struct Offered {
    _share: Share,
    stream: Arc<Stream>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.stream.state.lock().offered -= 1;
    }
}

/// A part of a blob, as the connection holds it. The bytes go before the room they have.
struct Part {
    bytes: Bytes,
    offered: Arc<Offered>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.offered.stream.moved();
    }
}

/// An answer, with the room of its blob.
pub(super) type Answer = (v1::GetBlobResponse, Option<Offered>);

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
    /// Of the answer that is being given.
    parts: VecDeque<Bytes>,
    end: Body,
}

/// What goes over the wire.
fn parts(answer: v1::GetBlobResponse, offered: Option<Offered>) -> VecDeque<Bytes> {
    let (head, mut data) = answer_with_blob(answer);
    let mut parts = VecDeque::from([head]);
    if let Some(offered) = offered.map(Arc::new) {
        while !data.is_empty() {
            let bytes = data.split_to(data.len().min(STEP_BYTES));
            parts.push_back(Bytes::from_owner(Part { bytes, offered: offered.clone() }));
        }
    } else if !data.is_empty() {
        parts.push_back(data);
    }
    parts
}

impl hyper::body::Body for AnswersBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.parts.is_empty()
            && let Some((answer, offered)) = ready!(self.answers.poll_recv(cx))
        {
            self.parts = parts(answer, offered);
        }
        match self.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Pin::new(&mut self.end).poll_frame(cx),
        }
    }
}
