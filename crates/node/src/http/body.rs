//! Reads a request's body within limits: its length, its time, and the memory that all bodies share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use larder_door::caller::Standing;
use larder_door::http::limits::{
    BODIES_WAIT_MAX, BODY_STEP_BYTES, BODY_STEP_TIME, BODY_WANTED_BYTES, BODY_WANTED_TIME, SMALL_BYTES_MAX,
};
use larder_door::{Caller, Refusal};
use tokio::time::Instant;

use super::memory::{Memory, Share};

/// A whole body, with its share of the memory that is set aside for them. The share ends when this is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: Option<Share>,
}

/// Refuses what says beforehand that it is too long, before a byte of it is asked for.
///
/// # Errors
/// [`Refusal::BodyTooLarge`].
pub(super) fn check_length(headers: &HeaderMap, body: &Incoming, max: u64) -> Result<(), Refusal> {
    let said = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let len = body.size_hint().lower().max(said.unwrap_or(0_u64));
    if len > max { Err(Refusal::BodyTooLarge { max }) } else { Ok(()) }
}

/// How fast a body has to come.
struct Pace {
    /// Until when there has to be a step of it, and what has come of that step, in bytes.
    deadline: Instant,
    step: usize,
    is_local: bool,
    /// When it is looked at again whether others wait, whether they did the last time, and what has come since.
    look: Instant,
    was_wanted: bool,
    since: usize,
}

impl Pace {
    fn begin(caller: &Caller) -> Self {
        let now = Instant::now();
        Self {
            deadline: now + BODY_STEP_TIME,
            step: 0,
            is_local: caller.standing == Standing::Loopback,
            look: now + BODY_WANTED_TIME,
            was_wanted: false,
            since: 0,
        }
    }

    /// The next part of a body, that holds this.
    async fn next(
        &mut self,
        body: &mut Incoming,
        share: Option<&Share>,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Refusal> {
        let share = share.filter(|_| self.is_local);
        loop {
            if Instant::now() >= self.look {
                self.look_again(share)?;
            }
            let until = if share.is_some() { self.deadline.min(self.look) } else { self.deadline };
            match tokio::time::timeout_at(until, body.frame()).await {
                Ok(frame) => return Ok(frame),
                Err(_) if Instant::now() >= self.deadline => return Err(Refusal::TooSlow),
                Err(_) => {}
            }
        }
    }

    /// Looks whether it has to go because others wait.
    fn look_again(&mut self, share: Option<&Share>) -> Result<(), Refusal> {
        let wanted = share.is_some_and(Share::is_wanted);
        if wanted && self.was_wanted && self.since < BODY_WANTED_BYTES {
            return Err(Refusal::TooSlow);
        }
        (self.was_wanted, self.since) = (wanted, 0);
        self.look = Instant::now() + BODY_WANTED_TIME;
        Ok(())
    }

    /// So many bytes have come.
    fn came(&mut self, len: usize) {
        self.since += len;
        self.step += len;
        if self.step >= BODY_STEP_BYTES {
            (self.deadline, self.step) = (Instant::now() + BODY_STEP_TIME, 0);
        }
    }

    /// Nobody asked for more for so long.
    fn pause(&mut self, time: Duration) {
        self.deadline += time;
        (self.look, self.was_wanted, self.since) = (Instant::now() + BODY_WANTED_TIME, false, 0);
    }
}

/// Reads a body to its end.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::TooSlow`], [`Refusal::Busy`] while other bodies fill the memory,
/// [`Refusal::Malformed`] if it breaks off.
pub(super) async fn read(
    mut body: Incoming,
    max: u64,
    caller: &Caller,
    memory: &Memory,
) -> Result<Received, Refusal> {
    // Zero for a body that does not say.
    let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut share: Option<Share> = None;
    let (mut len, mut room) = (0_usize, SMALL_BYTES_MAX);
    let mut pace = Pace::begin(caller);
    loop {
        let frame = match pace.next(&mut body, share.as_ref()).await? {
            None => break,
            Some(Err(_)) => return Err(Refusal::Malformed),
            Some(Ok(frame)) => frame,
        };
        // Trailers say nothing that is wanted here.
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        pace.came(data.len());
        if len as u64 > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        if len > room {
            // At once what it said, so that large ones do not wait for each other with half of it.
            let more = len.max(said).saturating_sub(if share.is_some() { room } else { 0 });
            let asked = Instant::now();
            let more = memory.take(caller, more, BODIES_WAIT_MAX).await?;
            room = len.max(said);
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            // Waiting for memory was not the client's doing.
            pace.pause(asked.elapsed());
        }
        match &first {
            None => first = Some(data),
            Some(start) => {
                if rest.is_empty() {
                    rest.reserve(room.min(said));
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    let bytes = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
    Ok(Received { bytes, _share: share })
}
