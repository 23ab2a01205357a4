//! Watches connections: each notes in which phase it is and since when, and one task looks at all of them once a
//! second. Noting costs two stores and no timer, so that a connection in good order pays nothing for the limits.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use larder_door::http::limits::{ANSWER_STALL_MAX, HEAD_TIME_MAX, IDLE_TIME_MAX};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How often all are looked at: limits are kept to about this.
const TICK: Duration = Duration::from_secs(1);

/// Bytes kept of a connection's start, to tell other protocols by.
const START_LEN: usize = 16;

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
    over: Notify,
    start: Mutex<Vec<u8>>,
}

impl Watched {
    /// It is at this now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.ticks.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    /// Resolves when a phase has lasted too long.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }

    /// The first bytes that came.
    pub(super) fn start(&self) -> Vec<u8> {
        self.start.lock().clone()
    }

    fn look(&self, now: u32) {
        let since = self.since.load(Ordering::Relaxed);
        let lasted = Duration::from_secs(now.saturating_sub(since).into());
        if self.phase().limit().is_some_and(|limit| lasted > limit) {
            self.over.notify_one();
        }
    }
}

/// All connections under watch.
#[derive(Default)]
pub(super) struct Watch {
    ticks: Arc<Ticks>,
    connections: Mutex<Vec<Weak<Watched>>>,
}

impl Watch {
    /// A new connection.
    pub(super) fn begin(&self) -> Arc<Watched> {
        let watched = Arc::new(Watched {
            ticks: self.ticks.clone(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU32::new(self.ticks.0.load(Ordering::Relaxed)),
            over: Notify::new(),
            start: Mutex::default(),
        });
        self.connections.lock().push(Arc::downgrade(&watched));
        watched
    }

    /// Looks at them for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let now = self.ticks.0.fetch_add(1, Ordering::Relaxed) + 1;
            self.connections.lock().retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.look(now);
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
}

impl<T> WatchedIo<T> {
    pub(super) fn new(inner: T, watched: Arc<Watched>) -> Self {
        Self { inner, watched }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before && self.watched.phase() == Phase::Idle {
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

impl<T: AsyncWrite + Unpin> WatchedIo<T> {
    /// What became of a part of an answer: bytes taken end a stall, none begin one.
    fn note_write<R>(&self, result: &Poll<std::io::Result<R>>) {
        match (result, self.watched.phase()) {
            (Poll::Pending, Phase::Answering) => self.watched.enter(Phase::Stalled),
            (Poll::Ready(Ok(_)), Phase::Stalled) => self.watched.enter(Phase::Answering),
            _ => {}
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_write(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.note_write(&result);
        // Flushed only when all of the answer was taken.
        if matches!(result, Poll::Ready(Ok(()))) && self.watched.phase() == Phase::Answering {
            self.watched.enter(Phase::Idle);
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
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note_write(&result);
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
        let is_over = || {
            let waiting = std::pin::pin!(watched.over.notified());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            waiting.poll(&mut cx).is_ready()
        };
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
    }
}
