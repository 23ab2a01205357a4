//! Carries a plan out: finds the server, writes the keys, lets the threads loose for each phase, deletes the keys, and
//! puts together what came of it.

mod gathering;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use larder_format::clock::Clock;
use larder_format::rng::{Rng, SeededRng};
use rustls::pki_types::ServerName;

use self::gathering::Gathering;
use crate::LoadError;
use crate::connection::Dial;
use crate::keys::Picker;
use crate::ledger::{Ledger, Slack};
use crate::measure::{Window, window_len};
use crate::pace::Pace;
use crate::plan::{Phase, Plan};
use crate::protocol::Codec;
use crate::protocol::http::{Http, Requests};
use crate::protocol::memcached::Memcached;
use crate::protocol::redis::{Greeting, Redis};
use crate::report::{PhaseReport, Point, Report, Settings};
use crate::tally::Shared;
use crate::target::Protocol;
use crate::values::Values;
use crate::worker::{Windows, Word, Work, Worker};

/// How often somebody who watches is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Requests under way on a connection while all keys are written or deleted, where the protocol has them (HTTP servers
/// do not all take more than one).
const SWEEP_DEPTH: u32 = 64;
/// Bytes of values under way on a connection while all keys are written.
const SWEEP_BYTES: usize = 1 << 20;
/// Connections while all keys are written or deleted.
const SWEEP_CONNECTIONS: u32 = 8;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Writing all keys.
    Filling,
    /// Load that is not measured yet.
    WarmingUp,
    /// Load that is measured.
    Measuring,
    /// Deleting all keys.
    Deleting,
}

/// How it goes.
#[derive(Debug)]
pub struct Progress<'a> {
    /// What is being done.
    pub doing: Doing,
    /// The phase's name; empty if there is only one.
    pub phase: &'a str,
    /// How long it has been done.
    pub elapsed: Duration,
    /// What happened since the last time, and in how long.
    pub window: &'a Window,
    /// How long that was.
    pub since: Duration,
}

/// Who is told how it goes.
pub type Watcher<'a> = &'a mut dyn FnMut(&Progress<'_>);

/// Carries a plan out. When `stop` is set it ends early, with what was measured until then.
///
/// # Errors
/// If the plan makes no sense, the server cannot be reached, refuses who we are or refuses the first values. Whatever
/// goes wrong while load runs is counted instead.
pub fn run(
    plan: &Plan,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    watcher: Watcher<'_>,
) -> Result<Report, LoadError> {
    plan.check()?;
    let target = &plan.target;
    let ttl_ms = plan.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let address = first_that_answers(plan)?;
    let tls = match (&plan.tls, target.tls) {
        (Some(config), true) => {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|_| LoadError::Plan(format!("no certificate can be for {}", target.host)))?;
            Some((config.clone(), name))
        }
        (None, true) => return Err(LoadError::Plan("TLS needs the certificate of an authority".to_owned())),
        _ => None,
    };
    let shared = Shared {
        dial: Dial { address, tls },
        values: Values::new(run_number(plan.seed, clock.as_ref()), plan.longest_value()),
        ledger: (plan.verify && !plan.as_is).then(|| Ledger::new(plan.keys, ttl_ms, slack(target.protocol))),
        picker: Picker::new(plan.keys, plan.distribution)?,
        clock,
        stop,
        timeout: plan.timeout,
    };
    let secret = plan.credentials.secret.as_deref();
    match target.protocol {
        Protocol::Redis => {
            let greeting = Greeting {
                user: plan.credentials.user.as_deref(),
                secret: secret.map(str::as_bytes),
                database: target.database,
            };
            Run { plan, shared: &shared }.all(&Redis::new(&plan.prefix, ttl_ms, &greeting), watcher)
        }
        Protocol::Memcached => {
            Run { plan, shared: &shared }.all(&Memcached::new(&plan.prefix, ttl_ms), watcher)
        }
        Protocol::Http => {
            let requests = Requests {
                host: &format!("{}:{}", target.host_shown(), target.port),
                path: &target.path,
                prefix: &plan.prefix,
                token: secret,
                ttl_ms,
                as_is: plan.as_is,
            };
            Run { plan, shared: &shared }.all(&Http::new(&requests), watcher)
        }
    }
}

/// How exactly a protocol's servers keep to lifetimes.
fn slack(protocol: Protocol) -> Slack {
    match protocol {
        Protocol::Redis | Protocol::Http => Slack::MILLISECONDS,
        Protocol::Memcached => Slack::SECONDS,
    }
}

