//! Messages with blobs or records to store, as they arrive. Each waits for room before its first byte is taken, and who began one
//! and stops sending has to end when others wait for the room.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use larder_wire::framing::{FRAME_HEAD_LEN, FrameError, message_len, unframed};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use crate::room::{Claim, Held, STALLED_AFTER, STEP_BYTES};

/// Messages of one stream.
pub(super) struct Messages<M> {
    body: Body,
    /// Arrived and not looked at: never more than a frame.
    rest: Bytes,
    room: Claim,
    of: PhantomData<fn() -> M>,
}

/// Why there is no further message.
#[derive(Debug)]
pub(super) enum Ended {
    /// It is the end, or the client is gone.
    Gone,
    /// Something that the client is told.
    Refused(Status),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Refused(match error {
            FrameError::TooLong { .. } => Status::out_of_range(error.to_string()),
            FrameError::Compressed => Status::unimplemented(error.to_string()),
            FrameError::Malformed(_) => Status::invalid_argument(error.to_string()),
        })
    }
}

impl<M: Message + Default> Messages<M> {
    pub(super) fn new(body: Body, room: Claim) -> Self {
        Self { body, rest: Bytes::new(), room, of: PhantomData }
    }

    /// The next message, and the room that it has.
    ///
    /// # Errors
    /// [`Ended`].
    pub(super) async fn next(&mut self) -> Result<(M, Held), Ended> {
        let mut head = [0; FRAME_HEAD_LEN];
        let mut got = 0;
        while got < FRAME_HEAD_LEN {
            self.fill().await?;
            let some = self.rest.split_to(self.rest.len().min(FRAME_HEAD_LEN - got));
            head[got..got + some.len()].copy_from_slice(&some);
            got += some.len();
        }
        let len = message_len(head)?;
        let share = self.room.take(len).await;
        let mut message = BytesMut::with_capacity(len);
        while message.len() < len {
            let step = message.len() + STEP_BYTES;
            self.read(&mut message, step.min(len)).await?;
        }
        Ok((unframed(message.freeze())?, share))
    }

    /// Reads until there is so much.
    async fn read(&mut self, message: &mut BytesMut, until: usize) -> Result<(), Ended> {
        let mut deadline = tokio::time::Instant::now() + STALLED_AFTER;
        while message.len() < until {
            match tokio::time::timeout_at(deadline, self.fill()).await {
                Ok(filled) => filled?,
                Err(_) if self.room.is_wanted() => {
                    tracing::info!("a client stopped in the middle of a message while others wait: ended");
                    let text = "the node ended a transfer that stood still while others waited; try again";
                    return Err(Ended::Refused(Status::unavailable(text)));
                }
                Err(_) => deadline = tokio::time::Instant::now() + STALLED_AFTER,
            }
            let wanted = until - message.len();
            message.extend_from_slice(&self.rest.split_to(self.rest.len().min(wanted)));
        }
        Ok(())
    }

    /// Waits until something has arrived.
    async fn fill(&mut self) -> Result<(), Ended> {
        while self.rest.is_empty() {
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) | None => return Err(Ended::Gone),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use larder_wire::v1;

    use crate::room::Rooms;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

    fn messages(room: usize) -> (Sender, Messages<v1::PutBlobRequest>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(receiver)));
        (sender, Messages::new(body, Rooms::new(room, None).of("a")))
    }

    fn framed(len: usize) -> Vec<u8> {
        let message = v1::PutBlobRequest { data: vec![5; len].into(), ..Default::default() }.encode_to_vec();
        let mut bytes = vec![0];
        bytes.put_u32(u32::try_from(message.len()).unwrap());
        bytes.extend_from_slice(&message);
        bytes
    }

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        for cut in [1, 3, 7, 1000, 100_000] {
            let (sender, mut messages) = messages(1 << 20);
            let bytes = [framed(0), framed(1), framed(70_000)].concat();
            for part in bytes.chunks(cut) {
                sender.send(Ok(Frame::data(Bytes::copy_from_slice(part)))).unwrap();
            }
            drop(sender);
            for len in [0, 1, 70_000] {
                assert_eq!(messages.next().await.unwrap().0.data.len(), len, "{cut}");
            }
            assert!(matches!(messages.next().await, Err(Ended::Gone)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_in_the_middle_is_ended_only_if_others_wait() {
        let (sender, mut messages) = messages(300 * 1024);
        let room = messages.room.clone();
        let bytes = Bytes::from(framed(300_000));
        sender.send(Ok(Frame::data(bytes.slice(..100_000)))).unwrap();
        let reading =
            tokio::spawn(async move { messages.next().await.map(|(message, _)| message.data.len()) });
        tokio::time::sleep(STALLED_AFTER * 4).await;
        assert!(!reading.is_finished(), "nobody waits");
        let began = tokio::time::Instant::now();
        drop(room.take(300_000).await);
        assert!(began.elapsed() <= STALLED_AFTER * 2, "{:?}", began.elapsed());
        let Err(Ended::Refused(status)) = reading.await.unwrap() else { panic!("not ended") };
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }
}
