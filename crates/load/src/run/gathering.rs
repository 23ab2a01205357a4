//! Puts together what the threads of one stretch of work say: windows of time become points and a total, and whoever
//! watches is told how it goes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Doing, Outcome, Progress, Stretch, TOLD_EVERY, Watcher};
use crate::LoadError;
use crate::measure::Window;
use crate::report::Point;
use crate::tally::Shared;
use crate::worker::{Windows, Word};

/// A window is closed when one this much newer has come from any thread.
const WINDOWS_OPEN: u64 = 3;

/// What has come from the threads of one stretch so far.
pub(super) struct Gathering<'a> {
    shared: &'a Shared,
    stretch: &'a Stretch<'a>,
    windows: Windows,
    start_ns: u64,
    cpu_from_ns: u64,
    open: BTreeMap<u64, Window>,
    total: Window,
    points: Vec<Point>,
    recent: Window,
    told_ns: u64,
}

impl<'a> Gathering<'a> {
    pub(super) fn begin(
        shared: &'a Shared,
        stretch: &'a Stretch<'a>,
        windows: Windows,
        start_ns: u64,
    ) -> Self {
        Self {
            shared,
            stretch,
            windows,
            start_ns,
            cpu_from_ns: processor_ns(),
            open: BTreeMap::new(),
            total: Window::default(),
            points: Vec::new(),
            recent: Window::default(),
            told_ns: start_ns,
        }
    }

    pub(super) fn until_all_ended(
        mut self,
        words: &Receiver<Word>,
        count: u32,
        watcher: Watcher<'_>,
    ) -> Result<Outcome, LoadError> {
        let (mut left, mut last_ns, mut failed) = (count, 0, None);
        while left > 0 {
            match words.recv_timeout(TOLD_EVERY) {
                Ok(Word::Window(index, window)) => self.add(index, &window),
                Ok(Word::Ended(Ok(answer_ns))) => {
                    left -= 1;
                    last_ns = last_ns.max(answer_ns);
                }
                Ok(Word::Ended(Err(error))) => {
                    left -= 1;
                    failed.get_or_insert(error);
                    // The others have no reason to go on.
                    self.shared.stop.store(true, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Thread),
            }
            self.tell(watcher);
        }
        if let Some(failed) = failed {
            self.shared.stop.store(false, Ordering::Relaxed);
            return Err(failed);
        }
        self.close_until(u64::MAX);
        let cpu_ns = processor_ns().saturating_sub(self.cpu_from_ns);
        let ago_ms = self.shared.now_ns().saturating_sub(self.windows.measure_from_ns) / 1_000_000;
        Ok(Outcome {
            measured_from_ms: self.shared.clock.wall_ms().saturating_sub(ago_ms),
            seconds: seconds(last_ns.saturating_sub(self.windows.measure_from_ns)),
            // What was spent on warming up is taken out by its share of the time.
            cpu_seconds: seconds(cpu_ns)
                * share_of(
                    last_ns.saturating_sub(self.windows.measure_from_ns),
                    last_ns - self.start_ns.min(last_ns),
                ),
            total: self.total,
            points: self.points,
        })
    }

    fn add(&mut self, index: Option<u64>, window: &Window) {
        self.recent.add(window);
        let Some(index) = index else { return };
        self.open.entry(index).or_default().add(window);
        self.close_until(index.saturating_sub(WINDOWS_OPEN));
    }

    fn close_until(&mut self, before: u64) {
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() >= before {
                break;
            }
            let (index, window) = entry.remove_entry();
            self.total.add(&window);
            self.points.push(Point::of(&window, index, self.windows.len_ns));
        }
    }

    fn tell(&mut self, watcher: Watcher<'_>) {
        let now_ns = self.shared.now_ns();
        let since = Duration::from_nanos(now_ns.saturating_sub(self.told_ns));
        if since < TOLD_EVERY {
            return;
        }
        let doing = match self.stretch.doing {
            Doing::Measuring if now_ns < self.windows.measure_from_ns => Doing::WarmingUp,
            doing => doing,
        };
        watcher(&Progress {
            doing,
            phase: self.stretch.phase,
            elapsed: Duration::from_nanos(now_ns.saturating_sub(self.start_ns)),
            window: &self.recent,
            since,
        });
        self.recent = Window::default();
        self.told_ns = now_ns;
    }
}

/// Processor time of this process, in nanoseconds.
fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + nanoseconds.unwrap_or(0)
}

#[allow(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn share_of(part_ns: u64, whole_ns: u64) -> f64 {
    if whole_ns == 0 { 1.0 } else { (seconds(part_ns) / seconds(whole_ns)).min(1.0) }
}
