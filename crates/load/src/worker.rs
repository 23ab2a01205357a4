//! One thread that drives many connections: watches their sockets, sends a batch when the last one is answered (closed
//! loop) or when requests are due (open loop), and never waits for a single connection.

mod links;
mod requests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use larder_format::rng::SeededRng;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::LoadError;
use crate::connection::Connection;
use crate::measure::{Fault, Window};
use crate::pace::Pace;
use crate::protocol::Codec;
use crate::tally::{Shared, Tally};

/// Buffer that sockets are read into, in bytes: many small replies, and little enough to stay in the cache.
const SCRATCH_BYTES: usize = 128 << 10;
/// Events taken at a time.
const EVENTS_MAX: usize = 512;
/// Reads of one connection before the others get their turn.
const READS_IN_A_ROW_MAX: usize = 16;
/// The timer's place among the connections.
const TIMER: u64 = u64::MAX;

/// What a thread has to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write each key once, from one to before another; the first fault ends it.
    Fill(u32, u32),
    /// Delete each.
    Delete(u32, u32),
    /// Read and write.
    Mix {
        /// Writes, of 2^32 requests.
        writes: u64,
        /// When requests are due, in an open loop.
        pace: Option<Pace>,
        /// When no more are sent, in nanoseconds.
        until_ns: u64,
        /// How many are left, if that is the end.
        left: Option<u64>,
    },
}

/// How windows of time are told apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// When measuring begins, in nanoseconds; before that it warms up.
    pub(crate) measure_from_ns: u64,
    /// Length of each, in nanoseconds.
    pub(crate) len_ns: u64,
}

/// What a thread says while it works.
pub(crate) enum Word {
    /// A window is over: its number, or none while warming up.
    Window(Option<u64>, Box<Window>),
    /// All is done; when measuring ended, in nanoseconds.
    Ended(Result<u64, LoadError>),
}

/// One thread's connections and buffers.
pub(crate) struct Worker<'a, C> {
    shared: &'a Shared,
    codec: C,
    value_len: (usize, usize),
    depth: usize,
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    with_room: VecDeque<usize>,
    scratch: Vec<u8>,
    out: Vec<u8>,
    events: Vec<Event>,
    /// How many connections are closed and wait to be opened again.
    closed: usize,
    rng: SeededRng,
    tally: Tally,
    work: Work,
}

fn machine(doing: &'static str) -> impl Fn(rustix::io::Errno) -> LoadError {
    move |errno| LoadError::Machine { doing, source: errno.into() }
}

