//! The short way: plain reads of values in memory, answered from one buffer into another, several at once where they
//! came at once. A connection begins here, and goes over to `hyper` with the first request that is anything else, which
//! is not touched. Both ways share decoding, limits, rights, counting and answers; only framing is done twice, and the
//! end-to-end tests hold the two beside each other.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use larder_door::Caller;
use larder_door::http::target::{self, Asked};
use larder_door::http::{conditions, headers, lifetime, plain};
use larder_format::namespace::Class;
use larder_format::operation::{Found, Outcome};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer::{self, Answer};
use super::bearer::Asker;
use super::content::Content;
use super::service::Shared;
use super::values::Reading;
use super::watch::{Watched, WatchedIo};
use super::{operation, values};
use crate::identity::Identity;

/// Bytes read at once. A head that is longer goes the long way.
const READ_LEN: usize = 4096;

/// Answers are sent once they are this long together, in bytes. A body that is longer is not copied.
const GATHER_LEN: usize = 16 * 1024;

/// What a plain read came to.
enum Read {
    /// A value, to be sent as it is.
    Value(Found),
    /// Any other answer.
    Other(Answer),
}

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
    pub(super) identity: Option<&'a Arc<Identity>>,
    pub(super) watched: &'a Watched,
    pub(super) io: &'a mut WatchedIo<T>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Short<'_, T> {
    /// Answers plain reads until there is something else; that is given back to the connection.
    pub(super) async fn run(mut self) -> Left {
        let mut buffer = vec![0; READ_LEN];
        let mut out = Vec::new();
        let mut start = Vec::new();
        let mut date = Date::default();
        loop {
            let filled = match self.fill(&mut buffer).await {
                Ok(Some(0)) | Err(_) => return Left::Closed,
                Ok(Some(filled)) => filled,
                Ok(None) => return Left::More,
            };
            let mut rest = &buffer[..filled];
            while !rest.is_empty() && !self.watched.is_stopping() {
                let Some((len, read)) = self.plainly(rest) else { break };
                rest = &rest[len..];
                let body = match read {
                    Read::Value(found) => {
                        write_start(&mut out, &mut start);
                        write_about(&mut out, &found, self.shared.time.latest().ms());
                        Content::Whole(found.body)
                    }
                    Read::Other(answer) => write_head(&mut out, answer),
                };
                let body = write_body(&mut out, body, date.at(self.shared.time.wall_ms()));
                if (out.len() >= GATHER_LEN || body.len() > 0) && self.send(&mut out, body).await.is_err() {
                    return Left::Closed;
                }
            }
            if !out.is_empty() && self.send(&mut out, Content::Whole(Bytes::new())).await.is_err() {
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
    async fn send(&mut self, out: &mut Vec<u8>, mut body: Content) -> std::io::Result<()> {
        self.watched.begin_answer();
        self.io.write_all(out).await?;
        while body.len() > 0 {
            let part = body.next();
            self.io.write_all(&part).await?;
        }
        self.io.flush().await?;
        out.clear();
        Ok(())
    }

    /// Answers the request that these bytes begin with, if that is a plain read of a value in memory and nothing about
    /// it is refused; and how long it was. `None`: nothing was done, and nothing counted.
    fn plainly(&self, bytes: &[u8]) -> Option<(usize, Read)> {
        let shared = self.shared;
        let plain = plain::read(bytes)?;
        let began = shared.time.monotonic();
        let space = shared.space().ok()?;
        if !shared.hosts.is_ours(plain.host) || space.settings.class != Class::Memory {
            return None;
        }
        let asked = target::decode(&Method::GET, plain.path, None).ok()?;
        let asker = self.asker(plain.authorization)?;
        shared.permit(asker.identity.as_deref(), &asked).ok()?;
        let operation = operation::at(&asked);
        let Asked::Get { key, as_json } = asked else { return None };
        shared.within_rate(&asker.caller).ok()?;
        // What is in memory is there as soon as it is seen.
        let read = match shared.registers.begin(values::read(space.id, key)).map(|(outcome, _)| outcome) {
            Ok(Outcome::Found(found)) if !as_json && found.takes_left.is_none() => {
                shared.count_status(operation, began, StatusCode::OK, found.body.len() as u64);
                Read::Value(found)
            }
            outcome => {
                let answer = shared.got(outcome, &Reading::plain(as_json));
                shared.count(operation, began, &answer, false);
                Read::Other(answer)
            }
        };
        Some((plain.len, read))
    }

    /// Who asks; `None` if that is not known, which the long way says and counts.
    fn asker(&self, shown: Option<&[u8]>) -> Option<Asker> {
        self.shared.asker(self.caller, self.identity, self.watched.token(), shown).ok()
    }
}

/// Begins the answer to a read that found a value: the same bytes each time, made once for a connection.
fn write_start(out: &mut Vec<u8>, start: &mut Vec<u8>) {
    if start.is_empty() {
        write_head(start, answer::value(StatusCode::OK, Content::Whole(Bytes::new())));
    }
    out.extend_from_slice(start);
}

/// The headers about a value, as [`Shared::got`] sets them.
fn write_about(out: &mut Vec<u8>, found: &Found, now_ms: u64) {
    let created_ms = found.version.0.ms();
    out.extend_from_slice(b"etag: ");
    conditions::write_tag(out, found.version);
    out.extend_from_slice(b"\r\nx-created-at: ");
    out.extend_from_slice(&headers::rfc3339_bytes(created_ms));
    out.extend_from_slice(b"\r\n");
    if let Some(end_ms) = found.expiry.ms() {
        out.extend_from_slice(b"x-original-ttl: ");
        out.extend_from_slice(lifetime::show_value(end_ms.saturating_sub(created_ms)).as_bytes());
        let left_s = end_ms.saturating_sub(now_ms).div_ceil(1000);
        // Writing to a vector cannot fail.
        let _ = write!(out, "\r\nx-remaining-ttl: {left_s}\r\n");
    }
}

/// Appends an answer's status and headers as HTTP/1.1 writes them; its body is handed back.
fn write_head(out: &mut Vec<u8>, answer: Answer) -> Content {
    let (head, body) = answer.into_parts();
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
    body
}

/// Ends the headers and appends the body; a long one is handed back instead. The order is that of `hyper`.
fn write_body(out: &mut Vec<u8>, mut body: Content, date: &[u8]) -> Content {
    let _ = write!(out, "content-length: {}\r\ndate: ", body.len());
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n\r\n");
    if body.len() > GATHER_LEN as u64 {
        return body;
    }
    while body.len() > 0 {
        out.extend_from_slice(&body.next());
    }
    Content::Whole(Bytes::new())
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
