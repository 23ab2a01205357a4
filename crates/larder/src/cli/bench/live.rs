//! How a load test goes, while it goes: one line on stderr that is written over on a terminal, and a line every few
//! seconds elsewhere; never with `--json`.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use larder_load::require::show_us;
use larder_load::run::{Doing, Progress};

use crate::cli::bench::table::grouped;
use crate::output::{Output, Tone};

/// How often a line is written where it cannot be written over.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Writes lines.
pub struct Live {
    output: Output,
    terminal: bool,
    written_at: Option<(Doing, String, Duration)>,
    errors: u64,
}

impl Live {
    /// For this output.
    pub fn new(output: Output) -> Self {
        Self { output, terminal: io::stderr().is_terminal(), written_at: None, errors: 0 }
    }

    /// Tells how it goes.
    pub fn show(&mut self, progress: &Progress<'_>) {
        if self.output.json() {
            return;
        }
        let counts = &progress.window.counts;
        self.errors += counts.errors();
        if !self.terminal {
            let same = self
                .written_at
                .as_ref()
                .filter(|(doing, phase, _)| *doing == progress.doing && phase == progress.phase);
            if same.is_some_and(|(.., at)| progress.elapsed < *at + LINE_EVERY) {
                return;
            }
            self.written_at = Some((progress.doing, progress.phase.to_owned(), progress.elapsed));
        }
        let line = self.line(progress);
        let mut stderr = io::stderr().lock();
        // Nobody to tell if stderr is closed.
        let _ = if self.terminal { write!(stderr, "\r\u{1b}[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    fn line(&self, progress: &Progress<'_>) -> String {
        let doing = match progress.doing {
            Doing::Filling => "writing all keys",
            Doing::WarmingUp => "warming up",
            Doing::Measuring => "measuring",
            Doing::Deleting => "deleting all keys",
        };
        let phase = if progress.phase.is_empty() { String::new() } else { format!(" {}", progress.phase) };
        let all = progress.window.all();
        #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
        let (rate, us) = (all.count() as f64 / progress.since.as_secs_f64().max(0.001), |percent| {
            all.percentile_ns(percent) as f64 / 1e3
        });
        let errors = match self.errors {
            0 => "no errors".to_owned(),
            n => self.output.paint_err(Tone::Bad, &format!("{} errors", grouped(n))),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
        let rate = grouped(rate as u64);
        format!(
            "{doing}{phase} {:>3} s: {rate}/s, p50 {}, p99 {}, {errors}",
            progress.elapsed.as_secs(),
            show_us(us(50.0)),
            show_us(us(99.0)),
        )
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.terminal && !self.output.json() {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[2K");
        }
    }
}