impl<'a, C: Codec> Worker<'a, C> {
    /// With so many connections, opened now. `depth` requests may be under way on each.
    pub(crate) fn connect(
        shared: &'a Shared,
        codec: C,
        connections: u32,
        depth: u32,
        value_len: (usize, usize),
        seed: u64,
    ) -> Result<Self, LoadError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(machine("watch sockets"))?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(machine("make a timer"))?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)
            .map_err(machine("watch the timer"))?;
        let mut worker = Self {
            shared,
            codec,
            value_len,
            depth: depth as usize,
            epoll,
            timer,
            connections: Vec::new(),
            with_room: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES],
            out: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            closed: 0,
            rng: SeededRng::new(seed),
            tally: Tally::new(),
            work: Work::Delete(0, 0),
        };
        for at in 0..connections as usize {
            let connection = shared
                .dial
                .connect(shared.timeout)
                .map_err(|source| LoadError::Connect { address: shared.dial.address, source })?;
            worker.connections.push(connection);
            worker.welcome(at)?;
        }
        worker.greet_all()?;
        Ok(worker)
    }

    /// Does the work and says so.
    pub(crate) fn run(
        &mut self,
        work: Work,
        windows: Windows,
        words: &Sender<Word>,
    ) -> Result<u64, LoadError> {
        self.work = work;
        let strict = !matches!(self.work, Work::Mix { .. });
        self.tally.last_answer_ns = self.shared.now_ns();
        for at in 0..self.connections.len() {
            self.has_room(at);
        }
        let mut window = None;
        let mut turn_ns = windows.measure_from_ns.min(self.shared.now_ns() + windows.len_ns);
        loop {
            let now_ns = self.shared.now_ns();
            if now_ns >= turn_ns {
                self.give_up_waiting(now_ns);
                if strict {
                    self.must_be_without_fault()?;
                }
                // Whoever listens may have gone; the work ends by itself.
                let _ = words.send(Word::Window(window, Box::new(self.tally.turn())));
                let begun = now_ns.checked_sub(windows.measure_from_ns);
                window = begun.map(|since| since / windows.len_ns);
                turn_ns = match window {
                    Some(index) => windows.measure_from_ns + (index + 1) * windows.len_ns,
                    None => windows.measure_from_ns.min(now_ns + windows.len_ns),
                };
            }
            self.send_due(now_ns);
            if strict {
                self.must_be_without_fault()?;
            }
            if self.is_over(now_ns) {
                break;
            }
            self.wait(turn_ns)?;
        }
        let _ = words.send(Word::Window(window, Box::new(self.tally.turn())));
        Ok(match self.work {
            // A server that fell silent is measured until the end all the same.
            Work::Mix { until_ns, left: None, .. } => self.tally.last_answer_ns.max(until_ns),
            _ => self.tally.last_answer_ns,
        })
    }

    /// An error if anything went wrong: for work that has to succeed before measuring makes sense.
    fn must_be_without_fault(&self) -> Result<(), LoadError> {
        let counts = &self.tally.window.counts;
        if counts.errors() == 0 {
            return Ok(());
        }
        let words = counts.samples.first().cloned().unwrap_or_default();
        let doing = match self.work {
            Work::Fill(..) => "to store a value",
            Work::Delete(from, to) if from == to => "who we are",
            _ => "to delete a value",
        };
        Err(if counts.of(Fault::Garbled) > 0 {
            LoadError::NotTheProtocol(words)
        } else if counts.of(Fault::TimedOut) > 0 {
            let waited_ms = u64::try_from(self.shared.timeout.as_millis()).unwrap_or(u64::MAX);
            LoadError::Silent { doing: "asking it", waited_ms }
        } else if counts.of(Fault::Lost) > 0 {
            LoadError::Ended { address: self.shared.dial.address, words }
        } else {
            LoadError::Refused { doing, answer: words }
        })
    }

    fn is_over(&mut self, now_ns: u64) -> bool {
        let stopped = self.shared.stop.load(Ordering::Relaxed);
        let connections = &self.connections;
        let idle = || connections.iter().all(|c| c.under_way.is_empty());
        let timeout_ns = nanoseconds(self.shared.timeout);
        match &mut self.work {
            Work::Fill(next, end) | Work::Delete(next, end) => (next >= end || stopped) && idle(),
            Work::Mix { pace, until_ns, left, .. } => {
                if stopped {
                    *until_ns = now_ns.min(*until_ns);
                    *pace = None;
                }
                let all_sent = match pace {
                    Some(pace) => pace.next_ns().is_none(),
                    None => now_ns >= *until_ns || *left == Some(0),
                };
                // Nobody knows when a number of requests is reached; each of them has its own time.
                if (all_sent && idle()) || now_ns >= until_ns.saturating_add(timeout_ns) {
                    self.end(now_ns);
                    return true;
                }
                false
            }
        }
    }

    /// Counts what is still without an answer, or was never sent.
    fn end(&mut self, now_ns: u64) {
        for connection in &mut self.connections {
            let words = "no answer before the end";
            self.tally.lost(self.shared, &mut connection.under_way, Fault::TimedOut, words, now_ns);
        }
        if let Work::Mix { pace: Some(pace), .. } = &mut self.work {
            for (due_ns, count) in pace.rest() {
                self.tally.unsent(due_ns, count, now_ns);
            }
        }
    }

    /// Sends what is due in an open loop; in a closed one, to whoever has nothing under way.
    fn send_due(&mut self, now_ns: u64) {
        let open = matches!(self.work, Work::Mix { pace: Some(_), .. });
        let mut left = self.with_room.len();
        while left > 0 {
            let most = if open {
                let Work::Mix { pace: Some(pace), .. } = &self.work else { return };
                // Spread over all that have room.
                pace.due(now_ns, self.depth * left).div_ceil(left)
            } else {
                self.depth
            };
            if most == 0 {
                return;
            }
            let Some(at) = self.with_room.pop_front() else { return };
            self.connections[at].listed = false;
            left -= 1;
            self.fill(at, most, now_ns);
            let connection = &self.connections[at];
            if open && connection.is_open() && connection.under_way.len() < self.depth {
                self.has_room(at);
            }
        }
    }

    fn has_room(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if connection.is_open() && !connection.listed {
            connection.listed = true;
            self.with_room.push_back(at);
        }
    }

    /// Waits for something to do, until a time at most.
    fn wait(&mut self, until_ns: u64) -> Result<(), LoadError> {
        let now_ns = self.shared.now_ns();
        let mut until_ns = until_ns;
        if let Work::Mix { pace: Some(pace), .. } = &self.work
            && !self.with_room.is_empty()
            && let Some(next_ns) = pace.next_ns()
        {
            // The timer is exact; the wait itself only to the millisecond.
            let after = timespec(next_ns.saturating_sub(now_ns).max(1));
            let once = Itimerspec { it_interval: timespec(0), it_value: after };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                .map_err(machine("set the timer"))?;
        }
        if self.closed > 0 {
            until_ns = until_ns.min(self.open_those_due(now_ns)?);
        }
        let timeout = timespec(until_ns.saturating_sub(now_ns));
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(machine("wait for sockets")(errno)),
        }
        for event in &events {
            let (flags, data) = (event.flags, event.data);
            let Ok(at) = usize::try_from(data.u64()) else { continue };
            if at >= self.connections.len() {
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                match self.connections[at].flush() {
                    Ok(done) => self.watch_for_room(at, !done),
                    Err(error) => self.close(at, Fault::Lost, &error.to_string()),
                }
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(at);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Reads what is there, judges it, and goes on.
    fn read(&mut self, at: usize) {
        for _ in 0..READS_IN_A_ROW_MAX {
            let connection = &mut self.connections[at];
            let got = match connection.read(&mut self.scratch) {
                Ok(0) => return self.close(at, Fault::Lost, "the server closed the connection"),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.close(at, Fault::Lost, &error.to_string()),
            };
            self.tally.window.counts.received_bytes += got as u64;
            if !self.digest(at, got) {
                return;
            }
            if got < self.scratch.len() && !self.connections[at].is_tls() {
                break;
            }
        }
        self.go_on(at);
    }

    /// Judges what was read into the scratch buffer. Answers whether the connection is still there.
    fn digest(&mut self, at: usize, got: usize) -> bool {
        let now_ns = self.shared.now_ns();
        let connection = &mut self.connections[at];
        let fresh = &self.scratch[..got];
        let whole = connection.partial.is_empty();
        if !whole {
            connection.partial.extend_from_slice(fresh);
            if connection.partial.len() < connection.need {
                return true;
            }
        }
        let input = if whole { fresh } else { &connection.partial[..] };
        let taken = self.tally.take(self.shared, &mut self.codec, &mut connection.under_way, input, now_ns);
        connection.greetings = connection.greetings.saturating_sub(taken.greetings);
        if let Some(why) = taken.garbled {
            self.tally.window.counts.fault(Fault::Garbled, 1, || why.to_owned());
            self.close(at, Fault::Lost, why);
            return false;
        }
        if taken.last {
            self.close(at, Fault::Lost, "the server closed the connection");
            self.connections[at].again_ns = now_ns;
            return false;
        }
        let rest = whole.then(|| &fresh[taken.used..]);
        connection.keep_partial(taken.used, rest, taken.need);
        true
    }

    /// After answers: the next batch in a closed loop, a place in the list of those with room in an open one.
    fn go_on(&mut self, at: usize) {
        let connection = &self.connections[at];
        if matches!(self.work, Work::Mix { pace: Some(_), .. }) {
            if connection.under_way.len() < self.depth {
                self.has_room(at);
            }
        } else if connection.under_way.is_empty() {
            let now_ns = self.shared.now_ns();
            self.fill(at, self.depth, now_ns);
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

fn timespec(ns: u64) -> Timespec {
    let part = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Timespec { tv_sec: part(ns / 1_000_000_000), tv_nsec: part(ns % 1_000_000_000) }
}
