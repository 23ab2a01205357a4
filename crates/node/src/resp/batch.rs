//! What has come at once from one connection: its requests found, a few at a time, carried out one after the other, and
//! their answers gathered.

use std::task::Context;
use std::time::Duration;

use larder_door::Refusal;
use larder_door::http::suspicion::Suspicion;
use larder_door::resp::limits::{GATHER_BYTES, REQUEST_BYTES_MAX, TURN_LOOK_BYTES, TURN_MAX};
use larder_door::resp::{Out, Parser, Verb, Wrong};
use larder_format::clock::Hlc;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ahead::{Ahead, Then};
use super::call::Call;
use super::dispatch;
use super::session::Session;
use super::shared::Shared;
use super::wire::Wire;
use crate::metrics::redis::Run;

/// Where requests are carried out: what connections of a thread share for it.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) ahead: Ahead,
    pub(super) out: Out,
}

/// How far bytes were answered.
pub(super) struct Answered {
    pub(super) used: usize,
    /// Whole requests may be left: the client does not take what was answered, or it has had its turn.
    pub(super) blocked: bool,
    /// It has had its turn; the others of its thread have theirs.
    pub(super) turn_over: bool,
}

/// Rounds of requests after which it is looked at how long a turn has lasted.
const TURN_ROUNDS: u32 = 4;

