//! One connection, from its first byte to its last.
//!
//! What has come is read into memory that all connections of a thread share, every whole request in it is carried out
//! where it lies, and all answers are sent with one call to the system. Only what is left over stays with the connection: a
//! request that has come in part, an answer that the client does not take yet. So an idle connection holds next to
//! nothing, and one that does not read its answers is not read from.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use larder_door::Refusal;
use larder_door::resp::limits::{READ_BYTES, SMALL_BYTES_MAX};
use larder_door::resp::{Out, Parser};
use tokio::io::{AsyncRead, AsyncWrite};

use super::batch::{Answered, Batch, Desk};
use super::budget::Holding;
use super::clients::Phase;
use super::pubsub;
use super::session::Session;
use super::shared::Shared;
use super::wire::{OUT_KEPT, Unsent, Wire};

/// Steps of one connection before the others of its thread have their turn.
const STEPS_MAX: usize = 4;

/// Largest piece of memory for a long request that a thread keeps for the next one, in bytes.
const SPARE_KEPT: usize = 1024 * 1024;

/// Most that a request's memory grows at once ahead of its bytes, and least.
const AHEAD_MAX: usize = 1024 * 1024;
const READ_LEAST: usize = 2048;

/// Most bytes thrown away after a connection has ended, so that its client gets to read why.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the connections of one thread share. Nothing of one is seen by another: it is emptied in between.
struct Scratch {
    input: Vec<u8>,
    parser: Parser,
    spare: Vec<u8>,
    desk: Desk,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: Vec::with_capacity(READ_BYTES),
        parser: Parser::new(),
        spare: Vec::new(),
        desk: Desk::default(),
    });
}

/// A request that has come in part, or requests that wait until answers are taken.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    parser: Parser,
    /// There may be whole requests in it.
    waiting: bool,
}

/// How a step ended.
enum Next {
    /// There may be more to do at once.
    Again,
    /// Whoever has something for it wakes its task.
    Wait,
    /// It is over.
    End,
}

/// A connection.
pub(super) struct Connection<T> {
    wire: Wire<T>,
    shared: Arc<Shared>,
    session: Session,
    partial: Option<Box<Partial>>,
    /// What is counted of it for requests, and for answers.
    asked: Holding,
    answered: Holding,
    /// It has ended; so many bytes more are thrown away.
    lingering: Option<usize>,
    /// Requests that were counted against its caller's limit, and not carried out because answers had to be sent first.
    prepaid: u32,
    /// It has had its turn; the others of its thread have theirs.
    turn_over: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn new(io: T, shared: Arc<Shared>, session: Session) -> Self {
        Self {
            wire: Wire { io, unsent: Unsent::default() },
            shared,
            session,
            partial: None,
            asked: Holding::default(),
            answered: Holding::default(),
            lingering: None,
            prepaid: 0,
            turn_over: false,
        }
    }

