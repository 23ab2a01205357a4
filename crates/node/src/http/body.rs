//! Reads a request's body within limits: its length, its time, and the memory that all bodies share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use larder_door::Refusal;
use larder_door::http::limits::{BODIES_WAIT_MAX, body_time};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Permits are counted in units of this many bytes, because a semaphore counts in `u32`.
pub(super) const PERMIT_BYTES: usize = 1024;

/// A whole body, with its share of the memory that is set aside for them. The share ends when this is dropped.
pub(super) struct Received<'a> {
    pub(super) bytes: Bytes,
    _share: Option<SemaphorePermit<'a>>,
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
pub(super) async fn read<'a>(
    mut body: Incoming,
    max: u64,
    room: &'a Semaphore,
) -> Result<Received<'a>, Refusal> {
    let began = tokio::time::Instant::now();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut share: Option<SemaphorePermit<'a>> = None;
    let mut len: u64 = 0;
    loop {
        let deadline = began + body_time(len);
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Refusal::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::Malformed),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers say nothing that is wanted here.
        let Ok(data) = frame.into_data() else { continue };
        len += data.len() as u64;
        if len > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        let more = take_share(room, data.len(), BODIES_WAIT_MAX).await?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        match &first {
            None => first = Some(data),
            Some(start) => {
                if rest.is_empty() {
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    let bytes = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
    Ok(Received { bytes, _share: share })
}

async fn take_share(room: &Semaphore, len: usize, wait: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
    let permits = u32::try_from(len.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
    match tokio::time::timeout(wait, room.acquire_many(permits)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Refusal::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_too_long_for_memory_is_told_to_come_again() {
        let room = Semaphore::new(2);
        let first = take_share(&room, 2000, BODIES_WAIT_MAX).await.unwrap();
        let soon = Duration::from_millis(20);
        assert_eq!(take_share(&room, 1, soon).await.err(), Some(Refusal::Busy));
        drop(first);
        assert!(take_share(&room, 1, soon).await.is_ok());
    }
}
