//! Judges replies: matches each with the oldest request of its connection, compares values with what they may be, and
//! counts latencies and faults into the window of time that is open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use larder_format::clock::Clock;

use crate::connection::{Dial, Request, What};
use crate::keys::Picker;
use crate::ledger::{Ended, Ledger, Verdict};
use crate::measure::{Fault, Window};
use crate::protocol::{Asked, Codec, Reply, Step};
use crate::values::Values;

/// What all threads of a run share.
pub(crate) struct Shared {
    /// How to reach the server.
    pub(crate) dial: Dial,
    /// Makes and recognises values.
    pub(crate) values: Values,
    /// What is known of each key, where answers are verified.
    pub(crate) ledger: Option<Ledger>,
    /// Draws keys.
    pub(crate) picker: Picker,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Somebody wants an end.
    pub(crate) stop: Arc<AtomicBool>,
    /// How long an answer is waited for.
    pub(crate) timeout: Duration,
}

impl Shared {
    /// Now, in nanoseconds.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What became of the bytes that were read.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// How many of them were whole replies.
    pub(crate) used: usize,
    /// How many bytes the next reply needs.
    pub(crate) need: usize,
    /// The server closes the connection now.
    pub(crate) last: bool,
    /// It is no connection to go on with.
    pub(crate) garbled: Option<&'static str>,
    /// How many greetings were answered.
    pub(crate) greetings: usize,
}

/// One thread's counting.
pub(crate) struct Tally {
    /// What is counted now.
    pub(crate) window: Window,
    /// Latencies of a batch are mostly equal: kind, nanoseconds, how many.
    run: (bool, u64, u32),
    /// When the last answer came, in nanoseconds.
    pub(crate) last_answer_ns: u64,
}

impl Tally {
    /// Nothing counted.
    pub(crate) fn new() -> Self {
        Self { window: Window::default(), run: (false, 0, 0), last_answer_ns: 0 }
    }

    /// Takes all whole replies there are.
    pub(crate) fn take<C: Codec>(
        &mut self,
        shared: &Shared,
        codec: &mut C,
        under_way: &mut VecDeque<Request>,
        input: &[u8],
        now_ns: u64,
    ) -> Taken {
        let mut taken = Taken::default();
        while taken.used < input.len() && !taken.last {
            let Some(request) = under_way.front() else {
                taken.garbled = Some("a reply that nobody asked for");
                break;
            };
            let asked = match request.what {
                What::Greeting => Asked::Greeting,
                What::Read(_) => Asked::Read,
                What::Write(_) => Asked::Write,
                What::Delete => Asked::Delete,
            };
            match codec.decode(&input[taken.used..], asked) {
                Step::Reply { used, reply, last } => {
                    self.answered(shared, request, &reply, now_ns);
                    taken.greetings += usize::from(asked == Asked::Greeting);
                    taken.used += used;
                    taken.last = last;
                    under_way.pop_front();
                }
                Step::More(need) => {
                    taken.need = need;
                    break;
                }
                Step::Broken(why) => {
                    taken.garbled = Some(why);
                    break;
                }
            }
        }
        self.flush();
        self.last_answer_ns = now_ns;
        taken
    }

    /// Counts what had no answer when its connection ended.
    pub(crate) fn lost(
        &mut self,
        shared: &Shared,
        under_way: &mut VecDeque<Request>,
        fault: Fault,
        words: &str,
        now_ns: u64,
    ) {
        for request in under_way.drain(..) {
            self.end_write(shared, &request, Ended::Unknown, now_ns);
            self.window.counts.fault(fault, 1, || words.to_owned());
            if fault == Fault::TimedOut {
                // It took at least this long.
                self.latency(matches!(request.what, What::Write(_)), now_ns.saturating_sub(request.due_ns));
            }
        }
        self.flush();
    }

    /// Counts what was due and never sent.
    pub(crate) fn unsent(&mut self, due_ns: u64, count: u32, now_ns: u64) {
        let words = || "the server did not keep up with the rate".to_owned();
        self.window.counts.fault(Fault::Unsent, u64::from(count), words);
        self.window.reads.record(now_ns.saturating_sub(due_ns), count);
    }