    /// Serves it until it ends.
    pub(super) async fn serve(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.client.driven_by(cx.waker());
        for _ in 0..STEPS_MAX {
            if self.session.client.is_over() {
                self.told_over();
                return Poll::Ready(());
            }
            if self.session.client.take_doubt() {
                let now = self.shared.sources.time.now();
                if !self.session.is_still_known(&self.shared, now) {
                    return Poll::Ready(());
                }
            }
            match self.step(cx) {
                Next::Again if std::mem::take(&mut self.turn_over) => break,
                Next::Again => {}
                Next::Wait => return Poll::Pending,
                Next::End => return Poll::Ready(()),
            }
        }
        // Not before the thread has looked at what has come for others: woken at once, it would be next in line for a while.
        let next = pin!(tokio::task::yield_now());
        next.poll(cx)
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Next {
        if self.wire.unsent.is_some() {
            match self.wire.send_unsent(cx, &self.session.client) {
                Poll::Pending => return Next::Wait,
                Poll::Ready(Err(_)) => return Next::End,
                Poll::Ready(Ok(())) => {
                    let is_partial = self.partial.as_ref().is_some_and(|partial| !partial.waiting);
                    self.session.client.enter(if is_partial { Phase::Partial } else { Phase::Idle });
                    self.counted();
                }
            }
        }
        if self.session.closing {
            return self.linger(cx);
        }
        if self.session.client.is_stopping() {
            return Next::End;
        }
        if self.session.client.has_mail() {
            let mail = self.session.client.take_mail();
            self.shared.sources.metrics.redis.sent(mail.len());
            self.wire.unsent.bytes = mail;
            return self.counted();
        }
        SCRATCH.with_borrow_mut(|scratch| self.work(cx, scratch))
    }

    /// Reads what there is and answers it.
    fn work(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Next {
        let Scratch { input, parser, spare, desk } = scratch;
        desk.out.clear(OUT_KEPT);
        desk.out.set_protocol(self.session.client.protocol());
        let Some(mut partial) = self.partial.take() else {
            input.clear();
            match self.wire.read(cx, input) {
                Poll::Pending => return Next::Wait,
                Poll::Ready(false) => return Next::End,
                Poll::Ready(true) => {}
            }
            let answered = self.answer(cx, desk, parser, input);
            if !self.session.closing && answered.used < input.len() {
                let mut kept = Box::new(Partial { waiting: answered.blocked, ..Partial::default() });
                kept.bytes = std::mem::take(spare);
                kept.bytes.clear();
                kept.bytes.extend_from_slice(&input[answered.used..]);
                std::mem::swap(&mut kept.parser, parser);
                self.keep(kept);
            }
            if parser.is_within() {
                // Of one that is over.
                *parser = Parser::new();
            }
            return self.send(cx, &mut desk.out);
        };
        if !partial.waiting {
            partial.make_room();
            match self.wire.read(cx, &mut partial.bytes) {
                Poll::Pending => {
                    self.partial = Some(partial);
                    return Next::Wait;
                }
                Poll::Ready(false) => return Next::End,
                Poll::Ready(true) => {}
            }
        }
        let Partial { bytes, parser, waiting } = &mut *partial;
        let answered = self.answer(cx, desk, parser, bytes);
        *waiting = answered.blocked;
        bytes.drain(..answered.used);
        if bytes.is_empty() || self.session.closing {
            if bytes.capacity() <= SPARE_KEPT {
                *spare = std::mem::take(bytes);
            }
            self.session.client.enter(Phase::Idle);
        } else {
            self.keep(partial);
        }
        self.send(cx, &mut desk.out)
    }

    fn keep(&mut self, partial: Box<Partial>) {
        self.session.client.enter(if partial.waiting { Phase::Idle } else { Phase::Partial });
        self.partial = Some(partial);
    }

    /// Answers every whole request in these bytes, as long as the answers can be sent.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        desk: &mut Desk,
        parser: &mut Parser,
        bytes: &[u8],
    ) -> Answered {
        let Self { wire, shared, session, prepaid, .. } = self;
        let answered = Batch::new(shared, session, wire, prepaid, bytes).answer(cx, desk, parser);
        self.turn_over = answered.turn_over;
        answered
    }

    /// Sends what was answered; what is not taken stays with the connection.
    fn send(&mut self, cx: &mut Context<'_>, out: &mut Out) -> Next {
        if !out.is_empty() {
            self.wire.flush(cx, out, &self.session.client);
        }
        if self.is_counted() { self.counted() } else { Next::Again }
    }

    fn is_counted(&self) -> bool {
        self.partial.is_some()
            || self.wire.unsent.is_some()
            || self.session.queue.is_some()
            || self.session.watched.is_some()
            || self.asked.bytes() + self.answered.bytes() > 0
    }

    /// Counts what it holds; one for which there is no room is cut off.
    fn counted(&mut self) -> Next {
        let partial = self.partial.as_ref().map_or(0, |p| p.bytes.capacity() + p.parser.held_bytes());
        let large = |bytes: usize| if bytes > SMALL_BYTES_MAX { bytes } else { 0 };
        let (asked, answered) = (partial + self.session.held_bytes(), self.wire.unsent.bytes.capacity());
        let held = self.asked.bytes();
        let who = (&self.session.caller, self.session.is_unknown);
        let has_room = self.asked.change(&self.shared.partial, who, large(asked));
        let has_place = self.answered.change(&self.shared.unsent, who, large(answered));
        if has_room && has_place {
            self.note_held(held);
            return Next::Again;
        }
        self.shared.sources.metrics.redis.refused(Refusal::Busy);
        tracing::info!(client = self.session.client.id, "cut off: no room for what it holds");
        Next::End
    }

    /// Of a transaction that holds a good deal nobody waits for ever that it goes on; before it held `before`.
    fn note_held(&self, before: usize) {
        if self.partial.is_none() && !self.wire.unsent.is_some() && self.asked.bytes() + before > 0 {
            let holds = self.asked.bytes() > 0;
            self.session.client.enter(if holds { Phase::Partial } else { Phase::Idle });
        }
    }

    /// Ends a connection so that its client can read what it was told: sending is over, and what still comes is thrown
    /// away for a moment.
    fn linger(&mut self, cx: &mut Context<'_>) -> Next {
        let mut left = match self.lingering {
            Some(left) => left,
            None => {
                self.session.client.enter(Phase::Lingering);
                LINGER_BYTES_MAX
            }
        };
        self.lingering = Some(left);
        if Pin::new(&mut self.wire.io).poll_shutdown(cx).is_pending() {
            return Next::Wait;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            while left > 0 {
                scratch.input.clear();
                match self.wire.read(cx, &mut scratch.input) {
                    Poll::Pending => {
                        self.lingering = Some(left);
                        return Next::Wait;
                    }
                    Poll::Ready(false) => return Next::End,
                    Poll::Ready(true) => left = left.saturating_sub(scratch.input.len()),
                }
            }
            Next::End
        })
    }

    fn told_over(&self) {
        if self.lingering.is_none() && self.session.client.is_slow() {
            self.shared.sources.metrics.redis.refused(Refusal::TooSlow);
        }
    }
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.asked.end(&self.shared.partial);
        self.answered.end(&self.shared.unsent);
        pubsub::forget_all(&self.shared, &mut self.session);
        self.shared.clients.leave(self.session.client.id);
    }
}

impl Partial {
    /// Makes room for what is known to come, ahead of it by a bounded number of bytes only.
    fn make_room(&mut self) {
        let len = self.bytes.len();
        let wanted = self.parser.wanted().saturating_sub(len);
        let room = self.bytes.capacity() - len;
        if room == 0 || room < wanted.min(len) {
            // As much again as has come: what was only announced holds nothing.
            self.bytes.reserve(wanted.min(AHEAD_MAX).min(len.max(READ_LEAST)).max(READ_LEAST));
        }
    }
}
