//! The short way: plain reads of values in memory, answered from one buffer into another, several at once where they
//! came at once. A connection begins here, and goes over to `hyper` with the first request that is anything else, which
//! is not touched. Both ways share decoding, limits, rights, counting and answers; only framing is done twice, and the
//! end-to-end tests hold the two beside each other.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::Method;
use hyper::body::Body;
use larder_door::Caller;
use larder_door::http::plain;
use larder_door::http::target::{self, Asked};
use larder_format::namespace::Class;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer::Answer;
use super::operation;
use super::service::{Begun, Shared};
use super::watch::{Phase, Watched, WatchedIo};
use crate::identity::Identity;

/// Bytes read at once. A head that is longer goes the long way.
const READ_LEN: usize = 4096;

/// Answers are sent once they are this long together, in bytes. A body that is longer is not copied.
const GATHER_LEN: usize = 16 * 1024;

/// How the short way ended.
pub(super) enum Left {
    /// The client has closed it, or cannot be written to any more.
    Closed,
    /// Something is left for the long way, perhaps no more than the end.
    More,
}

/// A connection on the short way.
pub(super) struct Short<'a, T> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) caller: &'a Caller,
    pub(super) identity: Option<&'a Identity>,
    pub(super) watched: &'a Watched,
    pub(super) io: &'a mut WatchedIo<T>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Short<'_, T> {
    /// Answers plain reads until there is something else; that is given back to the connection.
    pub(super) async fn run(mut self) -> Left {
        let mut buffer = vec![0; READ_LEN];
        let mut out = Vec::new();
        let mut date = Date::default();
        loop {
            let filled = match self.fill(&mut buffer).await {
                Ok(Some(0)) | Err(_) => return Left::Closed,
                Ok(Some(filled)) => filled,
                Ok(None) => return Left::More,
            };
            let mut rest = &buffer[..filled];
            while !rest.is_empty() && !self.watched.is_stopping() {
                let Some((len, answer)) = self.shared.plainly(self.caller, self.identity, rest) else {
                    break;
                };
                rest = &rest[len..];
                let body = encode(answer, &mut out, date.at(self.shared.time.wall_ms()));
                if (out.len() >= GATHER_LEN || !body.is_empty()) && self.send(&mut out, &body).await.is_err()
                {
                    return Left::Closed;
                }
            }
            if !out.is_empty() && self.send(&mut out, &[]).await.is_err() {
                return Left::Closed;
            }
            if !rest.is_empty() {
                self.io.give_back(Bytes::copy_from_slice(rest));
                return Left::More;
            }
        }
    }

    /// Reads what has come; `None` when the door closes.
    async fn fill(&mut self, buffer: &mut [u8]) -> std::io::Result<Option<usize>> {
        poll_fn(|cx| {
            if self.watched.is_stopping() {
                return Poll::Ready(Ok(None));
            }
            let mut into = ReadBuf::new(buffer);
            let read = Pin::new(&mut *self.io).poll_read(cx, &mut into);
            read.map_ok(|()| Some(into.filled().len()))
        })
        .await
    }

    /// Sends what was gathered, and a body that was not.
    async fn send(&mut self, out: &mut Vec<u8>, body: &[u8]) -> std::io::Result<()> {
        self.watched.enter(Phase::Answering);
        self.io.write_all(out).await?;
        self.io.write_all(body).await?;
        self.io.flush().await?;
        out.clear();
        Ok(())
    }
}

impl Shared {
    /// Answers the request that these bytes begin with, if that is a plain read of a value in memory and nothing about
    /// it is refused; and how long it was. `None`: nothing was done, and nothing counted.
    fn plainly(
        self: &Arc<Self>,
        caller: &Caller,
        identity: Option<&Identity>,
        bytes: &[u8],
    ) -> Option<(usize, Answer)> {
        let plain = plain::read(bytes)?;
        let began = self.time.monotonic();
        if !self.hosts.is_ours(plain.host) || self.space().ok()?.settings.class != Class::Memory {
            return None;
        }
        let asked = target::decode(&Method::GET, plain.path, None).ok()?;
        self.permit(identity, &asked).ok()?;
        let operation = operation::at(&asked);
        let Asked::Get { key, as_json } = asked else { return None };
        self.within_rate(caller).ok()?;
        let Begun::Now(answer) = self.get(key, as_json) else { return None };
        self.count(operation, began, &answer, false);
        Some((plain.len, answer))
    }
}

/// Appends an answer as HTTP/1.1 writes it, in the order of `hyper`; a long body is handed back instead.
fn encode(answer: Answer, out: &mut Vec<u8>, date: &[u8]) -> Bytes {
    let (head, mut body) = answer.into_parts();
    let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    // A whole body is one frame, there at once.
    let body = match frame {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "content-length: {}\r\ndate: ", body.len());
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n\r\n");
    if body.len() > GATHER_LEN {
        return body;
    }
    out.extend_from_slice(&body);
    Bytes::new()
}

/// The header `date`, written anew once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn at(&mut self, wall_ms: u64) -> &[u8] {
        let second = wall_ms / 1000;
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        self.text.as_bytes()
    }
}
