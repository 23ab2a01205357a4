//! Bodies of single calls as they arrive. A message that is whole in one frame of HTTP/2 passes as it is; a longer one waits for
//! room before more of it is taken, keeps the room until the call is answered or the next message begins, and has to end
//! when it stands still while others wait.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use larder_wire::MESSAGE_LEN_MAX;
use larder_wire::framing::FRAME_HEAD_LEN;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use crate::room::{Claim, Held, STALLED_AFTER, STEP_BYTES};

type Waiting = Pin<Box<dyn Future<Output = Held> + Send>>;

/// The room that a call's body has; whoever works on the call keeps it, too.
pub(super) type Keeping = Arc<Mutex<Option<Held>>>;

/// A body, as its handler gets it.
pub(super) struct Arriving {
    body: Body,
    room: Claim,
    held: Keeping,
    /// Of the next message's head, as far as it has come.
    head: Vec<u8>,
    /// Bytes of the message that are still to come.
    left: usize,
    /// A part of a message that waits for room.
    waiting: Option<(Bytes, Waiting)>,
    /// When it is looked at whether it stands still, and what has come since it was.
    look: Option<Pin<Box<Sleep>>>,
    since: usize,
}

impl Arriving {
    /// A body, and what keeps its room.
    pub(super) fn new(body: Body, room: Claim) -> (Self, Keeping) {
        let held = Keeping::default();
        let (head, look) = (Vec::new(), None);
        let this = Self { body, room, held: held.clone(), head, left: 0, waiting: None, look, since: 0 };
        (this, held)
    }

    /// Goes through the messages in a part of the body. How long the one is that goes on after it, if it began here.
    fn go_through(&mut self, data: &[u8]) -> Option<usize> {
        let mut rest = data;
        let mut begun = None;
        while !rest.is_empty() {
            let of_message = rest.len().min(self.left);
            rest = &rest[of_message..];
            self.left -= of_message;
            if self.left > 0 || rest.is_empty() {
                break;
            }
            let of_head = rest.len().min(FRAME_HEAD_LEN - self.head.len());
            self.head.extend_from_slice(&rest[..of_head]);
            rest = &rest[of_head..];
            if let [_, a, b, c, d] = self.head[..] {
                // The codec refuses what is longer, before it takes more of it.
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).min(MESSAGE_LEN_MAX);
                begun = Some(self.left);
                self.head.clear();
            }
        }
        begun.filter(|_| self.left > 0)
    }

    /// Whether it has stood still while others waited.
    fn stands_still(&mut self, cx: &mut Context<'_>) -> bool {
        if self.left == 0 || self.held.lock().is_none() {
            self.look = None;
            return false;
        }
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED_AFTER)));
        while look.as_mut().poll(cx).is_ready() {
            if self.room.is_wanted() && self.since < STEP_BYTES {
                return true;
            }
            self.since = 0;
            look.as_mut().reset(Instant::now() + STALLED_AFTER.max(Duration::from_secs(1)));
        }
        false
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some((data, mut waiting)) = this.waiting.take() {
            let Poll::Ready(share) = waiting.as_mut().poll(cx) else {
                this.waiting = Some((data, waiting));
                return Poll::Pending;
            };
            *this.held.lock() = Some(share);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if this.stands_still(cx) {
                tracing::info!("a client stopped in the middle of a message while others wait: ended");
                let text = "the node ended a call that stood still while others waited; try again";
                return Poll::Ready(Some(Err(Status::unavailable(text))));
            }
            return Poll::Pending;
        };
        let data = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            end => return Poll::Ready(end),
        };
        this.since += data.len();
        let Some(len) = this.go_through(&data) else {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        };
        // The message before is done with. What begins now gets all the room that it needs at once, so that it never
        // waits with half of it.
        *this.held.lock() = None;
        let room = this.room.clone();
        let mut waiting: Waiting = Box::pin(async move { room.take(len).await });
        match waiting.as_mut().poll(cx) {
            Poll::Ready(share) => {
                *this.held.lock() = Some(share);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Pending => {
                this.waiting = Some((data, waiting));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::room::Rooms;

    type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

    fn arriving(room: usize) -> (Sender, Arriving, Keeping) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(receiver)));
        let (arriving, held) = Arriving::new(body, Rooms::new(room, None).of("a"));
        (sender, arriving, held)
    }

    fn framed(len: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.put_u32(u32::try_from(len).unwrap());
        bytes.resize(FRAME_HEAD_LEN + len, 7);
        bytes
    }

    fn bytes_of(held: &Keeping) -> usize {
        held.lock().as_ref().map_or(0, Held::bytes)
    }

    #[tokio::test]
    async fn bodies_pass_as_they_are_however_they_are_cut() {
        let bytes = [framed(0), framed(3), framed(100_000), framed(9)].concat();
        for cut in [1, 4, 5, 6, 1000, 70_000, 200_000] {
            let (sender, arriving, held) = arriving(1 << 20);
            for part in bytes.chunks(cut) {
                sender.send(Ok(Frame::data(Bytes::copy_from_slice(part)))).unwrap();
            }
            drop(sender);
            assert_eq!(arriving.collect().await.unwrap().to_bytes(), bytes, "{cut}");
            assert!(bytes_of(&held) < 110_000, "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn long_messages_wait_for_room_and_keep_it_until_the_call_is_done() {
        let (sender, mut arriving, held) = arriving(100 * 1024);
        let room = arriving.room.clone();
        let send = |bytes: &[u8]| sender.send(Ok(Frame::data(Bytes::copy_from_slice(bytes)))).unwrap();
        send(&framed(5000));
        assert!(arriving.frame().await.unwrap().is_ok());
        assert_eq!(bytes_of(&held), 0, "whole in a frame");
        let others = room.take(100 * 1024).await;
        let long = framed(90_000);
        send(&long[..10_000]);
        assert!(tokio::time::timeout(STALLED_AFTER * 9, arriving.frame()).await.is_err(), "no room");
        drop(others);
        assert!(arriving.frame().await.unwrap().is_ok());
        assert!(bytes_of(&held) >= 90_000);
        send(&long[10_000..]);
        assert!(arriving.frame().await.unwrap().is_ok());
        drop(arriving);
        assert!(bytes_of(&held) >= 90_000, "until the call is done");
        drop(held);
        drop(room.take(100 * 1024).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_in_the_middle_is_ended_only_if_others_wait() {
        let (sender, mut arriving, _held) = arriving(100 * 1024);
        let room = arriving.room.clone();
        sender.send(Ok(Frame::data(Bytes::from(framed(90_000)).slice(..100)))).unwrap();
        assert!(arriving.frame().await.unwrap().is_ok());
        assert!(tokio::time::timeout(STALLED_AFTER * 4, arriving.frame()).await.is_err(), "nobody waits");
        let waiting = tokio::spawn(async move { drop(room.take(100_000).await) });
        let began = Instant::now();
        let ended = arriving.frame().await.unwrap().unwrap_err();
        assert_eq!(ended.code(), tonic::Code::Unavailable);
        assert!(began.elapsed() <= STALLED_AFTER * 2);
        drop((arriving, _held));
        waiting.await.unwrap();
    }
}
