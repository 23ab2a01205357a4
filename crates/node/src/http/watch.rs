//! Watches connections: each notes in which phase it is and since when, and one task looks at all of them once a
//! second. Noting costs two stores and no timer, so that a connection in good order pays nothing for the limits.
//!
//! What a connection has to hear of (its time is up, the door closes) are flags and one waker of its own: looking at
//! them takes no lock, and connections share nothing that they would look at with every request.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use larder_door::http::limits::{
    ANSWER_BYTES_PER_SECOND_MIN, ANSWER_GRACE, ANSWER_STALL_MAX, HEAD_TIME_MAX, IDLE_TIME_MAX,
};
use larder_door::http::lines::Lines;
use larder_format::clock::Hlc;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bearer::Remembered;
use crate::tokens::Tokens;

/// How often all are looked at: limits are kept to about this.
const TICK: Duration = Duration::from_secs(1);

/// Bytes kept of a connection's start, to tell other protocols by.
const START_LEN: usize = 16;

/// Most bytes kept of what a client sends behind a request whose answer is a stream.
const AHEAD_LEN_MAX: usize = 4096;

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// A request is being worked on; reading its body has limits of its own.
    Working,
    /// An answer is being sent.
    Answering,
    /// The client does not take what is sent.
    Stalled,
}

impl Phase {
    fn of(number: u8) -> Self {
        [Phase::Idle, Phase::Head, Phase::Working, Phase::Answering, Phase::Stalled]
            [usize::from(number.min(4))]
    }

    /// Whether a request is being answered.
    fn is_under_way(self) -> bool {
        matches!(self, Phase::Working | Phase::Answering | Phase::Stalled)
    }

    /// How long it may last.
    fn limit(self) -> Option<Duration> {
        match self {
            Phase::Idle => Some(IDLE_TIME_MAX),
            Phase::Head => Some(HEAD_TIME_MAX),
            Phase::Working | Phase::Answering => None,
            Phase::Stalled => Some(ANSWER_STALL_MAX),
        }
    }
}

/// Seconds since the watch began, shared by all.
#[derive(Debug, Default)]
struct Ticks(AtomicU32);

/// One connection under watch.
pub(super) struct Watched {
    ticks: Arc<Ticks>,
    phase: AtomicU8,
    since: AtomicU32,
    /// When the answer began that is being sent, and how many bytes were taken since then.
    answering_since: AtomicU32,
    taken: AtomicU64,
    /// The answer is a stream: it goes on as long as its reader takes what there is.
    streaming: AtomicBool,
    /// The first request that has a `#` in its line, which decoding drops, counted from 1; 0: none so far.
    fragment: AtomicU64,
    /// Requests that were taken up by the long way.
    requests: AtomicU64,
    over: AtomicBool,
    stopping: AtomicBool,
    /// Whoever drives the connection; woken after a flag was set.
    driver: AtomicWaker,
    start: Mutex<Vec<u8>>,
    /// The token that was shown last on it.
    token: Remembered,
    /// What is under way was asked with a token that is not good any more.
    revoked: AtomicBool,
}