/// A number that tells this run's values from those of others.
fn run_number(seed: u64, clock: &dyn Clock) -> u32 {
    let mixed = SeededRng::new(seed ^ clock.wall_ms().rotate_left(20) ^ u64::from(std::process::id())).u64();
    u32::try_from(mixed >> 32).unwrap_or(0)
}

fn first_that_answers(plan: &Plan) -> Result<SocketAddr, LoadError> {
    let mut failed = None;
    for address in plan.target.addresses()? {
        match TcpStream::connect_timeout(&address, plan.timeout) {
            Ok(_) => return Ok(address),
            Err(source) => failed = Some(LoadError::Connect { address, source }),
        }
    }
    Err(failed.unwrap_or(LoadError::Thread))
}

/// What one stretch of work came to.
struct Outcome {
    total: Window,
    points: Vec<Point>,
    /// When measuring began, in milliseconds since 1970.
    measured_from_ms: u64,
    seconds: f64,
    cpu_seconds: f64,
}

/// What the threads of one stretch of work need to know.
struct Stretch<'a> {
    phase: &'a str,
    doing: Doing,
    connections: u32,
    depth: u32,
    value_len: (usize, usize),
    warmup: Duration,
    window: Duration,
}

struct Run<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
}

impl Run<'_> {
    fn all<C: Codec>(&self, codec: &C, watcher: Watcher<'_>) -> Result<Report, LoadError> {
        let started_ms = self.shared.clock.wall_ms();
        let mut phases = Vec::new();
        let mut failed = None;
        for phase in self.plan.phases() {
            if self.stopped() {
                break;
            }
            let measured = match self.fill(codec, &phase, watcher) {
                Ok(()) => self.measure(codec, &phase, watcher),
                Err(error) => Err(error),
            };
            match measured {
                Ok(report) => phases.push(report),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let interrupted = self.stopped();
        let writes = self.plan.fill || self.plan.reads_percent < 100;
        let mut left_behind = self.plan.keep && writes;
        if writes && !self.plan.keep {
            // Also after an interruption: what was written is in the way of others.
            self.shared.stop.store(false, Ordering::Relaxed);
            left_behind = self.delete(codec, watcher).is_err();
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        Ok(Report {
            format: crate::report::FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms,
            target: self.plan.target.shown(),
            profile: self.plan.profile.name().to_owned(),
            interrupted,
            keys_left_behind: left_behind,
            settings: Settings::of(self.plan),
            phases,
        })
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn sweep(&self, doing: Doing, value_len: (usize, usize)) -> Stretch<'static> {
        let deep = match self.plan.target.protocol {
            Protocol::Redis | Protocol::Memcached => SWEEP_DEPTH,
            Protocol::Http => 1,
        };
        let fits = u32::try_from(SWEEP_BYTES / value_len.1.max(1)).unwrap_or(SWEEP_DEPTH).max(1);
        Stretch {
            phase: "",
            doing,
            connections: SWEEP_CONNECTIONS.min(self.plan.connections),
            depth: deep.min(fits).max(self.plan.pipeline.min(fits)),
            value_len,
            warmup: Duration::ZERO,
            window: TOLD_EVERY / 4,
        }
    }

    fn fill<C: Codec>(&self, codec: &C, phase: &Phase, watcher: Watcher<'_>) -> Result<(), LoadError> {
        if !phase.fill {
            return Ok(());
        }
        // One key first, so that a server that refuses is heard before thousands of requests are under way.
        let stretch = self.sweep(Doing::Filling, phase.value_len);
        let one = Stretch { connections: 1, ..self.sweep(Doing::Filling, phase.value_len) };
        self.threads(codec, &one, watcher, &|_, _, _| Work::Fill(0, 1))?;
        let keys = self.plan.keys;
        self.threads(codec, &stretch, watcher, &|at, of, _| {
            let (from, to) = share(keys, at, of);
            Work::Fill(from.max(1), to.max(1))
        })?;
        Ok(())
    }

    fn delete<C: Codec>(&self, codec: &C, watcher: Watcher<'_>) -> Result<(), LoadError> {
        let keys = self.plan.keys;
        self.threads(codec, &self.sweep(Doing::Deleting, (1, 1)), watcher, &|at, of, _| {
            let (from, to) = share(keys, at, of);
            Work::Delete(from, to)
        })?;
        Ok(())
    }

    fn measure<C: Codec>(
        &self,
        codec: &C,
        phase: &Phase,
        watcher: Watcher<'_>,
    ) -> Result<PhaseReport, LoadError> {
        let plan = self.plan;
        let warmup = if phase.requests.is_some() { Duration::ZERO } else { plan.warmup };
        let stretch = Stretch {
            phase: &phase.name,
            doing: Doing::Measuring,
            connections: phase.connections,
            depth: plan.pipeline,
            value_len: phase.value_len,
            warmup,
            window: window_len(phase.duration),
        };
        let writes = (u64::from(100 - plan.reads_percent) << 32) / 100;
        let outcome = self.threads(codec, &stretch, watcher, &|at, of, start_ns| {
            let until_ns = match phase.requests {
                Some(_) => u64::MAX / 4,
                None => start_ns + nanoseconds(warmup + phase.duration),
            };
            let left =
                phase.requests.map(|n| n / u64::from(of) + u64::from(u64::from(at) < n % u64::from(of)));
            let pace = plan.rate.map(|rate| Pace::new(rate, plan.arrivals, at, of, start_ns, until_ns));
            Work::Mix { writes, pace, until_ns, left }
        })?;
        let mut report =
            PhaseReport::of(phase, &outcome.total, outcome.points, outcome.seconds, outcome.cpu_seconds);
        report.measured_from_ms = outcome.measured_from_ms;
        Ok(report)
    }

    /// Lets threads loose with what `work` gives each of them (its number, how many there are, when they start), and
    /// gathers what they say.
    fn threads<C: Codec>(
        &self,
        codec: &C,
        stretch: &Stretch<'_>,
        watcher: Watcher<'_>,
        work: &(dyn Fn(u32, u32, u64) -> Work + Sync),
    ) -> Result<Outcome, LoadError> {
        let count = self.plan.threads.min(stretch.connections).max(1);
        let (ready_sender, ready) = mpsc::channel();
        let (word_sender, words) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut starts = Vec::new();
            for at in 0..count {
                let (start_sender, start) = mpsc::channel::<Windows>();
                starts.push(start_sender);
                let (ready, words) = (ready_sender.clone(), word_sender.clone());
                scope.spawn(move || {
                    let ended = self.thread(codec, stretch, (at, count), work, &ready, &start, &words);
                    let _ = words.send(Word::Ended(ended));
                });
            }
            drop((ready_sender, word_sender));
            for _ in 0..count {
                ready.recv().map_err(|_| LoadError::Thread)??;
            }
            let start_ns = self.shared.now_ns();
            let windows = Windows {
                measure_from_ns: start_ns + nanoseconds(stretch.warmup),
                len_ns: nanoseconds(stretch.window).max(1),
            };
            for start in &starts {
                let _ = start.send(windows);
            }
            Gathering::begin(self.shared, stretch, windows, start_ns).until_all_ended(&words, count, watcher)
        })
    }

    #[allow(clippy::too_many_arguments, reason = "a thread's start, called once")]
    fn thread<C: Codec>(
        &self,
        codec: &C,
        stretch: &Stretch<'_>,
        (at, count): (u32, u32),
        work: &(dyn Fn(u32, u32, u64) -> Work + Sync),
        ready: &Sender<Result<(), LoadError>>,
        start: &Receiver<Windows>,
        words: &Sender<Word>,
    ) -> Result<u64, LoadError> {
        let (from, to) = share(stretch.connections, at, count);
        let seed = self.plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(at));
        let connected = Worker::connect(
            self.shared,
            codec.clone(),
            to - from,
            stretch.depth,
            stretch.value_len,
            SeededRng::new(seed).u64(),
        );
        let mut worker = match connected {
            Ok(worker) => worker,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(0);
            }
        };
        let _ = ready.send(Ok(()));
        // If another thread could not connect, there is no start.
        let Ok(windows) = start.recv() else { return Ok(0) };
        let start_ns = windows.measure_from_ns - nanoseconds(stretch.warmup);
        worker.run(work(at, count, start_ns), windows, words)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// The part of `count` things that falls to one of several: from, to.
fn share(count: u32, at: u32, of: u32) -> (u32, u32) {
    let bound = |at: u32| u32::try_from(u64::from(count) * u64::from(at) / u64::from(of)).unwrap_or(count);
    (bound(at), bound(at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_of_it_and_nothing_twice() {
        for (count, of) in [(10, 3), (1, 1), (7, 7), (u32::MAX, 2), (2, 5)] {
            let mut next = 0;
            for at in 0..of {
                let (from, to) = share(count, at, of);
                assert_eq!(from, next);
                next = to;
            }
            assert_eq!(next, count);
        }
    }
}