/// What has come at once.
pub(super) struct Batch<'a, T> {
    shared: &'a Shared,
    session: &'a mut Session,
    wire: &'a mut Wire<T>,
    /// Requests that were counted against the caller's limit and not carried out, because answers had to be sent first.
    prepaid: &'a mut u32,
    bytes: &'a [u8],
    /// The moment that limits and durations go by, and the time that values are judged by: read once for all.
    began: Duration,
    now: Hlc,
    run: Run,
    used: usize,
    sent: usize,
    last: Option<Verb>,
    rounds: u32,
    turn_over: bool,
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin> Batch<'a, T> {
    pub(super) fn new(
        shared: &'a Shared,
        session: &'a mut Session,
        wire: &'a mut Wire<T>,
        prepaid: &'a mut u32,
        bytes: &'a [u8],
    ) -> Self {
        let (began, now) = (shared.sources.time.monotonic(), shared.sources.time.now());
        Self {
            shared,
            session,
            wire,
            prepaid,
            bytes,
            began,
            now,
            run: Run::default(),
            used: 0,
            sent: 0,
            last: None,
            rounds: 0,
            turn_over: false,
        }
    }

    /// Answers every whole request, as long as the answers can be sent. `parser` has what is known of the first, and afterwards of
    /// one that has come in part.
    pub(super) fn answer(mut self, cx: &mut Context<'_>, desk: &mut Desk, parser: &mut Parser) -> Answered {
        if !self.session.is_still_known(self.shared, self.now) {
            // Without a word: whatever is asked is asked by nobody in particular.
            self.session.client.cut();
            return Answered { used: self.bytes.len(), blocked: false, turn_over: false };
        }
        std::mem::swap(parser, desk.ahead.first());
        let blocked = self.go_through(cx, desk, parser);
        let metrics = &self.shared.sources.metrics.redis;
        metrics.end(&mut self.run);
        let took = self.shared.sources.time.monotonic().saturating_sub(self.began);
        metrics.batch(took, self.used, self.sent + desk.out.len());
        self.session.note(self.last);
        Answered { used: self.used, blocked, turn_over: self.turn_over }
    }

    /// As [`Batch::answer`]; answers whether the rest has to wait, because the client does not take what was answered, or has
    /// had its turn.
    fn go_through(&mut self, cx: &mut Context<'_>, desk: &mut Desk, parser: &mut Parser) -> bool {
        while self.used < self.bytes.len() {
            let bounds = self.shared.bounds(self.session.is_unknown);
            let then = desk.ahead.look(self.bytes, self.used, bounds);
            let all = self.carry_out(cx, desk);
            if !all || self.session.closing {
                // What is not answered is read anew, if it ever is.
                *desk.ahead.partial() = Parser::new();
                return !all;
            }
            match then {
                Then::Unseen if self.has_had_its_turn() => {
                    self.turn_over = true;
                    return true;
                }
                Then::Unseen => {}
                Then::More => {
                    std::mem::swap(parser, desk.ahead.partial());
                    break;
                }
                Then::Wrong(wrong) => {
                    self.refuse(wrong, &mut desk.out);
                    break;
                }
            }
        }
        false
    }

    /// Whether others of the thread have waited long enough for this one; looked at now and then, and after what may take long.
    fn has_had_its_turn(&mut self) -> bool {
        self.rounds += 1;
        (self.rounds.is_multiple_of(TURN_ROUNDS) || self.last.is_some_and(dispatch::is_long))
            && self.is_late()
    }

    fn is_late(&self) -> bool {
        self.shared.sources.time.monotonic().saturating_sub(self.began) > TURN_MAX
    }

    /// Whether it has had its turn within a round, because values are long.
    fn has_moved_enough(&mut self) -> bool {
        if self.session.moved < TURN_LOOK_BYTES {
            return false;
        }
        self.session.moved = 0;
        self.is_late()
    }

    /// Carries out the requests that were found. `false`: the answers cannot be sent, or it has had its turn, and the rest has to wait.
    fn carry_out(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> bool {
        let (shared, Desk { ahead, out }) = (self.shared, desk);
        // Of whoever may not look at values nothing is looked at, and of what is only queued nothing yet.
        let session = &*self.session;
        let at_once = !session.is_unknown && session.queue.is_none() && session.space.refusal.is_none();
        if ahead.len() > 1 && at_once {
            shared.memory.bring_near(session.space.id, ahead.keys(self.bytes));
        }
        let wanted = ahead.asking().saturating_sub(*self.prepaid);
        let granted = shared.limiter.take_up_to(&self.session.caller, wanted, self.began);
        *self.prepaid += granted.count;
        for at in 0..ahead.len() {
            if self.session.closing {
                break;
            }
            if self.has_moved_enough() {
                self.turn_over = true;
                return false;
            }
            if out.len() >= GATHER_BYTES {
                self.sent += out.len();
                if !self.wire.flush(cx, out, &self.session.client) {
                    return false;
                }
            }
            let (verb, args, len) = ahead.request(at, self.bytes);
            self.used += len;
            if args.is_empty() {
                continue;
            }
            out.begin();
            let verb = match granted.refused {
                Some(refusal) if *self.prepaid == 0 => {
                    shared.sources.metrics.redis.refused(refusal);
                    let mut call = Call { shared, session: self.session, args, out, now: self.now };
                    dispatch::refuse(&mut call, verb, &refusal_text(refusal));
                    None
                }
                _ => {
                    *self.prepaid = self.prepaid.saturating_sub(1);
                    let mut call = Call { shared, session: self.session, args, out, now: self.now };
                    dispatch::answer(&mut call, verb)
                }
            };
            self.answered(verb, args.at(0), out);
        }
        true
    }

    /// One was answered: counts it.
    fn answered(&mut self, verb: Option<Verb>, name: &[u8], out: &mut Out) {
        let metrics = &self.shared.sources.metrics.redis;
        let has_error = out.finish();
        metrics.command(&mut self.run, verb, has_error);
        self.last = verb;
        if verb.is_none() && is_http(name) {
            out.take_back();
            metrics.suspicious(Suspicion::Protocol);
            self.session.closing = true;
        }
    }

    /// Says what is wrong with bytes that are no request; they are the last that are read.
    fn refuse(&mut self, wrong: Wrong, out: &mut Out) {
        let max = REQUEST_BYTES_MAX as u64;
        let is_long = wrong.is_oversized();
        let refusal = if is_long { Refusal::BodyTooLarge { max } } else { Refusal::Malformed };
        self.shared.sources.metrics.redis.refused(refusal);
        out.begin();
        out.error(format_args!("ERR Protocol error: {wrong}"));
        self.session.closing = true;
    }
}

/// A request line or header of HTTP, which a page of somebody's browser may have been made to send here.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

fn refusal_text(refusal: Refusal) -> String {
    match refusal.retry_after_s() {
        Some(seconds) => format!("{refusal}; retry after {seconds} s"),
        None => refusal.to_string(),
    }
}