    /// Hands the open window over.
    pub(crate) fn turn(&mut self) -> Window {
        self.flush();
        std::mem::take(&mut self.window)
    }

    fn answered(&mut self, shared: &Shared, request: &Request, reply: &Reply<'_>, now_ns: u64) {
        let counts = &mut self.window.counts;
        let is_write = matches!(request.what, What::Write(_));
        let ended = match reply {
            Reply::Refused(words) => {
                counts.fault(Fault::Refused, 1, || String::from_utf8_lossy(words).into_owned());
                Ended::Refused
            }
            Reply::Unknown(words) => {
                counts.fault(Fault::Unknown, 1, || String::from_utf8_lossy(words).into_owned());
                Ended::Unknown
            }
            Reply::Done => Ended::Stored,
            Reply::Value(_) | Reply::Missing => Ended::Refused,
        };
        match (request.what, reply) {
            (What::Read(expected), Reply::Value(value)) => {
                self.judge(shared, request, expected, Some(value), now_ns);
            }
            (What::Read(expected), Reply::Missing) => self.judge(shared, request, expected, None, now_ns),
            // Where nothing is compared, a server that always says the same will do: the floor that others stand on.
            (What::Read(None), Reply::Done) if shared.ledger.is_none() => {}
            (What::Read(_), Reply::Done) | (What::Write(_), Reply::Value(_) | Reply::Missing) => {
                counts.fault(Fault::Garbled, 1, || "an answer to another question".to_owned());
            }
            _ => {}
        }
        self.end_write(shared, request, ended, now_ns);
        if !matches!(request.what, What::Greeting) {
            self.latency(is_write, now_ns.saturating_sub(request.due_ns));
        }
    }

    fn judge(
        &mut self,
        shared: &Shared,
        request: &Request,
        expected: Option<crate::ledger::Expected>,
        value: Option<&[u8]>,
        now_ns: u64,
    ) {
        let counts = &mut self.window.counts;
        let (Some(ledger), Some(expected)) = (&shared.ledger, expected) else {
            counts.absent += u64::from(value.is_none());
            return;
        };
        let seen = value.map(|value| shared.values.read(request.key, value));
        let verdict = ledger.judge(request.key, expected, seen, to_ms(request.sent_ns), to_ms(now_ns));
        match Fault::of(verdict) {
            Some(fault) => counts.fault(fault, 1, || accusation(request.key, verdict, value)),
            None if verdict == Verdict::Absent => counts.absent += 1,
            None => counts.verified += 1,
        }
    }

    fn end_write(&self, shared: &Shared, request: &Request, ended: Ended, now_ns: u64) {
        if let (What::Write(Some(write)), Some(ledger)) = (request.what, &shared.ledger) {
            ledger.end_write(request.key, write, ended, to_ms(request.sent_ns), to_ms(now_ns));
        }
    }

    fn latency(&mut self, is_write: bool, ns: u64) {
        if (self.run.0, self.run.1) == (is_write, ns) {
            self.run.2 += 1;
            return;
        }
        self.flush();
        self.run = (is_write, ns, 1);
    }

    fn flush(&mut self) {
        let (is_write, ns, count) = std::mem::take(&mut self.run);
        if count > 0 {
            let latencies = if is_write { &mut self.window.writes } else { &mut self.window.reads };
            latencies.record(ns, count);
        }
    }
}

fn to_ms(ns: u64) -> u64 {
    ns / 1_000_000
}

fn accusation(key: u32, verdict: Verdict, value: Option<&[u8]>) -> String {
    let what = match verdict {
        Verdict::Missing => "no value, where one was acknowledged and its time is not up".to_owned(),
        Verdict::Stale => "a value older than one that was acknowledged before".to_owned(),
        Verdict::Outlived => "a value whose time was up".to_owned(),
        Verdict::Torn => format!("a damaged value of {} bytes", value.map_or(0, <[u8]>::len)),
        _ => format!("a value of {} bytes that is not this key's", value.map_or(0, <[u8]>::len)),
    };
    format!("key {key}: {what}")
}
