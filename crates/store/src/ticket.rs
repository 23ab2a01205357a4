//! Tickets: promises of durability, and the progress of a log that resolves them.
//!
//! A [`Ticket`] names a sequence number of one log. It can be waited for by a thread, polled as a future
//! under any executor, merged with others and cloned; it costs no allocation until it is polled.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::api::StoreError;

/// How far a log has come: the highest sequence number that is durable, or why it stopped.
#[derive(Default)]
pub(crate) struct Progress {
    durable: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: Option<Arc<str>>,
    stalled: bool,
    wakers: BTreeMap<(u64, u64), Waker>,
    waker_ids: u64,
}

impl Progress {
    /// Highest sequence number that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything up to `sequence` is durable: resolves the tickets of it.
    pub(crate) fn publish(&self, sequence: u64) {
        let mut state = self.state.lock();
        self.durable.fetch_max(sequence, Ordering::AcqRel);
        let later = state.wakers.split_off(&(sequence.saturating_add(1), 0));
        let woken = std::mem::replace(&mut state.wakers, later);
        drop(state);
        self.changed.notify_all();
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// The log stops for good: every open ticket fails. Only the first reason counts.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.state.lock();
        state.closed.get_or_insert_with(|| Arc::from(reason));
        let woken = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// The log waits for room on the disk: whoever waits for a ticket is told so, until [`Progress::go_on`].
    pub(crate) fn stall(&self) {
        let mut state = self.state.lock();
        state.stalled = true;
        let woken = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// There is room again.
    pub(crate) fn go_on(&self) {
        self.state.lock().stalled = false;
    }

    /// Whether the log waits for room.
    pub(crate) fn is_stalled(&self) -> bool {
        self.state.lock().stalled
    }

    /// Why the log stopped, if it did.
    pub(crate) fn closed(&self) -> Option<StoreError> {
        let reason = self.state.lock().closed.clone()?;
        Some(StoreError::Closed { reason })
    }

    /// A ticket for `sequence`; 0 is before the first.
    pub(crate) fn ticket(self: &Arc<Self>, sequence: u64) -> Ticket {
        if self.durable() >= sequence {
            return Ticket::done();
        }
        Ticket { open: Some(Part { progress: self.clone(), sequence, waker_id: None, other: None }) }
    }
}

/// How far a log is durable, for whoever follows it without holding on to it.
#[derive(Clone)]
pub struct Durability(Arc<Progress>);

impl Durability {
    pub(crate) fn of(progress: Arc<Progress>) -> Self {
        Self(progress)
    }

    /// Resolves when everything up to `sequence` is durable.
    pub fn reaches(&self, sequence: u64) -> Ticket {
        self.0.ticket(sequence)
    }
}

/// A promise of durability. Resolves once; cloning gives another handle on the same promise.
#[derive(Clone)]
#[must_use = "nobody may be told before the ticket has resolved"]
pub struct Ticket {
    open: Option<Part>,
}

struct Part {
    progress: Arc<Progress>,
    sequence: u64,
    waker_id: Option<u64>,
    /// A promise of another log, when tickets of two were merged.
    other: Option<Box<Ticket>>,
}

impl Clone for Part {
    fn clone(&self) -> Self {
        // The registration stays with the handle that made it.
        Self {
            progress: self.progress.clone(),
            sequence: self.sequence,
            waker_id: None,
            other: self.other.clone(),
        }
    }
}

impl Part {
    /// `None` while neither durable nor closed nor stalled.
    fn outcome(&self, state: &State) -> Option<Result<(), StoreError>> {
        if self.progress.durable() >= self.sequence {
            return Some(Ok(()));
        }
        if let Some(reason) = state.closed.clone() {
            return Some(Err(StoreError::Closed { reason }));
        }
        state.stalled.then_some(Err(StoreError::Stalled))
    }

    fn wait(&self) -> Result<(), StoreError> {
        let mut state = self.progress.state.lock();
        loop {
            if let Some(outcome) = self.outcome(&state) {
                return outcome;
            }
            self.progress.changed.wait(&mut state);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        let mut state = self.progress.state.lock();
        if let Some(outcome) = self.outcome(&state) {
            return Poll::Ready(outcome);
        }
        let id = *self.waker_id.get_or_insert_with(|| {
            state.waker_ids += 1;
            state.waker_ids
        });
        state.wakers.insert((self.sequence, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(id) = self.waker_id {
            self.progress.state.lock().wakers.remove(&(self.sequence, id));
        }
    }
}

impl Ticket {
    /// A ticket that is resolved already.
    pub fn done() -> Self {
        Self { open: None }
    }

    /// Whether it has resolved, one way or the other.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let Some(part) = &self.open else { return true };
        let resolved = part.progress.durable() >= part.sequence || part.progress.closed().is_some();
        resolved && part.other.as_ref().is_none_or(|other| other.is_done())
    }

    /// Blocks the calling thread until it resolves.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if the store stopped first: whether what it covers is durable is unknown.
    /// [`StoreError::Stalled`] while the disk has no room: it may still become durable, and the same ticket
    /// may be waited for again.
    pub fn wait(&self) -> Result<(), StoreError> {
        let Some(part) = &self.open else { return Ok(()) };
        part.wait()?;
        part.other.as_ref().map_or(Ok(()), |other| other.wait())
    }

    /// A ticket that resolves when both have: of one log, the later of the two.
    pub fn and(mut self, other: Ticket) -> Ticket {
        let Some(theirs) = other.open else { return self };
        match &mut self.open {
            None => self.open = Some(theirs),
            Some(ours) if Arc::ptr_eq(&ours.progress, &theirs.progress) && theirs.other.is_none() => {
                // The later one replaces ours together with its registration, if any.
                if theirs.sequence > ours.sequence {
                    let rest = ours.other.take();
                    *ours = theirs;
                    ours.other = rest;
                }
            }
            Some(ours) => {
                let rest = ours.other.take().map_or_else(Ticket::done, |boxed| *boxed);
                ours.other = Some(Box::new(rest.and(Ticket { open: Some(theirs) })));
            }
        }
        self
    }

    /// As [`Ticket::and`], in place.
    pub fn join(&mut self, other: Ticket) {
        *self = std::mem::take(self).and(other);
    }
}

impl Default for Ticket {
    fn default() -> Self {
        Self::done()
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let Some(part) = &mut self.open else { return Poll::Ready(Ok(())) };
            match part.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(())) => {
                    let next = part.other.take().map_or_else(Ticket::done, |boxed| *boxed);
                    *self = next;
                }
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.open {
            None => f.write_str("Ticket(done)"),
            Some(part) => write!(f, "Ticket(sequence={} done={})", part.sequence, self.is_done()),
        }
    }
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;