impl Watched {
    /// It is at this now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.ticks.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// An answer begins.
    pub(super) fn begin_answer(&self) {
        self.enter(Phase::Answering);
        self.answering_since.store(self.ticks.0.load(Ordering::Relaxed), Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
    }

    /// The answer that has begun is a stream, and the last of this connection.
    pub(super) fn begin_stream(&self) {
        self.streaming.store(true, Ordering::Relaxed);
    }

    /// Another request is taken up, by the long way. Answers whether it has a `#` in its target, or comes after one that has.
    pub(super) fn begin_request(&self) -> bool {
        // Nobody else counts.
        let number = self.requests.load(Ordering::Relaxed) + 1;
        self.requests.store(number, Ordering::Relaxed);
        let fragment = self.fragment.load(Ordering::Relaxed);
        fragment > 0 && fragment <= number
    }

    /// Whether the client takes its answer too slowly, on average.
    fn is_slow(&self, now: u32) -> bool {
        let streams = self.streaming.load(Ordering::Relaxed);
        if streams || !matches!(self.phase(), Phase::Answering | Phase::Stalled) {
            return false;
        }
        let lasted = now.saturating_sub(self.answering_since.load(Ordering::Relaxed));
        let counted = u64::from(lasted).saturating_sub(ANSWER_GRACE.as_secs());
        self.taken.load(Ordering::Relaxed) < counted * ANSWER_BYTES_PER_SECOND_MIN
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    /// Whether a phase has lasted too long.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The token that was shown last on it.
    pub(super) fn token(&self) -> &Remembered {
        &self.token
    }

    /// Whether what is under way was asked with a token that is not good any more.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Ends what is under way if the token it was asked with is not good any more.
    fn look_at_token(&self, tokens: &Tokens, now: Hlc) {
        if self.token.forget_unless(|identity| tokens.holds(identity, now)) && self.phase().is_under_way() {
            self.revoked.store(true, Ordering::Release);
            self.driver.wake();
        }
    }

    /// Whether the door closes: the request under way is the last.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Who is woken when one of the flags is set, once. Flags are looked at after this.
    pub(super) fn driven_by(&self, driver: &Waker) {
        self.driver.register(driver);
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// The first bytes that came.
    pub(super) fn start(&self) -> Vec<u8> {
        self.start.lock().clone()
    }

    fn look(&self, now: u32) {
        let since = self.since.load(Ordering::Relaxed);
        let lasted = Duration::from_secs(now.saturating_sub(since).into());
        if self.phase().limit().is_some_and(|limit| lasted > limit) || self.is_slow(now) {
            self.over.store(true, Ordering::Release);
            self.driver.wake();
        }
    }
}

/// All connections under watch.
#[derive(Default)]
pub(super) struct Watch {
    ticks: Arc<Ticks>,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    connections: Vec<Weak<Watched>>,
    stopping: bool,
}

impl Watch {
    /// A new connection.
    pub(super) fn begin(&self) -> Arc<Watched> {
        let mut all = self.all.lock();
        let watched = Arc::new(Watched {
            ticks: self.ticks.clone(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(self.ticks.0.load(Ordering::Relaxed)),
            answering_since: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            streaming: AtomicBool::new(false),
            fragment: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            over: AtomicBool::new(false),
            stopping: AtomicBool::new(all.stopping),
            driver: AtomicWaker::new(),
            start: Mutex::default(),
            token: Remembered::default(),
            revoked: AtomicBool::new(false),
        });
        all.connections.push(Arc::downgrade(&watched));
        watched
    }

    /// Tells all connections, and those that still come, that the door closes.
    pub(super) fn stop(&self) {
        let mut all = self.all.lock();
        all.stopping = true;
        for connection in all.connections.iter().filter_map(Weak::upgrade) {
            connection.stop();
        }
    }

    /// Looks at them for ever: at their time once a second, at their tokens then and whenever one is revoked.
    pub(super) async fn run(self: Arc<Self>, tokens: Arc<Tokens>) {
        let mut ticks = tokio::time::interval(TICK);
        let mut revocations = tokens.revocations();
        loop {
            let now = tokio::select! {
                _ = ticks.tick() => Some(self.ticks.0.fetch_add(1, Ordering::Relaxed) + 1),
                // The sender is held here and does not go.
                _ = revocations.changed() => None,
            };
            let time = tokens.now();
            self.all.lock().connections.retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.look_at_token(&tokens, time);
                    if let Some(now) = now {
                        connection.look(now);
                    }
                    true
                }
                None => false,
            });
        }
    }
}

/// A connection's bytes, noting its phases.
pub(super) struct WatchedIo<T> {
    inner: T,
    watched: Arc<Watched>,
    /// Read once and given back: comes again before anything else.
    back: Bytes,
    /// Looks at request lines, once requests are decoded by somebody who drops a part of them.
    lines: Option<Lines>,
    /// Something was said about a head that is none.
    unsaid: bool,
}

impl<T> WatchedIo<T> {
    pub(super) fn new(inner: T, watched: Arc<Watched>) -> Self {
        Self { inner, watched, back: Bytes::new(), lines: None, unsaid: false }
    }

    /// What is read from now on goes the long way: a `#` in a request line is looked for, because decoding drops it and what
    /// follows, and that would be another key.
    pub(super) fn begin_long_way(&mut self) {
        self.lines = Some(Lines::default());
    }

    /// Whether `hyper` has answered, in its own words, something that is no request. They are not sent: the door has
    /// better ones. It is at a head then, which is otherwise never a time for writing.
    pub(super) fn take_unsaid(&mut self) -> bool {
        std::mem::take(&mut self.unsaid)
    }

