//! Reads a request's body within limits: its length, its time, and the memory that all bodies share.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use larder_door::http::limits::{BODIES_WAIT_MAX, BODY_STEP_BYTES, BODY_STEP_TIME, SMALL_BYTES_MAX};
use larder_door::{Caller, Refusal};

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
    let (mut deadline, mut step) = (tokio::time::Instant::now() + BODY_STEP_TIME, 0);
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Refusal::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::Malformed),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers say nothing that is wanted here.
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        step += data.len();
        if len as u64 > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        if len > room {
            // At once what it said, so that large ones do not wait for each other with half of it.
            let more = len.max(said).saturating_sub(if share.is_some() { room } else { 0 });
            let asked = tokio::time::Instant::now();
            let more = memory.take(caller, more, BODIES_WAIT_MAX).await?;
            room = len.max(said);
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            // Waiting for memory was not the client's doing.
            deadline += asked.elapsed();
        }
        if step >= BODY_STEP_BYTES {
            (deadline, step) = (tokio::time::Instant::now() + BODY_STEP_TIME, 0);
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