    /// Lets bytes that were read be read again, once.
    pub(super) fn give_back(&mut self, bytes: Bytes) {
        self.back = bytes;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = if self.back.is_empty() {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        } else {
            let len = self.back.len().min(buf.remaining());
            buf.put_slice(&self.back.split_to(len));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() == before {
            return result;
        }
        if let Some(lines) = &mut self.lines {
            lines.take(&buf.filled()[before..]);
            let fragment = lines.fragment();
            self.watched.fragment.store(fragment.unwrap_or(0), Ordering::Relaxed);
        }
        if self.watched.phase() == Phase::Idle {
            self.watched.enter(Phase::Head);
            let mut start = self.watched.start.lock();
            if start.is_empty() {
                let len = (buf.filled().len() - before).min(START_LEN);
                start.extend_from_slice(&buf.filled()[before..before + len]);
            }
        }
        result
    }
}

impl<T: AsyncRead + Unpin> WatchedIo<T> {
    /// Looks whether the reader of a stream has gone, and sees to it that whoever drives the connection is woken when
    /// it goes. What it sends meanwhile is kept for later.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            let mut into = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.inner).poll_read(cx, &mut into) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if into.filled().is_empty() => {
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
                Poll::Ready(Ok(())) if self.back.len() + into.filled().len() > AHEAD_LEN_MAX => {
                    return Err(std::io::ErrorKind::InvalidData.into());
                }
                Poll::Ready(Ok(())) => self.back = [&self.back, into.filled()].concat().into(),
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> WatchedIo<T> {
    /// What became of a part of an answer: bytes taken end a stall, none begin one.
    fn note_write<R>(&self, result: &Poll<std::io::Result<R>>, len: impl Fn(&R) -> usize) {
        if let Poll::Ready(Ok(taken)) = result {
            // Nobody else writes it.
            let taken = self.watched.taken.load(Ordering::Relaxed) + len(taken) as u64;
            self.watched.taken.store(taken, Ordering::Relaxed);
        }
        match (result, self.watched.phase()) {
            (Poll::Pending, Phase::Answering) => self.watched.enter(Phase::Stalled),
            (Poll::Ready(Ok(_)), Phase::Stalled) => self.watched.enter(Phase::Answering),
            _ => {}
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.watched.phase() == Phase::Head {
            self.unsaid = true;
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_write(&result, |len| *len);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.note_write(&result, |()| 0);
        // Flushed only when all of the answer was taken. A stream is never told to its end.
        let streams = self.watched.streaming.load(Ordering::Relaxed);
        if matches!(result, Poll::Ready(Ok(()))) && self.watched.phase() == Phase::Answering && !streams {
            self.watched.enter(Phase::Idle);
        }
        if streams {
            self.poll_gone(cx)?;
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if self.watched.phase() == Phase::Head {
            self.unsaid = true;
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note_write(&result, |len| *len);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_own_limit() {
        let watch = Watch::default();
        let watched = watch.begin();
        let is_over = || watched.over.swap(false, Ordering::AcqRel);
        watched.look(75);
        assert!(!is_over());
        watched.look(76);
        assert!(is_over(), "idle");
        watched.enter(Phase::Head);
        watched.look(11);
        assert!(is_over(), "a slow head");
        watched.enter(Phase::Working);
        watched.look(10_000);
        assert!(!is_over(), "work takes its time");
        watched.enter(Phase::Stalled);
        watched.look(31);
        assert!(is_over(), "a reader that stopped");
        watched.begin_answer();
        watched.look(10);
        assert!(!is_over(), "its grace");
        watched.look(11);
        assert!(is_over(), "a slow reader");
        watched.taken.store(40 * ANSWER_BYTES_PER_SECOND_MIN, Ordering::Relaxed);
        watched.look(50);
        assert!(!is_over(), "as fast as is needed");
    }

    #[test]
    fn a_stream_may_be_silent_and_slow_but_not_stuck() {
        let watch = Watch::default();
        let watched = watch.begin();
        watched.begin_answer();
        watched.begin_stream();
        watched.look(10_000);
        assert!(!watched.is_over(), "silent");
        watched.enter(Phase::Stalled);
        watched.look(30);
        assert!(!watched.is_over());
        watched.look(31);
        assert!(watched.is_over(), "takes nothing of what there is");
    }

    #[test]
    fn whoever_drives_a_connection_is_woken_when_it_has_to_end() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (watch, count) = (Watch::default(), Arc::new(Count(AtomicU32::new(0))));
        let watched = watch.begin();
        watched.driven_by(&count.clone().into());
        watch.stop();
        assert_eq!(
            (watched.is_stopping(), watched.is_over(), count.0.load(Ordering::Relaxed)),
            (true, false, 1)
        );
        watched.driven_by(&count.clone().into());
        watched.look(76);
        assert_eq!((watched.is_over(), count.0.load(Ordering::Relaxed)), (true, 2));
        assert!(watch.begin().is_stopping(), "whoever comes late");
    }
}
